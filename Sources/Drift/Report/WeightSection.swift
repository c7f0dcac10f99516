// Level 1 of the report: §5.

extension DriftReport {
  package typealias Weights = Joined<WeightCounts, Joined<WeightErrors, WeightParts>>

  package struct WeightCounts: Codable, Sendable, Equatable {
    package var compared: Int
    package var different: Int
    package var keptDifferent: Int
    package var worstExpertRMSE: Double
    package var worstGainError: Double
  }

  /// The errors of all tensors that differ, or of some of them.
  package struct WeightErrors: Codable, Sendable, Equatable {
    package var relativeRMSE: Double?
    package var sqnrDB: Double?
    package var cosine: Double?
    package var gain: Double?
    package var nonFinite: Int
    package var maxAbsError: Float
    package var saturatedShare: Double?
  }

  package struct WeightParts: Codable, Sendable, Equatable {
    package var byLayer: [Joined<LayerIndex, WeightErrors>]
    package var byProjection: [Joined<Projection, WeightErrors>]
    package var experts: [Joined<Expert, WeightErrors>]
    package var tensors: [Joined<Tensor, WeightErrors>]
  }

  package struct Projection: Codable, Sendable, Equatable {
    package var projection: String
  }

  package struct Expert: Codable, Sendable, Equatable {
    package var layer: Int
    package var expert: Int
  }

  package struct Tensor: Codable, Sendable, Equatable {
    package var name: String
    package var encoding: String
  }
}
