/// One token after the other (ling.md §4): a block has one position, and its first step writes it.
struct NextTokenRule: DecodingRule {
  var writesAreFinal: Bool { true }

  /// The pass saw the tokens before, which were final already.
  var lastPassWasFinal: Bool { true }

  mutating func begin(_ block: Block) -> Bool { !block.masked.isEmpty }

  func offsets(in block: Block) -> [Int] { block.masked }

  func decide(
    _ block: Block, _ predictions: Predictions, using random: inout SplitMix64
  ) -> [StepRecord.Commit] {
    predictions.offsets.indices.map { index in
      Proposal(offset: predictions.offsets[index], candidate: predictions.candidate(index, using: &random))
        .commit(in: block)
    }
  }

  mutating func apply(_ commits: [StepRecord.Commit], to block: inout Block) -> Bool {
    block.tokens = block.tokens(writing: commits)
    return true
  }
}
