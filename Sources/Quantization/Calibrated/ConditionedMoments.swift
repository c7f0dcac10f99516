package import Kernels

/// How moments were made fit to solve with.
package struct MomentConditioning: Sendable, Equatable {
  package enum Outcome: Sendable, Equatable {
    /// Errors are fed back.
    case factored
    /// No damping made the moments positive definite: numbers are rounded one by one, with scales that the moments
    /// chose.
    case notPositiveDefinite
    /// Neither the expert nor its layer has moments: numbers are rounded one by one, all columns alike.
    case withoutStates
  }

  /// n.
  package var tokens: Int
  /// N.
  package var columns: Int
  /// The share k of the prior.
  package var shrink: Double
  /// λ, with which the factor succeeded, or the first where none did.
  package var damping: Double
  /// How many λ were tried.
  package var attempts = 0
  package var outcome = Outcome.factored

  /// n / N.
  package var coverage: Double { Double(tokens) / Double(columns) }
}

/// Moments shrunk towards a prior, damped and factored (`Formats/solver.md`, sections 3 and 5): what all matrices with the
/// same inputs are solved with, at any encoding.
package struct ConditionedMoments: Sendable {
  package let conditioning: MomentConditioning
  /// What was added to each diagonal element.
  let ridge: Float
  let moments: PackedMoments
  let factor: MomentFactor?
  let kernels: KernelSet

  package var columns: Int { moments.columns }

  /// By column, the weight of its rounding error once later columns have made up for what they can: A² of its place, or H_jj
  /// without a factor.
  var remainingPower: [Double] {
    guard let factor else { return moments.diagonal.map(Double.init) }
    var power = [Double](repeating: 0, count: columns)
    for (place, column) in factor.order.enumerated() {
      power[Int(column)] = Double(factor.pivots[place]) * Double(factor.pivots[place])
    }
    return power
  }

  /// - Throws: ``CalibrationError/statesNotFinite(column:)``.
  package init(
    _ moments: consuming Moments, prior: MomentPrior, kernels: KernelSet, threads: Int = 1
  ) throws(CalibrationError) {
    if let column = moments.firstNotFiniteColumn { throw .statesNotFinite(column: column) }
    let columns = moments.columns
    var found = MomentConditioning(tokens: moments.tokens, columns: columns, shrink: 0, damping: 0)
    let trace = moments.trace
    let isKnown = moments.tokens > 0 && trace > 0
    if !isKnown { found.tokens = 0 }
    var h = moments.take()
    if isKnown {
      Self.shrink(&h, trace, towards: prior, &found)
    } else {
      Self.replace(&h, by: prior, &found)
    }
    KernelSet.mirrorUpper(&h, columns: columns)
    self.kernels = kernels

    let mean = Moments.trace(h, columns: columns) / Double(columns)
    let diagonal = (0..<columns).map { h[$0 * columns + $0] }
    // What the layer lends may not be finite where an expert's own moments are.
    if let column = diagonal.firstIndex(where: { !$0.isFinite }) { throw .statesNotFinite(column: column) }
    let first = Self.damping(tokens: found.tokens, columns: columns)
    var factor: MomentFactor?
    var damping = first
    while true {
      found.attempts += 1
      let ridge = Float(damping * mean)
      for j in 0..<columns { h[j * columns + j] = diagonal[j] + ridge }
      if found.outcome == .withoutStates { break }
      factor = MomentFactor(h, order: Self.order(h, columns), kernels: kernels, threads: threads)
      if factor != nil || damping >= Self.mostDamping { break }
      damping = min(Self.mostDamping, 10 * damping)
    }
    if factor == nil {
      if found.outcome == .factored { found.outcome = .notPositiveDefinite }
      damping = first
      for j in 0..<columns { h[j * columns + j] = diagonal[j] + Float(damping * mean) }
    }
    found.damping = damping
    ridge = Float(damping * mean)
    self.factor = factor
    conditioning = found
    self.moments = PackedMoments(h, columns: columns, kernels: kernels)
  }

  private static var mostDamping: Double { 0.3 }

  /// λ of n tokens.
  private static func damping(tokens: Int, columns: Int) -> Double {
    tokens == 0 ? 0.1 : min(0.1, 0.002 + 0.03 * Double(columns) / Double(tokens))
  }

  private static func shrink(
    _ h: inout [Float], _ trace: Double, towards prior: MomentPrior, _ found: inout MomentConditioning
  ) {
    let k = 0.3 / (0.3 + found.coverage)
    switch prior {
    case .none: return
    case .layer(let layer):
      precondition(layer.columns == found.columns)
      guard layer.trace > 0 else { return }
      KernelSet.blend(&h, Float(1 - k), with: layer.values, Float(k * trace / layer.trace))
    case .ridge:
      let equal = Float(k * trace / Double(found.columns))
      for i in h.indices { h[i] *= Float(1 - k) }
      for j in 0..<found.columns { h[j * found.columns + j] += equal }
    }
    found.shrink = k
  }

  /// For an expert without tokens, or none that count: what its layer's tokens would have fed it.
  private static func replace(_ h: inout [Float], by prior: MomentPrior, _ found: inout MomentConditioning) {
    let columns = found.columns
    found.shrink = 1
    switch prior {
    case .layer(let layer), .ridge(let layer?):
      precondition(layer.columns == columns)
      guard layer.trace > 0 || !layer.trace.isFinite else { return forget(&h, &found) }
      h = layer.values
    case .ridge(nil), .none: forget(&h, &found)
    }
  }

  private static func forget(_ h: inout [Float], _ found: inout MomentConditioning) {
    found.outcome = .withoutStates
    for i in h.indices { h[i] = 0 }
    for j in 0..<found.columns { h[j * found.columns + j] = 1 }
  }

  /// Columns by descending moments, equal ones by index.
  private static func order(_ h: [Float], _ columns: Int) -> [UInt32] {
    let diagonal = (0..<columns).map { h[$0 * columns + $0] }
    let order = (0..<UInt32(columns)).sorted { (a: UInt32, b: UInt32) -> Bool in
      let (x, y) = (diagonal[Int(a)], diagonal[Int(b)])
      return x == y ? a < b : x > y
    }
    return order
  }
}
