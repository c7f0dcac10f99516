import Decoding
import Drift

/// What `ingot verify` was asked for.
struct VerifyOptions {
  var levels: Set<VerifyLevel> = Set(VerifyLevel.allCases)
  var decoding = DecodingOptions()
  var decoder = DecoderName.llada20
  var maskRatios: [Double] = [0.1, 0.3, 0.5, 0.7, 0.9, 1]
  var blockLengths: [Int] = []
  var windowLength = 256
  var attribution: Attribution.Subject?
  var measuresFloor = true
  var replaysRoutes = true
  var match = AnswerMatch.exact
  /// Prompts are taken as they are, without the chat template.
  var isRaw = false
  var seed: UInt64 = 0
  /// Bytes for hidden states: half of `--max-memory`.
  var memory = 1 << 30
  /// What texts may always take: no less than the models' own tables and tokenizers do.
  static let leastDataMemory = 16 << 20
  /// Bytes for what is known of texts and their masked positions: the other half.
  var dataMemory = 1 << 30
}

enum VerifyLevel: String, CaseIterable {
  case weights, masked, trajectories, tasks
}
