/// How the numbers of one tensor lie in bytes. Data only: what the bytes mean is `Formats/encodings.md` and the schemes.
package struct Encoding: Sendable, Hashable, CustomStringConvertible {
  /// The families of encodings with their ids on disk. An id is never given a second meaning.
  package enum Kind: UInt16, Sendable, CaseIterable {
    case f32 = 0, f16 = 1, bf16 = 2
    case int8 = 16, int4 = 17
  }

  package let kind: Kind
  /// Elements that share one scale, along the row; 0 where there are no scales.
  package let groupSize: Int

  /// Group sizes of the grouped kinds. All are multiples of 32, so that 32-blocks of other formats nest in them.
  package static var groupSizes: [Int] { [32, 64, 128] }

  package static let f32 = Encoding(unchecked: .f32, 0)
  package static let f16 = Encoding(unchecked: .f16, 0)
  package static let bf16 = Encoding(unchecked: .bf16, 0)

  /// Every encoding there is, plain ones first; tests run over this list.
  package static let all: [Encoding] =
    [.f32, .f16, .bf16] + [.int8, .int4].flatMap { kind in groupSizes.map { Encoding(unchecked: kind, $0) } }

  private init(unchecked kind: Kind, _ groupSize: Int) {
    self.kind = kind
    self.groupSize = groupSize
  }

  /// Nil when the group size does not belong to the kind.
  package init?(kind: Kind, groupSize: Int) {
    self.init(unchecked: kind, groupSize)
    guard Self.all.contains(self) else { return nil }
  }

  /// From its name, e.g. `int4-g64`, or an alias that other tools use.
  package init?(name: String) {
    let aliases = ["q4_0": "int4-g32", "q8_0": "int8-g32", "w4a16": "int4-g128", "w8a16": "int8-g128"]
    let wanted = aliases[name.lowercased()] ?? name.lowercased()
    guard let found = Self.all.first(where: { $0.description == wanted }) else { return nil }
    self = found
  }

  /// The encoding that keeps elements of this type as they are, or nil where a pack cannot hold them.
  package init?(keeping dtype: DType) {
    switch dtype {
    case .f32: self = .f32
    case .f16: self = .f16
    case .bf16: self = .bf16
    default: return nil
    }
  }

  package var description: String { isGrouped ? "\(kind)-g\(groupSize)" : "\(kind)" }

  /// Whether codes share a scale by group; otherwise elements stand for themselves.
  package var isGrouped: Bool { groupSize > 0 }

  /// Bits of one code or element.
  package var codeBits: Int {
    switch kind {
    case .f32: 32
    case .f16, .bf16: 16
    case .int8: 8
    case .int4: 4
    }
  }

  /// Bytes of one scale.
  package static var scaleByteCount: Int { 2 }

  /// Bits per weight with scales, without padding: 4.25 for `int4-g64`.
  package var bitsPerWeight: Double {
    Double(codeBits) + (isGrouped ? Double(8 * Self.scaleByteCount) / Double(groupSize) : 0)
  }

  /// Whether a row of this many elements can be encoded: groups never cross rows and are never short.
  package func divides(columns: Int) -> Bool { !isGrouped || columns % groupSize == 0 }

  /// Bytes of the first plane, the codes or elements. A count of elements that `divides` accepts.
  package func codeByteCount(elements: Int) -> Int { elements / 2 * codeBits / 4 + elements % 2 * codeBits / 8 }

  /// Bytes of the second plane, the scales; 0 where there is none.
  package func scaleByteCount(elements: Int) -> Int {
    isGrouped ? elements / groupSize * Self.scaleByteCount : 0
  }
}
