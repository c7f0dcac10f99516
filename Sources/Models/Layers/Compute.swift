package import Kernels
import Storage
import Synchronization
import Tensors

/// How products with int4 and int8 matrices take their activations; all others take them as they are.
package enum Activations: String, Sendable, CaseIterable {
  case fp32
  /// Rounded to int8 in groups as large as those of the weights (``Int8Activations``): faster, and less exact.
  case int8
}

/// Products with a set of kernels on some threads.
package struct Compute: Sendable {
  package let kernels: KernelSet
  package private(set) var threads: Int
  package let activations: Activations
  /// What models keep keys and values as.
  package let keyValues: KeyValueType
  /// Whether a row's result has the same bits however many rows there are, so that sequences that are decoded together do
  /// not depend on each other's company.
  package var treatsRowsAlike: Bool { order != .fastest }
  private var order: SumOrder
  private let counter = ProductCounter()

  /// Products whose activations were rounded to int8, by this value and its copies.
  package var int8ProductCount: Int { counter.count.load(ordering: .relaxed) }

  package init(
    kernels: KernelSet = .best, threads: Int, activations: Activations = .fp32, keyValues: KeyValueType = .fp32,
    treatsRowsAlike: Bool = false
  ) {
    precondition(threads >= 1)
    order = treatsRowsAlike ? .panel : .fastest
    self.kernels = kernels
    self.threads = threads
    self.activations = activations
    self.keyValues = keyValues
  }

  /// The same for experts, each of which has few rows of many.
  var ofExperts: Compute {
    var compute = self
    if treatsRowsAlike { compute.order = .alone }
    return compute
  }

  /// The same on one thread: for work that threads share otherwise.
  var alone: Compute {
    var compute = self
    compute.threads = 1
    return compute
  }

  /// x · Wᵀ for matrices that share their input, which is rounded once for all of them where ``activations`` asks for it.
  ///
  /// - Parameter x: (tokens, columns).
  /// - Returns: (tokens, rows) of each matrix.
  package func products(_ matrices: [Matrix], _ x: [Float], tokens: Int) -> [[Float]] {
    var rounded: [Int: Int8Activations] = [:]
    return matrices.map { matrix in
      var y = [Float](repeating: 0, count: tokens * matrix.rows)
      var span = y.mutableSpan
      multiply(matrix, x, tokens: tokens, &rounded, into: &span)
      return y
    }
  }

  /// x · Wᵀ.
  ///
  /// - Parameter x: (tokens, columns).
  /// - Returns: (tokens, rows).
  package func product(_ matrix: Matrix, _ x: [Float], tokens: Int) -> [Float] {
    products([matrix], x, tokens: tokens)[0]
  }

  /// The same, into memory that is there.
  @_lifetime(y: copy y)
  func product(_ matrix: Matrix, _ x: [Float], tokens: Int, into y: inout MutableSpan<Float>) {
    var rounded: [Int: Int8Activations] = [:]
    multiply(matrix, x, tokens: tokens, &rounded, into: &y)
  }

  /// x · Wᵀ with activations as they are, whatever ``activations`` says: for the router.
  package func product(inFP32 matrix: Matrix, _ x: [Float], tokens: Int) -> [Float] {
    var y = [Float](repeating: 0, count: tokens * matrix.rows)
    var span = y.mutableSpan
    multiply(inFP32: matrix, x, tokens: tokens, into: &span)
    return y
  }

  /// - Parameter rounded: by group size, x in int8, as far as it was needed.
  @_lifetime(y: copy y)
  private func multiply(
    _ matrix: Matrix, _ x: [Float], tokens: Int, _ rounded: inout [Int: Int8Activations],
    into y: inout MutableSpan<Float>
  ) {
    guard activations == .int8, case .codes(let format) = WeightFormat(matrix.encoding) else {
      return multiply(inFP32: matrix, x, tokens: tokens, into: &y)
    }
    let input =
      rounded[format.groupSize]
      ?? kernels.int8Activations(x.span, tokens: tokens, columns: matrix.columns, groupSize: format.groupSize)
    rounded[format.groupSize] = input
    counter.count.add(1, ordering: .relaxed)
    for block in matrix.blocks {
      let content = block.content
      kernels.multiply(
        content.bytes.extracting(block.codes), scales: content.bytes.extracting(block.scales), as: format,
        rows: block.rows.count, x: input, into: &y, rowOffset: block.rows.lowerBound, stride: matrix.rows,
        threads: threads)
    }
  }

  @_lifetime(y: copy y)
  private func multiply(inFP32 matrix: Matrix, _ x: [Float], tokens: Int, into y: inout MutableSpan<Float>) {
    precondition(x.count == tokens * matrix.columns)
    for block in matrix.blocks {
      let content = block.content
      kernels.multiply(
        content.bytes.extracting(block.codes), scales: content.bytes.extracting(block.scales),
        as: WeightFormat(matrix.encoding), rows: block.rows.count, columns: matrix.columns, x: x.span, tokens: tokens,
        into: &y, rowOffset: block.rows.lowerBound, stride: matrix.rows, threads: threads, order: order)
    }
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
    let scaleBytes = matrix.encoding.scaleByteCount(elements: matrix.columns, columns: matrix.columns)
    let content = block.content
    let codes = content.bytes.extracting(block.codes).extracting(index * codeBytes..<(index + 1) * codeBytes)
    let scales = content.bytes.extracting(block.scales).extracting(index * scaleBytes..<(index + 1) * scaleBytes)
    var y = [Float](repeating: 0, count: matrix.columns)
    var span = y.mutableSpan
    switch WeightFormat(matrix.encoding) {
    case .float(let format): kernels.widen(codes, source: format, into: &span)
    case .codes(let format):
      kernels.decode(codes: codes, scales: scales, as: format, columns: matrix.columns, into: &span)
    }
    return y
  }
}

private final class ProductCounter: Sendable {
  let count = Atomic<Int>(0)
}
