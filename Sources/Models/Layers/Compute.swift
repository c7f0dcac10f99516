package import Kernels
import Synchronization
import Tensors

/// Products with a set of kernels on some threads.
package struct Compute: Sendable {
  package let kernels: KernelSet
  package let threads: Int

  /// OpenBLAS for full-precision products of many tokens.
  private static let blas: Result<BLAS, BLASError> = {
    do throws(BLASError) { return .success(try BLAS.load()) } catch { return .failure(error) }
  }()

  private static let missedBLAS = Atomic<Bool>(false)

  /// Why full-precision products took the slower path, if some did; to be told to the person who waits.
  package static var blasProblem: BLASError? {
    guard missedBLAS.load(ordering: .relaxed), case .failure(let error) = blas else { return nil }
    return error
  }

  /// Tokens from which on OpenBLAS is ahead of a product that reads each weight once from memory.
  private static let blasTokens = 64

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
    var span = y.mutableSpan
    for block in matrix.blocks {
      let content = block.content
      if case .float(let format) = WeightFormat(matrix.encoding), tokens >= Self.blasTokens {
        if case .success(let blas) = Self.blas {
          blas.multiply(
            content.bytes.extracting(block.codes), as: format, rows: block.rows.count, columns: matrix.columns,
            x: x.span, tokens: tokens, into: &span, rowOffset: block.rows.lowerBound, stride: matrix.rows,
            kernels: kernels, threads: threads)
          continue
        }
        Self.missedBLAS.store(true, ordering: .relaxed)
      }
      kernels.multiply(
        content.bytes.extracting(block.codes), scales: content.bytes.extracting(block.scales),
        as: WeightFormat(matrix.encoding), rows: block.rows.count, columns: matrix.columns, x: x.span, tokens: tokens,
        into: &span, rowOffset: block.rows.lowerBound, stride: matrix.rows, threads: threads)
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
    switch WeightFormat(matrix.encoding) {
    case .float(let format): kernels.widen(codes, source: format, into: &span)
    case .codes(let format): kernels.decode(codes: codes, scales: scales, as: format, into: &span)
    }
    return y
  }
}

extension WeightFormat {
  init(_ encoding: Encoding) {
    switch encoding.kind {
    case .f32: self = .float(.f32)
    case .f16: self = .float(.f16)
    case .bf16: self = .float(.bf16)
    case .int8, .int4: self = .codes(CodeFormat(bits: encoding.codeBits, groupSize: encoding.groupSize))
    }
  }
}
