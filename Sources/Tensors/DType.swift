/// Element types of checkpoints, by the names safetensors gives them.
package enum DType: Sendable, Hashable, CustomStringConvertible {
  case bool
  case u8, i8, u16, i16, u32, i32, u64, i64
  case f8e4m3, f8e5m2, f8e4m3fnuz, f8e5m2fnuz
  /// The scales of the MX formats, and their elements, which share bytes.
  case f8e8m0, f6e2m3, f6e3m2, f4
  case f16, bf16, f32, f64, c64
  /// A type that came later: its elements are never read, and how many bytes they take is not known.
  case other(String)

  /// The types that we know.
  package static let known: [DType] = [
    .bool, .u8, .i8, .u16, .i16, .u32, .i32, .u64, .i64, .f8e4m3, .f8e5m2, .f8e4m3fnuz, .f8e5m2fnuz, .f8e8m0, .f6e2m3,
    .f6e3m2, .f4, .f16, .bf16, .f32, .f64, .c64,
  ]
  private static let byName = Dictionary(uniqueKeysWithValues: known.map { ($0.name, $0) })

  package init(name: String) { self = Self.byName[name] ?? .other(name) }

  package var name: String {
    switch self {
    case .bool: "BOOL"
    case .u8: "U8"
    case .i8: "I8"
    case .u16: "U16"
    case .i16: "I16"
    case .u32: "U32"
    case .i32: "I32"
    case .u64: "U64"
    case .i64: "I64"
    case .f8e4m3: "F8_E4M3"
    case .f8e5m2: "F8_E5M2"
    case .f8e4m3fnuz: "F8_E4M3FNUZ"
    case .f8e5m2fnuz: "F8_E5M2FNUZ"
    case .f8e8m0: "F8_E8M0"
    case .f6e2m3: "F6_E2M3"
    case .f6e3m2: "F6_E3M2"
    case .f4: "F4"
    case .f16: "F16"
    case .bf16: "BF16"
    case .f32: "F32"
    case .f64: "F64"
    case .c64: "C64"
    case .other(let name): name
    }
  }

  /// As listings show it: in lower case, a type that we do not know as it is called.
  package var description: String { if case .other(let name) = self { name } else { name.lowercased() } }

  /// Bits of one element; nil for a type that we do not know.
  package var bitCount: Int? {
    switch self {
    case .f4: 4
    case .f6e2m3, .f6e3m2: 6
    case .bool, .u8, .i8, .f8e4m3, .f8e5m2, .f8e4m3fnuz, .f8e5m2fnuz, .f8e8m0: 8
    case .u16, .i16, .f16, .bf16: 16
    case .u32, .i32, .f32: 32
    case .u64, .i64, .f64, .c64: 64
    case .other: nil
    }
  }

  /// Bytes of one element.
  ///
  /// - Precondition: elements of the type take whole bytes.
  package var byteCount: Int {
    guard let bitCount, bitCount % 8 == 0 else { preconditionFailure("elements of \(name) are not read") }
    return bitCount / 8
  }

  /// Bytes of so many elements, the last of them filled up; nil where the type is not known or the number does not fit an
  /// `Int`.
  package func byteCount(elements: Int) -> Int? {
    guard let bitCount else { return nil }
    let (eights, overflow) = (elements / 8).multipliedReportingOverflow(by: bitCount)
    let (bytes, tooMany) = eights.addingReportingOverflow((elements % 8 * bitCount + 7) / 8)
    return overflow || tooMany ? nil : bytes
  }
}
