/// LLaDA2.1 (llada2.md §4.4; report, eq. 1–3): masks become tokens above one threshold, tokens become other tokens above
/// another. Both sets are computed from the block as it was before the step.
struct EditingRule: DecodingRule {
  private let threshold: Float
  private let editingThreshold: Float
  private let maximumPostSteps: Int
  private var postSteps = 0
  private(set) var lastPassWasFinal = false
  let writesAreFinal = false

  init(_ options: DecodingOptions, editingThreshold: Float, maximumPostSteps: Int) {
    threshold = options.threshold
    self.editingThreshold = editingThreshold
    self.maximumPostSteps = maximumPostSteps
  }

  mutating func begin(_ block: Block) -> Bool {
    postSteps = block.masked.isEmpty ? 1 : 0
    lastPassWasFinal = false
    return postSteps <= maximumPostSteps
  }

  /// The prompt is protected by position, not by token.
  func offsets(in block: Block) -> [Int] { Array(block.promptCount..<block.tokens.count) }

  func decide(
    _ block: Block, _ predictions: Predictions, using random: inout SplitMix64
  ) -> [StepRecord.Commit] {
    var unmasked: [Proposal] = []
    var edits: [Proposal] = []
    for (index, offset) in predictions.offsets.enumerated() {
      let proposal = Proposal(offset: offset, candidate: predictions.candidate(index, using: &random))
      if block.tokens[offset] == block.mask {
        unmasked.append(proposal)
      } else if proposal.candidate.token != block.tokens[offset], proposal.candidate.probability > editingThreshold {
        edits.append(proposal)
      }
    }
    return (unmasked.accepted(threshold: threshold, quota: min(1, unmasked.count)) + edits)
      .sorted { $0.offset < $1.offset }.map { $0.commit(in: block) }
  }

  mutating func apply(_ commits: [StepRecord.Commit], to block: inout Block) -> Bool {
    // A pass that found nothing to change saw the final tokens. While there are masks, one at least is written.
    lastPassWasFinal = commits.isEmpty && block.masked.isEmpty
    block.tokens = block.tokens(writing: commits)
    if block.masked.isEmpty { postSteps += 1 }
    return lastPassWasFinal || postSteps > maximumPostSteps
  }
}
