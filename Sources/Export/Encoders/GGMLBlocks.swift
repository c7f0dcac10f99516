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
    let (codes, scales) = (rows.codes, rows.groupScales)
    let blocksPerGroup = rows.encoding.groupSize / 32
    let step = codeByteCount
    for (block, from) in stride(from: 0, to: codes.byteCount, by: step).enumerated() {
      let to = block * (2 + step)
      out.put(Float16(scales[block / blocksPerGroup]).bitPattern, at: to)
      for offset in stride(from: 0, to: step, by: 8) {
        out.put(codes.integer(at: from + offset, as: UInt64.self), at: to + 2 + offset)
      }
    }
  }
}
