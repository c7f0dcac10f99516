import Kernels
import Storage
import Tensors

/// Codes made unsigned, `code + 2^(bits − 1)`, one after the other from the lowest bits on: as compressed-tensors and MLX pack them
/// into 32-bit words. Rows are whole words.
struct CodeWords: TensorEncoder {
  let code: Encoding.Code

  func byteCount(rows: Int, columns: Int) -> Int { rows * columns * code.bits / 8 }

  func encode(_ rows: StoredRows, _ kernels: KernelSet, into out: inout MutableRawSpan) {
    Self.write(rows.codes, rows.code, into: &out)
  }

  /// - Parameter codes: plane 0 of whole runs of 32.
  @_lifetime(out: copy out)
  static func write(_ codes: RawSpan, _ code: Encoding.Code, into out: inout MutableRawSpan) {
    precondition(out.byteCount == codes.byteCount && codes.byteCount % 16 == 0)
    let isByteCode = code == .int8
    // Spans check each access and cannot be vectorized; this loop goes over all weights of a model.
    unsafe codes.withUnsafeBytes { codes in
      unsafe out.withUnsafeMutableBytes { out in
        for offset in stride(from: 0, to: codes.count, by: 16) {
          let first = unsafe UInt64(littleEndian: codes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
          let second = unsafe UInt64(littleEndian: codes.loadUnaligned(fromByteOffset: offset + 8, as: UInt64.self))
          let (a, b) = isByteCode ? unsigned(first, second) : inOrder(first, second)
          unsafe out.storeBytes(of: a.littleEndian, toByteOffset: offset, as: UInt64.self)
          unsafe out.storeBytes(of: b.littleEndian, toByteOffset: offset + 8, as: UInt64.self)
        }
      }
    }
  }

  @inline(__always)
  private static func unsigned(_ first: UInt64, _ second: UInt64) -> (UInt64, UInt64) {
    (first ^ 0x8080_8080_8080_8080, second ^ 0x8080_8080_8080_8080)
  }

  /// A run holds element j in the low half of byte j and element j + 16 in the high half; both are unsigned already.
  @inline(__always)
  private static func inOrder(_ first: UInt64, _ second: UInt64) -> (UInt64, UInt64) {
    (lowHalves(first) | lowHalves(second) << 32, lowHalves(first >> 4) | lowHalves(second >> 4) << 32)
  }

  /// The low halves of eight bytes as four bytes, in order.
  @inline(__always)
  private static func lowHalves(_ bytes: UInt64) -> UInt64 {
    var x = bytes & 0x0F0F_0F0F_0F0F_0F0F
    x = (x | x >> 4) & 0x00FF_00FF_00FF_00FF
    x = (x | x >> 8) & 0x0000_FFFF_0000_FFFF
    return (x | x >> 16) & 0x0000_0000_FFFF_FFFF
  }
}

/// A value for each group in bf16: its scale, times a power of two. Exact.
struct GroupScales: TensorEncoder {
  let groupSize: Int
  /// 1 for the scale, −2^(bits − 1) for what MLX adds to codes that were made unsigned.
  var factor: Float = 1

  func byteCount(rows: Int, columns: Int) -> Int { rows * columns / groupSize * 2 }

  func encode(_ rows: StoredRows, _ kernels: KernelSet, into out: inout MutableRawSpan) {
    for (group, scale) in rows.groupScales.enumerated() {
      // A scale of +0 stays +0.
      out.put(BFloat16.narrow(scale == 0 ? 0 : scale * factor), at: 2 * group)
    }
  }
}

/// Rows and columns of the matrix as two 64-bit numbers.
struct MatrixShape: TensorEncoder {
  func byteCount(rows: Int, columns: Int) -> Int { 16 }

  func encode(_ rows: StoredRows, _ kernels: KernelSet, into out: inout MutableRawSpan) {
    out.put(UInt64(rows.count), at: 0)
    out.put(UInt64(rows.columns), at: 8)
  }
}

extension MutableRawSpan {
  /// Writes a little-endian number at a byte offset.
  @_lifetime(self: copy self)
  mutating func put<T: FixedWidthInteger & BitwiseCopyable>(_ value: T, at byteOffset: Int) {
    storeBytes(of: value.littleEndian, toByteOffset: byteOffset, as: T.self)
  }
}
