import Kernels
import Storage
import Tensors

// The tensors of GPTQ lie transposed: what a row of the pack holds is a column there. Matrices come whole.

/// The words of ``CodeWords``, (columns · bits / 32, rows).
struct TransposedWords: TensorEncoder {
  let code: Encoding.Code

  func byteCount(rows: Int, columns: Int) -> Int { rows * columns * code.bits / 8 }

  func encode(_ rows: StoredRows, _ kernels: KernelSet, into out: inout MutableRawSpan) {
    var words = AlignedBuffer(byteCount: out.byteCount)
    var target = words.mutableBytes
    CodeWords.write(rows.codes, rows.code, into: &target)
    let width = rows.columns * rows.code.bits / 32
    let bytes = words.bytes
    let tile = 16  // words of a cache line
    for first in stride(from: 0, to: width, by: tile) {
      for row in 0..<rows.count {
        for word in first..<min(first + tile, width) {
          out.put(bytes.integer(at: 4 * (row * width + word), as: UInt32.self), at: 4 * (word * rows.count + row))
        }
      }
    }
  }
}

/// The scales in f16, (groups of a row, rows).
struct TransposedScales: TensorEncoder {
  let groupSize: Int

  func byteCount(rows: Int, columns: Int) -> Int { rows * columns / groupSize * 2 }

  func encode(_ rows: StoredRows, _ kernels: KernelSet, into out: inout MutableRawSpan) {
    let width = rows.columns / groupSize
    for (index, scale) in rows.groupScales.enumerated() {
      out.put(Float16(scale).bitPattern, at: 2 * (index % width * rows.count + index / width))
    }
  }
}

/// What symmetric codes have as zero: 2^(bits − 1) each, of which version 1 of the format stores one less; (groups of a row,
/// rows · bits / 32).
struct SymmetricZeros: TensorEncoder {
  let code: Encoding.Code
  let groupSize: Int

  func byteCount(rows: Int, columns: Int) -> Int { columns / groupSize * rows * code.bits / 8 }

  func encode(_ rows: StoredRows, _ kernels: KernelSet, into out: inout MutableRawSpan) {
    let word: UInt32 = code == .int4 ? 0x7777_7777 : 0x7F7F_7F7F
    for offset in stride(from: 0, to: out.byteCount, by: 4) { out.put(word, at: offset) }
  }
}

/// The group of each column.
struct ColumnGroups: TensorEncoder {
  let groupSize: Int

  func byteCount(rows: Int, columns: Int) -> Int { 4 * columns }

  func encode(_ rows: StoredRows, _ kernels: KernelSet, into out: inout MutableRawSpan) {
    for column in 0..<rows.columns { out.put(Int32(column / groupSize), at: 4 * column) }
  }
}
