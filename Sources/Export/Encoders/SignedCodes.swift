import Kernels
import Storage
import Tensors

// Scales that have no sign: a group with a negative scale changes the signs of its codes.

/// Codes in two's complement, the first of two in the lower half of a byte.
struct SignedCodes: TensorEncoder {
  let code: Encoding.Code
  /// The sign bit of each code, and a one in each.
  private let signs, ones: UInt64

  init(code: Encoding.Code) {
    self.code = code
    signs = code == .int4 ? 0x8888_8888_8888_8888 : 0x8080_8080_8080_8080
    ones = code == .int4 ? 0x1111_1111_1111_1111 : 0x0101_0101_0101_0101
  }

  /// −8 has no counterpart.
  var obstacle: ExportRefusal.Obstacle? { code == .int4 ? .negativeScale : nil }

  func byteCount(rows: Int, columns: Int) -> Int { rows * columns * code.bits / 8 }

  func holds(_ rows: StoredRows, _ kernels: KernelSet) -> Bool {
    var buffer = AlignedBuffer(byteCount: byteCount(rows: rows.count, columns: rows.columns))
    var out = buffer.mutableBytes
    var isHeld = true
    change(rows, into: &out) { word, isNegative in
      // As unsigned numbers, code + 8: those of −8 are 0.
      let rest = word ^ signs
      let isLowest = ~(rest | rest >> 1 | rest >> 2 | rest >> 3) & ones != 0
      if isNegative, isLowest { isHeld = false }
      return word
    }
    return isHeld
  }

  func encode(_ rows: StoredRows, _ kernels: KernelSet, into out: inout MutableRawSpan) {
    change(rows, into: &out) { word, isNegative in
      guard isNegative else { return word }
      // −x is ~x + 1, for each code by itself.
      let inverse = ~word
      return ((inverse & ~signs) + ones) ^ (inverse & signs)
    }
  }

  /// Writes the codes, eight bytes of a group at a time.
  ///
  /// - Parameter change: takes codes in two's complement and whether their scale is negative.
  @inline(__always)
  private func change(_ rows: StoredRows, into out: inout MutableRawSpan, _ change: (UInt64, Bool) -> UInt64) {
    CodeWords.write(rows.codes, code, into: &out)
    let scales = rows.groupScales
    let step = rows.encoding.groupSize * code.bits / 8
    precondition(out.byteCount == scales.count * step)
    // As in ``CodeWords``.
    unsafe out.withUnsafeMutableBytes { out in
      for (group, scale) in scales.enumerated() {
        for offset in stride(from: group * step, to: (group + 1) * step, by: 8) {
          let word = unsafe UInt64(littleEndian: out.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
          let changed = change(word ^ signs, scale < 0)
          unsafe out.storeBytes(of: changed.littleEndian, toByteOffset: offset, as: UInt64.self)
        }
      }
    }
  }
}

/// The magnitudes of the scales in f16, in the order of the groups; 1 for a group of zeros that has no scale.
struct PositiveScales: TensorEncoder {
  let groupSize: Int

  func byteCount(rows: Int, columns: Int) -> Int { rows * columns / groupSize * 2 }

  func encode(_ rows: StoredRows, _ kernels: KernelSet, into out: inout MutableRawSpan) {
    for (group, scale) in rows.groupScales.enumerated() {
      out.put(Float16(scale == 0 ? 1 : abs(scale)).bitPattern, at: 2 * group)
    }
  }
}
