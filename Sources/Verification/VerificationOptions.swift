package import Decoding
package import Drift
package import Models

/// What is to be measured, and how.
package struct VerificationOptions: Sendable {
  package var levels: Set<VerificationLevel> = Set(VerificationLevel.allCases)
  package var decoding = DecodingOptions()
  /// Name of the decoder: `2.0`, `2.1-quality`, `2.1-speed`, `2.2` or `next-token`.
  package var decoder = "2.0"
  package var maskRatios: [Double] = [0.1, 0.3, 0.5, 0.7, 0.9, 1]

  /// Those of a model: where it predicts the next token, each position is scored once, with nothing of it known.
  ///
  /// - Parameter asked: for models that fill masks; nil for the usual ones.
  package static func maskRatios(_ asked: [Double]?, for configuration: ModelConfiguration) -> [Double] {
    configuration.conventions.prediction == .next ? [1] : asked ?? VerificationOptions().maskRatios
  }

  package var blockLengths: [Int] = []
  /// Prompts that are decoded and scored together.
  package var together = 64
  /// Tokens of a window of plain text.
  package var windowLength = 256
  package var attribution: Attribution.Subject?
  package var measuresFloor = true
  package var replaysRoutes = true
  package var match = AnswerMatch.exact
  /// Prompts are taken as they are, without the chat template; nil where an old record does not say it.
  package var isRaw: Bool? = false
  /// What masks, noise and intervals are drawn from.
  package var seed: UInt64 = 0
  /// Bytes for hidden states.
  package var memory = 1 << 30
  /// What texts may always take: no less than the models' own tables and tokenizers do.
  package static let leastDataMemory = 16 << 20
  /// Bytes for what is known of texts and their masked positions.
  package var dataMemory = 1 << 30

  package init() {}
}

package enum VerificationLevel: String, CaseIterable, Sendable {
  case weights, masked, trajectories, tasks
}
