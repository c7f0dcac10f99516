/// How the numbers of one tensor lie in bytes: a description from which sizes, layout, checks and decoding follow. What the
/// bytes mean is `Formats/encodings.md`.
package struct Encoding: Sendable, Hashable, CustomStringConvertible {
  package let kind: Kind
  /// Elements that share one scale, along the row; 0 where there are no scales.
  package let groupSize: Int

  /// A family of encodings, one for each group size.
  package struct Kind: Sendable, Hashable, CustomStringConvertible {
    /// On disk. An id is never given a second meaning.
    package let id: UInt16
    package let elements: Elements
    /// Empty for elements that stand for themselves.
    package let groupSizes: [Int]
    /// The version of the pack format that brought it (`Formats/pack.md` §9).
    package let version: UInt16

    package var description: String { name(groupSize: nil) }

    fileprivate func name(groupSize: Int?) -> String {
      switch elements {
      case .plain(let type): "\(type)"
      case .codes(let code, let scale): Encoding.name(code, scale, groupSize: groupSize)
      }
    }
  }

  /// What plane 0 holds, and how its numbers are scaled.
  package enum Elements: Sendable, Hashable {
    case plain(Plain)
    case codes(Code, Scale)
  }

  /// Elements as a source holds them.
  package enum Plain: Sendable, Hashable { case f32, f16, bf16 }

  /// Signed integers: sections 4 and 5.
  package enum Code: Sendable, Hashable {
    case int8, int4

    package var bits: Int { self == .int8 ? 8 : 4 }
    /// What an encoder may write.
    package var range: ClosedRange<Int> { self == .int8 ? -127...127 : -8...7 }
  }

  /// How scales lie in plane 1: section 3.
  package enum Scale: Sendable, Hashable {
    /// Two bytes a group.
    case bf16
    /// One byte a row, the base of its exponents, then one byte a group.
    case byte

    /// What a base may be, so that every scale is portable.
    package static var bases: ClosedRange<UInt8> { 110...135 }
  }

  package init?(kind: Kind, groupSize: Int) {
    guard kind.groupSizes.isEmpty ? groupSize == 0 : kind.groupSizes.contains(groupSize) else { return nil }
    self.kind = kind
    self.groupSize = groupSize
  }

  /// From its id and group size on disk; nil for a pair that this version does not know.
  package init?(id: UInt16, groupSize: Int) {
    guard let kind = Kind.all.first(where: { $0.id == id }) else { return nil }
    self.init(kind: kind, groupSize: groupSize)
  }

  /// From its name, e.g. `int4-g64`, or an alias that other tools use.
  package init?(name: String) {
    let wanted = Self.aliases[name.lowercased()] ?? name.lowercased()
    guard let found = Self.all.first(where: { $0.description == wanted }) else { return nil }
    self = found
  }

  /// Names that other tools use, in small letters.
  package static let aliases = [
    "q4_0": "int4-g32", "q8_0": "int8-g32", "w4a16": "int4-g128", "w8a16": "int8-g128",
  ]

  /// The encoding that keeps elements of this type as they are, or nil where a pack cannot hold them.
  package init?(keeping dtype: DType) {
    switch dtype {
    case .f32: self = .f32
    case .f16: self = .f16
    case .bf16: self = .bf16
    default: return nil
    }
  }

  /// The type of its elements; nil where they are codes.
  package var dtype: DType? {
    switch kind.elements {
    case .plain(.f32): .f32
    case .plain(.f16): .f16
    case .plain(.bf16): .bf16
    case .codes: nil
    }
  }

  package var description: String { kind.name(groupSize: groupSize) }

  /// The name of codes with scales: `int4-g64`, `int4-g64s8`; without a group size, that of the family.
  package static func name(_ code: Code, _ scale: Scale, groupSize: Int?) -> String {
    "\(code)" + (groupSize.map { "-g\($0)" } ?? "") + (scale == .byte ? "s8" : "")
  }
}

/// The list of section 1. A new encoding is a line here, if its codes and scales are of a form that there is.
extension Encoding.Kind {
  package static let f32 = Self(id: 0, elements: .plain(.f32), groupSizes: [], version: 1)
  package static let f16 = Self(id: 1, elements: .plain(.f16), groupSizes: [], version: 1)
  package static let bf16 = Self(id: 2, elements: .plain(.bf16), groupSizes: [], version: 1)
  package static let int8 = Self(id: 16, elements: .codes(.int8, .bf16), groupSizes: [32, 64, 128], version: 1)
  package static let int4 = Self(id: 17, elements: .codes(.int4, .bf16), groupSizes: [32, 64, 128], version: 1)
  package static let int8s8 = Self(id: 18, elements: .codes(.int8, .byte), groupSizes: [32, 64], version: 2)
  package static let int4s8 = Self(id: 19, elements: .codes(.int4, .byte), groupSizes: [16, 32, 64, 128], version: 2)

