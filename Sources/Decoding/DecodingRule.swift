/// A block under work.
struct Block {
  let index: Int
  /// Position of its first token.
  let start: Int
  var tokens: [Int]
  /// Leading offsets that belong to the prompt and are never written.
  let promptCount: Int
  let mask: Int

  var masked: [Int] { tokens.indices.filter { tokens[$0] == mask } }
}

/// What a decoder decides at each step; the loop around it is the same for all (`BlockDiffusion`).
protocol DecodingRule {
  /// Called when a block begins; false if it needs no step.
  mutating func begin(_ block: Block) -> Bool

  /// Offsets whose predictions the next step looks at.
  func offsets(in block: Block) -> [Int]

  /// Writes to the block; says what and whether the block is done.
  mutating func step(
    _ block: inout Block, _ predictions: Predictions, using random: inout SplitMix64
  ) -> (commits: [StepRecord.Commit], isDone: Bool)

  /// Whether a written token stays, so that decoding may stop within a block.
  var writesAreFinal: Bool { get }

  /// Whether the keys and values of the last pass are those of the final tokens.
  var lastPassWasFinal: Bool { get }
}

/// A token for an offset of the block.
struct Proposal {
  let offset: Int
  let candidate: Predictions.Candidate

  func commit(in block: Block) -> StepRecord.Commit {
    StepRecord.Commit(
      position: block.start + offset, token: candidate.token, probability: candidate.probability,
      margin: candidate.margin)
  }
}

extension [Proposal] {
  /// All above the threshold if they are at least `quota`, else the `quota` most probable; of equals the earlier offset.
  func accepted(threshold: Float, quota: Int) -> [Proposal] {
    let above = filter { $0.candidate.probability > threshold }
    if above.count >= quota { return above }
    let ranked = sorted { ($1.candidate.probability, $0.offset) < ($0.candidate.probability, $1.offset) }
    return ranked.prefix(quota).sorted { $0.offset < $1.offset }
  }
}
