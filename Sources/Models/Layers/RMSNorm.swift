import Kernels

/// y = x · rsqrt(mean(x²) + ε) · weight, one row.
///
/// The mean is summed in binary64, so that it does not depend on the order of a kernel.
struct RMSNorm: Sendable {
  let weight: [Float]
  let epsilon: Float

  /// - Parameter rows: (rows, width of the weight), normalised in place.
  func apply(to rows: inout [Float], threads: Int) {
    var all = rows.mutableSpan
    Parallel.pieces(of: &all, length: weight.count, threads: threads, minimum: 4) { _, row in apply(to: &row, at: 0) }
  }

  func apply(to values: inout MutableSpan<Float>, at start: Int) {
    var sum = 0.0
    for index in weight.indices { sum += Double(values[start + index]) * Double(values[start + index]) }
    let factor = 1 / (Float(sum / Double(weight.count)) + epsilon).squareRoot()
    for index in weight.indices { values[start + index] = values[start + index] * factor * weight[index] }
  }
}
