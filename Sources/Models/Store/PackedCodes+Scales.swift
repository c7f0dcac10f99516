import Kernels
import Safetensors
import Storage
import Tensors

// Scales as other tools pack them.

extension PackedCodes {
  /// A number is scale · (code + 2^(bits − 1) − zero) + bias.
  struct Factor {
    var scale: Float
    var zero: Int
    var bias: Float

    /// Whether it is scale · code.
    func isSymmetric(_ half: Int) -> Bool { Float(zero - half) * scale == bias }
  }

  static func float(_ bytes: RawSpan, _ offset: Int, _ format: FloatFormat) -> Float {
    switch format {
    case .f32: bytes.float(at: offset)
    case .f16: Float(Float16(bitPattern: bytes.integer(at: offset)))
    case .bf16: BFloat16.widen(bytes.integer(at: offset))
    }
  }

  /// Gives each group of some rows its factor, row by row.
  func forEachFactor(_ rows: Range<Int>, _ body: (Int, Int, Factor) -> Void) {
    let half = 1 << (bits - 1)
    let bytes = SharedBytes(scales.file.file, scales.entry.byteRange)
    let others: SharedBytes? =
      switch offsets {
      case .none: nil
      case .biases(let place), .zeros(let place, _): SharedBytes(place.file.file, place.entry.byteRange)
      }
    for row in rows {
      for group in 0..<groupCount {
        let offset = scaleOffset(row, group)
        var factor = Factor(scale: Self.float(bytes.bytes, offset, scaleFormat), zero: half, bias: 0)
        switch (offsets, others) {
        case (.biases, let others?):
          factor.zero = 0
          factor.bias = Self.float(others.bytes, offset, scaleFormat)
        case (.zeros(_, let lowered), let others?):
          let bit = (group * storedRowCount + row) * bits
          let byte = Int(others.bytes.integer(at: bit / 8, as: UInt8.self))
          // Zero 0 less one is stored as the largest.
          factor.zero = (byte >> (bit % 8) + lowered) & ((1 << bits) - 1)
        default: break
        }
        body(row, group, factor)
      }
    }
  }
}
