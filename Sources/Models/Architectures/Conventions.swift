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

  /// Which token the scores at a position are of.
  package enum Prediction: Sendable {
    /// The one that a mask stands for there.
    case masked
    /// The next one: every position sees those up to itself, and nothing is masked.
    case next

    /// How many positions before a token its scores are.
    package var lead: Int { self == .next ? 1 : 0 }
  }

  package struct Assumption: Sendable, Equatable {
    let key: String
    let value: JSONValue
  }

  package var scores: Scores
  /// Whether routers have a bias that decides the choice.
  package var hasRouterBias: Bool
  /// Whether `config.json` tells dense layers, groups of experts, a factor of their answers and block routing. Without, there is none.
  var hasRoutingKeys: Bool
  /// Whether one matrix gives queries, keys and values.
  package var joinsQueryKeyValue: Bool
  /// The share of a head's channels that RoPE turns where `config.json` does not say; nil where it must.
  package var partialRotaryFactor: Double?
  package var prediction: Prediction
  /// Positions that are denoised together where neither a person nor `config.json` says so.
  package var blockLength: Int
  /// The key that says so; nil where none does.
  var blockLengthKey: String?
  /// Above which probability a masked position is committed by the decoder 2.0 where nobody says so, as its authors have it.
  package var commitThreshold: Float
  /// Keys that the family's code ignores or hard-wires; another value would mean another model.
  let assumptions: [Assumption]
  /// Keys that must be there with this value, since the family's code takes another where they are absent.
  let demands: [Assumption]

  init(
    scores: Scores = .sigmoid, hasRouterBias: Bool = true, hasRoutingKeys: Bool = true, joinsQueryKeyValue: Bool = true,
    partialRotaryFactor: Double? = nil, prediction: Prediction = .masked, blockLength: Int = 32,
    blockLengthKey: String? = nil,
    commitThreshold: Float = 0.95,
    assumptions: [(String, JSONValue)], demands: [(String, JSONValue)] = []
  ) {
    self.scores = scores
    self.hasRouterBias = hasRouterBias
    self.joinsQueryKeyValue = joinsQueryKeyValue
    self.partialRotaryFactor = partialRotaryFactor
    self.hasRoutingKeys = hasRoutingKeys
    self.prediction = prediction
    self.blockLength = blockLength
    self.blockLengthKey = blockLengthKey
    self.commitThreshold = commitThreshold
    self.assumptions = assumptions.map { Assumption(key: $0, value: $1) }
    self.demands = demands.map { Assumption(key: $0, value: $1) }
  }
}
