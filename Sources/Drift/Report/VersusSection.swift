// Two candidates side by side: §15.1 of the report.

extension DriftReport {
  package struct Versus: Codable, Sendable, Equatable {
    /// The other candidate.
    package var model: Model
    package var positions: Int
    package var nonFinite: Int
    package var kl: PairedRatio?
    package var klGeometric: GeometricRatio?
    package var klTrimmed: PairedRatio?
    package var klP99: PairedRatio?
    package var top1Agreement: PairedDifference?
    package var routingChanged: PairedRatio?
    package var sameDecision: PairedDifference?
  }

  /// A number of both candidates, and candidate / versus.
  package struct PairedRatio: Codable, Sendable, Equatable {
    package var candidate: Double
    package var versus: Double
    package var ratio: Double
    package var ci95: ClosedRange<Double>?

    package var estimate: Estimate { Estimate(mean: ratio, ci95: ci95) }
  }

  /// A number of both candidates, and candidate − versus.
  package struct PairedDifference: Codable, Sendable, Equatable {
    package var candidate: Double
    package var versus: Double
    package var difference: Double
    package var ci95: ClosedRange<Double>?

    package var estimate: Estimate { Estimate(mean: difference, ci95: ci95) }
  }

  package struct GeometricRatio: Codable, Sendable, Equatable {
    /// The texts at which both drift.
    package var texts: Int
    /// How many of them the candidate drifts less at.
    package var smaller: Int
    package var ratio: Double
    package var ci95: ClosedRange<Double>?

    package var estimate: Estimate { Estimate(mean: ratio, ci95: ci95) }
  }
}