  package static let all: [Self] = [.f32, .f16, .bf16, .int8, .int4, .int8s8, .int4s8]

  /// All encodings of this kind.
  package var encodings: [Encoding] {
    (groupSizes.isEmpty ? [0] : groupSizes).compactMap { Encoding(kind: self, groupSize: $0) }
  }
}

extension Encoding {
  package static let f32 = Kind.f32.encodings[0]
  package static let f16 = Kind.f16.encodings[0]
  package static let bf16 = Kind.bf16.encodings[0]

  /// Every encoding there is, plain ones first; tests and help texts run over this list.
  package static let all: [Encoding] = Kind.all.flatMap(\.encodings)
  /// The encodings with codes and scales.
  package static let grouped: [Encoding] = all.filter(\.isGrouped)

  /// What codes and scales are; nil where elements stand for themselves.
  package var codes: (code: Code, scale: Scale)? {
    if case .codes(let code, let scale) = kind.elements { (code, scale) } else { nil }
  }

  /// Whether codes share a scale by group; otherwise elements stand for themselves.
  package var isGrouped: Bool { groupSize > 0 }

  /// Bits of one code or element.
  package var codeBits: Int {
    switch kind.elements {
    case .plain(.f32): 32
    case .plain(.f16), .plain(.bf16): 16
    case .codes(let code, _): code.bits
    }
  }

  /// Elements that are encoded and decoded together: a run of codes, or the groups in it.
  private var unit: Int { isGrouped ? max(groupSize, 32) : 1 }

  /// The most columns of a row that has one base, so that a reader can hold a row.
  package static var maximumRow: Int { 1 << 20 }

  /// Whether rows of this many elements can be encoded: groups never cross rows and are never short.
  package func divides(columns: Int) -> Bool {
    columns % unit == 0 && (codes?.scale != .byte || columns <= Self.maximumRow)
  }

  /// Whether elements may be cut anywhere between groups; otherwise only between rows.
  package func unitElementCount(columns: Int) -> Int { codes?.scale == .byte ? columns : unit }

  /// A plane of a tensor or of some of its rows.
  package struct Plane: Sendable, Hashable {
    package enum Content: Sendable, Hashable {
      case elements(bits: Int)
      case scales(Scale, groupSize: Int)
    }
    package let content: Content

    package init(content: Content) { self.content = content }

    /// Whether it holds 16-bit values, which a pack keeps apart.
    package var is16Bit: Bool {
      switch content {
      case .elements(let bits): bits == 16
      case .scales(let scale, _): scale == .bf16
      }
    }

    package var isScale: Bool { if case .scales = content { true } else { false } }

    /// Bytes of so many elements of rows of `columns`: whole rows, or a part that ``Encoding/unitElementCount(columns:)``
    /// divides.
    package func byteCount(elements: Int, columns: Int) -> Int {
      switch content {
      case .elements(let bits): elements / 2 * bits / 4 + elements % 2 * bits / 8
      case .scales(.bf16, let groupSize): elements / groupSize * 2
      case .scales(.byte, let groupSize): elements / columns * (1 + columns / groupSize)
      }
    }
  }

  /// In the order of their numbers: elements or codes, then scales if there are any.
  package var planes: [Plane] {
    let first = Plane(content: .elements(bits: codeBits))
    guard let codes else { return [first] }
    return [first, Plane(content: .scales(codes.scale, groupSize: groupSize))]
  }

  /// Bytes of all planes, without padding, of so many elements of rows of `columns`.
  package func byteCount(elements: Int, columns: Int) -> Int {
    planes.reduce(0) { $0 + $1.byteCount(elements: elements, columns: columns) }
  }

  /// Bytes of the first plane, the codes or elements. A count of elements that `divides` accepts.
  package func codeByteCount(elements: Int) -> Int { planes[0].byteCount(elements: elements, columns: elements) }

  /// Bytes of the second plane, the scales; 0 where there is none.
  package func scaleByteCount(elements: Int, columns: Int) -> Int {
    isGrouped ? planes[1].byteCount(elements: elements, columns: columns) : 0
  }

  /// Bits per weight with scales, without padding and bases: 4.25 for `int4-g64`.
  package var bitsPerWeight: Double {
    let scaleBits = codes?.scale == .byte ? 8.0 : 16.0
    return Double(codeBits) + (isGrouped ? scaleBits / Double(groupSize) : 0)
  }
}
