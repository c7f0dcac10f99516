import Kernels
import Storage
import Tensors

/// Blocks of 32 codes behind their scale in f16: Q4_0 and Q8_0 of ggml. Codes are copied, in Q4_0 too, whose order of halves is that
/// of the pack; a group of 64 or 128 repeats its scale.
struct GGMLBlocks: TensorEncoder {
  let code: Encoding.Code

  private var codeByteCount: Int { 4 * code.bits }

  func byteCount(rows: Int, columns: Int) -> Int { rows * columns / 32 * (2 + codeByteCount) }

  func encode(_ rows: StoredRows, _ kernels: KernelSet, into out: inout MutableRawSpan) {
    let codes = rows.codes
    let scales = rows.groupScales.map { Float16($0).bitPattern.littleEndian }
    let blocksPerGroup = rows.encoding.groupSize / 32
    let step = codeByteCount
    precondition(out.byteCount == codes.byteCount / step * (2 + step))
    precondition(scales.count * blocksPerGroup * step == codes.byteCount)
    // As in ``CodeWords``.
    unsafe codes.withUnsafeBytes { codes in
      unsafe out.withUnsafeMutableBytes { out in
        for block in 0..<codes.count / step {
          let to = block * (2 + step)
          unsafe out.storeBytes(of: scales[block / blocksPerGroup], toByteOffset: to, as: UInt16.self)
          for offset in stride(from: 0, to: step, by: 8) {
            let eight = unsafe codes.loadUnaligned(fromByteOffset: block * step + offset, as: UInt64.self)
            unsafe out.storeBytes(of: eight, toByteOffset: to + 2 + offset, as: UInt64.self)
          }
        }
      }
    }
  }
}
