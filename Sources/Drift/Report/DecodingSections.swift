// Levels 3 and 4 of the report: §12 and §13.

extension DriftReport {
  package struct Trajectories: Codable, Sendable, Equatable {
    package var prompts: Int
    package var identical: Estimate?
    package var samePath: Estimate?
    package var firstDivergence: FirstDivergence
    package var editDistance: Estimate?
    package var orderAgreement: Estimate?
    package var forwards: Change<Int>
    package var tokensPerForward: Change<Double>
    package var stopped: Stopped
    package var alongReference: AlongReference?
    package var examples: [Example]
  }

  package struct FirstDivergence: Codable, Sendable, Equatable {
    package var count: Int
    package var block: Double?
    package var step: Double?
    package var maskRatio: Double?
    package var beyondFirstBlock: Double?
  }

  package struct Stopped: Codable, Sendable, Equatable {
    package var reference: Double?
    package var candidate: Double?
    package var changed: Double?
  }

  /// §12.1
  package struct AlongReference: Codable, Sendable, Equatable {
    package var states: Int
    package var commits: Int
    package var nonFinite: Int
    package var samePositions: Estimate?
    package var slots: Estimate?
    package var sameTokens: Estimate?
    package var sameDecision: Estimate?
    package var kl: Distribution?
    package var byMaskRatio: [AlongQuarter]
  }

  package struct AlongNumbers: Codable, Sendable, Equatable {
    package var states: Int
    package var samePositions: Double?
    package var sameTokens: Double?
  }

  package typealias AlongQuarter = Joined<Bounds, AlongNumbers>

  package struct Example: Codable, Sendable, Equatable {
    package struct Token: Codable, Sendable, Equatable {
      package var text: String
      package var forward: Int?
      package var block: Int
      package var same: Bool
    }

    package struct Side: Codable, Sendable, Equatable {
      package var text: String
      package var tokens: [Token]
      package var forwards: Int
    }

    package struct Divergence: Codable, Sendable, Equatable {
      package var block: Int
      package var step: Int
      package var position: Int?
      package var maskRatio: Double
    }

    package var prompt: String
    package var promptTokens: [Int]
    package var reference: Side
    package var candidate: Side
    package var divergence: Divergence?
  }

  package struct Tasks: Codable, Sendable, Equatable {
    package struct Task: Codable, Sendable, Equatable {
      package var task: String
      package var prompts: Int
      package var referenceCorrect: Int
      package var candidateCorrect: Int
      package var lost: Int
      package var gained: Int
    }

    package var prompts: Int
    package var match: String
    package var referenceCorrect: Estimate?
    package var candidateCorrect: Estimate?
    package var both: Int
    package var neither: Int
    package var lost: Int
    package var gained: Int
    package var p: Double
    package var lostSignificantly: Int
    package var truncated: Sides<Double>
    package var byTask: [Task]
  }
}
