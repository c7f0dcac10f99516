import JSON
package import Models

extension DriftRecord {
  /// Numbers of a `config.json`, by the names they have there, that change what a model computes with the same weights.
  package struct Computation: Codable, Sendable, Equatable {
    package var ropeTheta: Double
    package var partialRotaryFactor: Double
    package var rmsNormEps: Double
    package var routedScalingFactor: Double
    package var numAttentionHeads: Int
    package var numKeyValueHeads: Int
    package var headDim: Int
    package var numExpertsPerTok: Int
    package var nGroup: Int
    package var topkGroup: Int
    package var firstKDenseReplace: Int
    package var expertCapacity: Int?
    package var blockSize: Int?

    package init(_ configuration: ModelConfiguration) {
      ropeTheta = configuration.ropeTheta
      partialRotaryFactor = configuration.partialRotaryFactor
      rmsNormEps = configuration.rmsNormEpsilon
      routedScalingFactor = configuration.routedScalingFactor
      numAttentionHeads = configuration.headCount
      numKeyValueHeads = configuration.keyValueHeadCount
      headDim = configuration.headDimension
      numExpertsPerTok = configuration.expertsPerToken
      nGroup = configuration.groupCount
      topkGroup = configuration.topGroupCount
      firstKDenseReplace = configuration.firstDenseLayers
      expertCapacity = configuration.blockRouting?.expertCapacity
      blockSize = configuration.blockRouting?.blockSize
    }

    /// The first number that another computation has otherwise: `rope_theta: 600000.0 and 10000.0`; nil where all are the same.
    package func difference(to other: Computation) -> String? {
      JSONValue(encoding: self).difference(to: JSONValue(encoding: other)).map {
        "\($0.path): \($0.own.text()) and \($0.other.text())"
      }
    }
  }
}
