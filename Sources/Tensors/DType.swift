/// Element types of checkpoints, by the names safetensors gives them.
package enum DType: String, Sendable, CaseIterable {
  case bool = "BOOL"
  case u8 = "U8", i8 = "I8", u16 = "U16", i16 = "I16", u32 = "U32", i32 = "I32", u64 = "U64", i64 = "I64"
  case f8e4m3 = "F8_E4M3", f8e5m2 = "F8_E5M2"
  case f16 = "F16", bf16 = "BF16", f32 = "F32", f64 = "F64"

  /// Bytes of one element.
  package var byteCount: Int {
    switch self {
    case .bool, .u8, .i8, .f8e4m3, .f8e5m2: 1
    case .u16, .i16, .f16, .bf16: 2
    case .u32, .i32, .f32: 4
    case .u64, .i64, .f64: 8
    }
  }
}
