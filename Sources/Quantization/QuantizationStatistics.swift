/// How far codes are from their source. Sums, so that the parts of a tensor add up: `Formats/encodings.md`, section 10.
package struct QuantizationStatistics: Sendable, Equatable {
  /// Σ (x − y)² over elements x and decoded elements y.
  package var squaredError = 0.0
  /// Σ x².
  package var squaredWeight = 0.0
  /// Codes at the end of their range.
  package var saturated = 0
  /// Elements.
  package var count = 0

  package init() {}

  package init(squaredError: Double, squaredWeight: Double, saturated: Int, count: Int) {
    self.squaredError = squaredError
    self.squaredWeight = squaredWeight
    self.saturated = saturated
    self.count = count
  }

  /// sqrt(Σ (x − y)² / Σ x²); 0 if all x are 0.
  package var relativeRMSE: Float {
    squaredWeight == 0 ? 0 : Float((squaredError / squaredWeight).squareRoot())
  }

  /// Saturated codes / all codes; 0 where there are none.
  package var saturatedShare: Float { count == 0 ? 0 : Float(Double(saturated) / Double(count)) }

  /// To give the same bits everywhere, parts are added in the order of the tensor.
  package static func += (sum: inout Self, part: Self) {
    sum.squaredError += part.squaredError
    sum.squaredWeight += part.squaredWeight
    sum.saturated += part.saturated
    sum.count += part.count
  }
}
