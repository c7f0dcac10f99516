package import Kernels

/// Second moments of the inputs of a product: `H = Σ ω z zᵀ` over tokens with input z and weight ω, as chains in the order of
/// the tokens (`Formats/solver.md`, section 3). Tokens may come in any pieces.
package struct Moments: ~Copyable, Sendable {
  package let columns: Int
  /// How many tokens were added, those of weight 0 too.
  package private(set) var tokens = 0
  /// (columns, columns), of which the upper half counts.
  private(set) var values: [Float]

  package init(columns: Int) {
    self.columns = columns
    values = [Float](repeating: 0, count: columns * columns)
  }

  /// Adds the next tokens.
  ///
  /// - Parameters:
  ///   - states: (weights.count, columns) bf16 or f32.
  ///   - weights: ω of each token, not negative.
  package mutating func add(
    _ states: RawSpan, as format: FloatFormat, weights: Span<Float>, kernels: KernelSet, threads: Int = 1
  ) {
    kernels.addMoments(of: states, as: format, weights: weights, columns: columns, to: &values, threads: threads)
    tokens += weights.count
  }

  /// Σ H[j, j] in binary64.
  package var trace: Double { Self.trace(values, columns: columns) }

  static func trace(_ values: [Float], columns: Int) -> Double {
    (0..<columns).reduce(0) { $0 + Double(values[$1 * columns + $1]) }
  }

  /// The first column whose states were not all finite, or too large for their squares.
  package var firstNotFiniteColumn: Int? { (0..<columns).first { !values[$0 * columns + $0].isFinite } }

  consuming func take() -> [Float] { values }

  /// Ends the adding.
  package consuming func share() -> LayerMoments { LayerMoments(columns: columns, trace: trace, values: values) }
}

/// The moments of all tokens of a layer, each with the sum of its weights over the experts it went to.
package final class LayerMoments: Sendable {
  package let columns: Int
  package let trace: Double
  let values: [Float]

  init(columns: Int, trace: Double, values: [Float]) {
    self.columns = columns
    self.trace = trace
    self.values = values
  }
}

/// What moments of few tokens are drawn towards: `Formats/solver.md`, section 3.
package enum MomentPrior: Sendable {
  /// Nothing is known: moments stay what they are.
  case none
  /// The layer's, for inputs that mean the same in every expert.
  case layer(LayerMoments)
  /// Equal moments of all columns and none across, for inputs that mean something else in every expert.
  ///
  /// - Parameter empty: what an expert without tokens takes.
  case ridge(empty: LayerMoments? = nil)
}
