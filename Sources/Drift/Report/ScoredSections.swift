// Level 2 of the report: §6 to §11, §14 and §15.

extension DriftReport {
  // MARK: Masked positions (§6)

  package struct Masked: Codable, Sendable, Equatable {
    package var texts: Int
    package var states: Int
    package var positions: Int
    package var nonFinite: Int
    package var kl: Distribution?
    package var klFullMean: Double?
    package var robust: Robust?
    package var top1Agreement: Estimate?
    package var top1ProbabilityChange: ProbabilityChange?
    package var threshold: Threshold?
    package var nll: Loss?
    package var elbo: Loss?
    package var byMaskRatio: [MaskRatioGroup]
    package var byBlock: [BlockGroup]
    package var byConfidence: [ConfidenceGroup]
    package var histogram: [Bar]
    package var worst: [WorstPosition]
  }

  /// Means of `kl` that a few positions do not lead.
  package struct Robust: Codable, Sendable, Equatable {
    package var geometric: Estimate?
    /// Texts without drift, which have no logarithm.
    package var textsWithoutDrift: Int
    package var trimmed: Estimate?
    package var tenWorstShare: Double?
  }

  package struct ProbabilityChange: Codable, Sendable, Equatable {
    package var mean: Double
    package var ci95: ClosedRange<Double>?
    package var rms: Double
    package var p1: Double
    package var p10: Double
    package var median: Double
    package var p90: Double
    package var p99: Double

    package var estimate: Estimate { Estimate(mean: mean, ci95: ci95) }
  }

  package struct Threshold: Codable, Sendable, Equatable {
    package var value: Float
    package var referenceAbove: Double
    package var candidateAbove: Double
    package var crossedDown: Double
    package var crossedUp: Double
    package var marginChange: Estimate?
  }

  package struct Loss: Codable, Sendable, Equatable {
    package var reference: Double
    package var candidate: Double
    package var difference: Estimate?
  }

  /// Positions that have something in common.
  package struct Group: Codable, Sendable, Equatable {
    package var positions: Int
    package var kl: Distribution?
    package var top1Agreement: Estimate?
    package var nllDifference: Estimate?
  }

  package struct MaskRatio: Codable, Sendable, Equatable {
    package var maskRatio: Double
  }

  package struct RoutingChange: Codable, Sendable, Equatable {
    package var routingChanged: Estimate?
  }

  package struct Block: Codable, Sendable, Equatable {
    package var block: Int
  }

  /// From one number up to another.
  package struct Bounds: Codable, Sendable, Equatable {
    package var from: Double
    package var to: Double
  }

  package struct Count: Codable, Sendable, Equatable {
    package var count: Int
  }

  package typealias MaskRatioGroup = Joined<MaskRatio, Joined<Group, RoutingChange>>
  package typealias BlockGroup = Joined<Block, Group>
  package typealias ConfidenceGroup = Joined<Bounds, Group>
  package typealias Bar = Joined<Bounds, Count>

  package struct WorstPosition: Codable, Sendable, Equatable {
    package struct Token: Codable, Sendable, Equatable {
      package var token: Int
      package var text: String
      package var probability: Double
    }
    package var text: Int
    package var position: Int
    package var block: Int
    package var maskRatio: Double
    package var kl: Double
    package var truth: String
    package var reference: [Token]
    package var candidate: [Token]
    package var context: String
  }

  // MARK: Layers and routes (§7, §8)

  package struct Layer: Codable, Sendable, Equatable {
    package var layer: Int
    package var nonFinite: Int
    package var relativeError: Double?
    package var cosine: Double?
    package var floor: Double?
  }

  package struct Routing: Codable, Sendable, Equatable {
    package var rows: Int
    package var nonFinite: Int
    package var changed: Estimate?
    package var overlap: Estimate?
    package var kl: Estimate?
    package var weightShift: Estimate?
    package var byLayer: [RoutingLayer]
    package var byMaskRatio: [RoutingMaskRatio]
  }

  /// As plain numbers.
  package struct RoutingNumbers: Codable, Sendable, Equatable {
    package var changed: Double?
    package var overlap: Double?
    package var kl: Double?
    package var weightShift: Double?
  }

  package struct LayerIndex: Codable, Sendable, Equatable {
    package var layer: Int
  }

  package struct RoutingFloor: Codable, Sendable, Equatable {
    package var floorChanged: Double?
  }

  package typealias RoutingLayer = Joined<LayerIndex, Joined<RoutingNumbers, RoutingFloor>>
  package typealias RoutingMaskRatio = Joined<MaskRatio, RoutingNumbers>

  // MARK: Pairs, block lengths, floor (§9 to §11)

  package struct Preferences: Codable, Sendable, Equatable {
    package struct Margin: Codable, Sendable, Equatable {
      package var reference: Double?
      package var candidate: Double?
      package var change: Estimate?
    }
    package var pairs: Int
    package var nonFinite: Int
    package var margin: Margin
    package var flipped: Double?
  }

  package struct BlockLength: Codable, Sendable, Equatable {
    package var blockLength: Int
    package var positions: Int
    package var nonFinite: Int
    package var kl: Distribution?
    package var top1Agreement: Estimate?
    package var elboDifference: Estimate?
  }

  /// What the floor is whatever the candidate: records keep it.
  package struct FloorNumbers: Codable, Sendable, Equatable {
    package var noise: Double
    package var nonFinite: Int
    package var kl: Distribution?
    package var top1Agreement: Estimate?
    package var nllDifference: Estimate?
    package var routingChanged: Estimate?
  }

  package struct FloorRatio: Codable, Sendable, Equatable {
    package var klRatio: Double?
  }

  package typealias Floor = Joined<FloorNumbers, FloorRatio>

  // MARK: Where it comes from (§14, §15)

  package struct Attribution: Codable, Sendable, Equatable {
    package struct Part: Codable, Sendable, Equatable {
      package var part: String
      package var nonFinite: Int
      package var kl: Estimate?
      package var share: Double?
    }
    package var by: String
    package var nonFinite: Int
    package var parts: [Part]
    package var sum: Double
    package var whole: Double?
    package var additivity: Double?
    package var leftOut: Int
  }

  package struct RouteReplay: Codable, Sendable, Equatable {
    package var nonFinite: Int
    package var candidateRoutes: Estimate?
    package var candidateWeights: Estimate?
    package var both: Estimate?
    package var throughRoutes: Estimate?
  }
}
