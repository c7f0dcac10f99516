import JSON

/// What a family's code does without asking `config.json`.
package struct Conventions: Sendable, Equatable {
  /// What makes scores of a router's logits.
  package enum Scores: Sendable {
    /// Each expert's by itself.
    case sigmoid
    /// Those of all experts add up to 1.
    case softmax
  }

  package struct Assumption: Sendable, Equatable {
    let key: String
    let value: JSONValue
  }

  package var scores: Scores
  /// Whether routers have a bias that decides the choice. Where they have none, there are no groups of experts, no dense layers and
  /// no factor of their answers either.
  package var hasRouterBias: Bool
  /// Whether one matrix gives queries, keys and values.
  package var joinsQueryKeyValue: Bool
  /// The share of a head's channels that RoPE turns where `config.json` does not say; nil where it must.
  package var partialRotaryFactor: Double?
  /// Positions that are denoised together where neither a person nor `config.json` says so.
  package var blockLength: Int
  /// Keys that the family's code ignores or hard-wires; another value would mean another model.
  let assumptions: [Assumption]
  /// The same for keys whose absence means something else.
  let demands: [Assumption]

  init(
    scores: Scores = .sigmoid, hasRouterBias: Bool = true, joinsQueryKeyValue: Bool = true,
    partialRotaryFactor: Double? = nil, blockLength: Int = 32,
    assumptions: [(String, JSONValue)], demands: [(String, JSONValue)] = []
  ) {
    self.scores = scores
    self.hasRouterBias = hasRouterBias
    self.joinsQueryKeyValue = joinsQueryKeyValue
    self.partialRotaryFactor = partialRotaryFactor
    self.blockLength = blockLength
    self.assumptions = assumptions.map { Assumption(key: $0, value: $1) }
    self.demands = demands.map { Assumption(key: $0, value: $1) }
  }
}
