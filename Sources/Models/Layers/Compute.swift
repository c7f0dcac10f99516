package import Kernels
import Tensors

/// Products with a set of kernels on some threads.
package struct Compute: Sendable {
  package let kernels: KernelSet
  package let threads: Int

  package init(kernels: KernelSet = .best, threads: Int) {
    precondition(threads >= 1)
    self.kernels = kernels
    self.threads = threads
  }

  /// x · Wᵀ.
  ///
  /// - Parameter x: (tokens, columns).
  /// - Returns: (tokens, rows).
  package func product(_ matrix: Matrix, _ x: [Float], tokens: Int) -> [Float] {
    precondition(x.count == tokens * matrix.columns)
    var y = [Float](repeating: 0, count: tokens * matrix.rows)
    for block in matrix.blocks {
      for row in block.rows {
        let w = self.row(row - block.rows.lowerBound, of: block, matrix)
        for token in 0..<tokens {
          var sum: Float = 0
          for column in 0..<matrix.columns { sum += w[column] * x[token * matrix.columns + column] }
          y[token * matrix.rows + row] = sum
        }
      }
    }
    return y
  }

  /// One decoded row.
  package func row(_ index: Int, of matrix: Matrix) -> [Float] {
    guard let block = matrix.blocks.first(where: { $0.rows.contains(index) }) else {
      preconditionFailure("row \(index) of \(matrix.rows)")
    }
    return row(index - block.rows.lowerBound, of: block, matrix)
  }

  private func row(_ index: Int, of block: Matrix.Block, _ matrix: Matrix) -> [Float] {
    let codeBytes = matrix.encoding.codeByteCount(elements: matrix.columns)
    let scaleBytes = matrix.encoding.scaleByteCount(elements: matrix.columns)
    let content = block.content
    let codes = content.bytes.extracting(block.codes).extracting(index * codeBytes..<(index + 1) * codeBytes)
    let scales = content.bytes.extracting(block.scales).extracting(index * scaleBytes..<(index + 1) * scaleBytes)
    var y = [Float](repeating: 0, count: matrix.columns)
    var span = y.mutableSpan
    switch matrix.encoding.kind {
    case .f32: kernels.widen(codes, source: .f32, into: &span)
    case .f16: kernels.widen(codes, source: .f16, into: &span)
    case .bf16: kernels.widen(codes, source: .bf16, into: &span)
    case .int8, .int4:
      kernels.decode(
        codes: codes, scales: scales,
        as: CodeFormat(bits: matrix.encoding.codeBits, groupSize: matrix.encoding.groupSize), into: &span)
    }
    return y
  }
}
