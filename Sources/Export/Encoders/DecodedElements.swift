import Kernels
import Storage
import Tensors

/// Numbers, decoded: as f32, which is exact, or rounded once to bf16 or f16, to nearest, ties to even.
struct DecodedElements: TensorEncoder {
  /// The least magnitude that f16 rounds to an infinity.
  static let leastTooLargeForHalf: Float = 65520

  let dtype: DType

  var obstacle: ExportRefusal.Obstacle? { dtype == .f16 ? .tooLarge(for: "F16") : nil }

  func holds(_ rows: StoredRows, _ kernels: KernelSet) -> Bool { rows.isBelow(Self.leastTooLargeForHalf, kernels) }

  func byteCount(rows: Int, columns: Int) -> Int { rows * columns * dtype.byteCount }

  func encode(_ rows: StoredRows, _ kernels: KernelSet, into out: inout MutableRawSpan) {
    var halves = [UInt16](repeating: 0, count: dtype == .f32 ? 0 : rows.columns)
    rows.forEachRow(kernels) { index, row in
      let place = index * rows.columns * dtype.byteCount
      switch dtype {
      case .f32: unsafe out.write(row.span.bytes, at: place)
      case .f16:
        for column in row.indices { halves[column] = Float16(row[column]).bitPattern.littleEndian }
        unsafe out.write(halves.span.bytes, at: place)
      default:
        for column in row.indices { halves[column] = BFloat16.narrow(row[column]).littleEndian }
        unsafe out.write(halves.span.bytes, at: place)
      }
    }
  }
}

/// Blocks of 32 numbers in 8 bits behind their scale in f16, exactly as ggml rounds them to Q8_0 (`Formats/export-gguf.md` §1).
struct RoundedBlocks: TensorEncoder {
  static let blockLength = 32
  private static let blockByteCount = 2 + blockLength
  private static let largestCode: Float = 127

  var obstacle: ExportRefusal.Obstacle? { .tooLarge(for: "Q8_0") }

  func holds(_ rows: StoredRows, _ kernels: KernelSet) -> Bool {
    rows.isBelow(DecodedElements.leastTooLargeForHalf, dividedBy: Self.largestCode, kernels)
  }

  func byteCount(rows: Int, columns: Int) -> Int { rows * columns / Self.blockLength * Self.blockByteCount }

  func encode(_ rows: StoredRows, _ kernels: KernelSet, into out: inout MutableRawSpan) {
    var place = 0
    rows.forEachRow(kernels) { _, row in
      for first in stride(from: 0, to: row.count, by: Self.blockLength) {
        let block = first..<first + Self.blockLength
        var largest: Float = 0
        for index in block { largest = max(largest, abs(row[index])) }
        // Codes follow from the scale before it is rounded, and from its inverse. Without one, all of them are 0.
        let scale = largest / Self.largestCode
        let inverse = scale == 0 || !(1 / scale).isFinite ? 0 : 1 / scale
        out.put(Float16(scale).bitPattern, at: place)
        for (offset, index) in block.enumerated() {
          let wanted = row[index] * inverse
          // The float before one half, towards the outside: what is cut off then rounds half away from zero, exactly.
          out.put(Int8(wanted < 0 ? wanted - 0x1.FFFFFEp-2 : wanted + 0x1.FFFFFEp-2), at: place + 2 + offset)
        }
        place += Self.blockByteCount
      }
    }
  }
}
