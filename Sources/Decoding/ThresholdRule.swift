/// LLaDA2.0 (llada2.md §4.2): masked positions only; a step commits all above the threshold, or its quota.
struct ThresholdRule: DecodingRule {
  private let threshold: Float
  private let quotas: [Int]
  private var step = 0

  init(_ options: DecodingOptions) {
    threshold = options.threshold
    quotas = Self.quotas(blockLength: options.blockLength, steps: options.steps)
  }

  /// The block spread over the steps, the first ones taking what is left over.
  ///
  /// The hub code also lowers the steps to the generation length, so that a short answer is forced out faster; that is not
  /// done here.
  static func quotas(blockLength: Int, steps: Int) -> [Int] {
    (0..<steps).map { blockLength / steps + ($0 < blockLength % steps ? 1 : 0) }
  }

  var writesAreFinal: Bool { true }

  /// The last pass still saw masks.
  var lastPassWasFinal: Bool { false }

  mutating func begin(_ block: Block) -> Bool {
    step = 0
    return !block.masked.isEmpty
  }

  func offsets(in block: Block) -> [Int] { block.masked }

  func decide(
    _ block: Block, _ predictions: Predictions, using random: inout SplitMix64
  ) -> [StepRecord.Commit] {
    var proposals: [Proposal] = []
    for (index, offset) in predictions.offsets.enumerated() {
      proposals.append(Proposal(offset: offset, candidate: predictions.candidate(index, using: &random)))
    }
    return proposals.accepted(threshold: threshold, quota: quotas[step]).map { $0.commit(in: block) }
  }

  mutating func apply(_ commits: [StepRecord.Commit], to block: inout Block) -> Bool {
    block.tokens = block.tokens(writing: commits)
    step += 1
    return block.masked.isEmpty || step == quotas.count
  }
}
