/// A block under work.
struct Block: Sendable {
  let index: Int
  /// Position of its first token.
  let start: Int
  var tokens: [Int]
  /// Leading offsets that belong to the prompt and are never written.
  let promptCount: Int
  let mask: Int

  var masked: [Int] { tokens.indices.filter { tokens[$0] == mask } }

  /// Its tokens with some written over.
  func tokens(writing commits: [StepRecord.Commit]) -> [Int] {
    var written = tokens
    for commit in commits { written[commit.position - start] = commit.token }
    return written
  }
}

/// What a decoder decides at each step; the course around it is the same for all (``DecodingSession``).
///
/// Deciding is apart from writing: what is written may also come from a record, and the rule is then in the state in which it
/// was when the record was made.
protocol DecodingRule: Sendable {
  /// Called when a block begins; false if it needs no step.
  mutating func begin(_ block: Block) -> Bool

  /// Offsets whose predictions the next step looks at.
  func offsets(in block: Block) -> [Int]

  /// Offsets for which the next step draws, at a temperature.
  func drawn(in block: Block) -> [Int]

  /// Tokens that the next step could not write, given what it wrote.
  func excluded(writing commits: [StepRecord.Commit], to block: Block) -> Set<Int>

  /// What the next step writes, by position.
  func decide(
    _ block: Block, _ predictions: Predictions, using random: inout SplitMix64
  ) -> [StepRecord.Commit]

  /// Makes the step: writes to the block and says whether it is done.
  mutating func apply(_ commits: [StepRecord.Commit], to block: inout Block) -> Bool

  /// Whether a written token stays, so that decoding may stop within a block.
  var writesAreFinal: Bool { get }

  /// Whether the keys and values of the last pass are those of the final tokens.
  var lastPassWasFinal: Bool { get }
}

extension DecodingRule {
  func drawn(in block: Block) -> [Int] { offsets(in: block) }

  func excluded(writing commits: [StepRecord.Commit], to block: Block) -> Set<Int> { [] }
}

extension DecodingOptions {
  func makeRule() -> any DecodingRule {
    switch decoder {
    case .threshold: ThresholdRule(self)
    case .next: NextTokenRule()
    case .editing(let threshold, let maximumPostSteps):
      EditingRule(self, editingThreshold: threshold, maximumPostSteps: maximumPostSteps)
    case .levenshtein(let tokens, let threshold, let maximumPostSteps, let maximumSteps):
      LevenshteinRule(
        self, tokens: tokens, editingThreshold: threshold, maximumPostSteps: maximumPostSteps,
        maximumSteps: maximumSteps)
    }
  }
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
