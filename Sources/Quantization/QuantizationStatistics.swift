package import Kernels

/// How far codes are from their source. Sums, so that the parts of a tensor add up: `Formats/encodings.md`, section 10.
package struct QuantizationStatistics: Sendable, Equatable {
  /// Σ (x − y)² and Σ x² over elements x and decoded elements y, codes at the end of their range, and groups whose scale is
  /// below the range of their row.
  package private(set) var sums = QuantizationSums()
  /// Elements.
  package private(set) var count = 0

  package init() {}

  package init(_ sums: QuantizationSums, count: Int) {
    self.sums = sums
    self.count = count
  }

  package var squaredError: Double { sums.squaredError }
  package var squaredWeight: Double { sums.squaredWeight }
  package var saturated: Int { sums.saturated }
  package var clampedGroups: Int { sums.clamped }

  /// sqrt(Σ (x − y)² / Σ x²); 0 if all x are 0.
  package var relativeRMSE: Float {
    squaredWeight == 0 ? 0 : Float((squaredError / squaredWeight).squareRoot())
  }

  /// Saturated codes / all codes; 0 where there are none.
  package var saturatedShare: Float { count == 0 ? 0 : Float(Double(saturated) / Double(count)) }

  package static func + (a: Self, b: Self) -> Self {
    var sum = a
    sum += b
    return sum
  }

  /// To give the same bits everywhere, parts are added in the order of the tensor.
  package static func += (sum: inout Self, part: Self) {
    sum.sums.squaredError += part.squaredError
    sum.sums.squaredWeight += part.squaredWeight
    sum.sums.saturated += part.saturated
    sum.sums.clamped += part.clampedGroups
    sum.count += part.count
  }
}
