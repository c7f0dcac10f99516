/// LLaDA2.2 (llada2.md §4.5): as 2.1, and a written DELETE removes its position while a written SPLIT makes room for one.
struct LevenshteinRule: DecodingRule {
  private let tokens: DecodingOptions.LevenshteinTokens
  private let threshold: Float
  private let editingThreshold: Float
  private let maximumPostSteps: Int
  private let maximumSteps: Int
  private let quotas: Int

  private var step = 0
  private var postSteps = 0
  private var initialMasks = 0
  /// By offset: whether the mask there was in the block when it began. The mark travels with the token.
  private var isOriginal: [Bool] = []
  /// Blocks as written, before they were scanned.
  private var history: Set<[Int]> = []
  private(set) var lastPassWasFinal = false
  let writesAreFinal = false

  /// Tries to leave a loop before giving in to it.
  static let maximumLoopBreaks = 5

  init(
    _ options: DecodingOptions, tokens: DecodingOptions.LevenshteinTokens, editingThreshold: Float,
    maximumPostSteps: Int, maximumSteps: Int
  ) {
    self.tokens = tokens
    threshold = options.threshold
    self.editingThreshold = editingThreshold
    self.maximumPostSteps = maximumPostSteps
    self.maximumSteps = maximumSteps
    quotas = options.steps
  }

  mutating func begin(_ block: Block) -> Bool {
    step = 0
    postSteps = 0
    initialMasks = block.masked.count
    isOriginal = block.tokens.map { $0 == block.mask }
    history = []
    lastPassWasFinal = false
    return true
  }

  func offsets(in block: Block) -> [Int] { Array(block.promptCount..<block.tokens.count) }

  /// Steps without a mask of the beginning, with the next one.
  private var nextPostSteps: Int { isOriginal.contains(true) ? 0 : postSteps + 1 }

  /// Whether the next step is the block's last, whatever it finds.
  private var isLast: Bool { nextPostSteps >= maximumPostSteps || step + 1 >= maximumSteps }

  var excluded: Set<Int> { isLast ? [tokens.delete, tokens.split] : [] }

  func decide(
    _ block: Block, _ predictions: Predictions, using random: inout SplitMix64
  ) -> [StepRecord.Commit] {
    var unmasked: [Proposal] = []
    var edits: [Proposal] = []
    for (index, offset) in predictions.offsets.enumerated() {
      let candidate = predictions.candidate(index, excluding: excluded, using: &random)
      let proposal = Proposal(offset: offset, candidate: candidate)
      if block.tokens[offset] == block.mask {
        unmasked.append(proposal)
      } else if candidate.token != block.tokens[offset], candidate.probability > editingThreshold {
        edits.append(proposal)
      }
    }
    var writes = (unmasked.accepted(threshold: threshold, quota: quota(unmasked, in: block)) + edits)
      .sorted { $0.offset < $1.offset }
    breakLoop(&writes, block, predictions, using: &random)
    return writes.map { $0.commit(in: block) }
  }

  mutating func apply(_ commits: [StepRecord.Commit], to block: inout Block) -> Bool {
    let isDone = isLast
    postSteps = nextPostSteps
    step += 1
    // A pass that found nothing to change saw the final tokens.
    lastPassWasFinal = commits.isEmpty && block.masked.isEmpty
    let written = block.tokens(writing: commits)
    history.insert(written)
    scan(written, before: block.tokens, into: &block)
    return isDone || lastPassWasFinal
  }

  /// The schedule of the masks that were there at first, plus all that were made since; everything after its end.
  private func quota(_ unmasked: [Proposal], in block: Block) -> Int {
    guard !isLast, step < quotas else { return unmasked.count }
    let scheduled = initialMasks / quotas + (step < initialMasks % quotas ? 1 : 0)
    let made = unmasked.count { !isOriginal[$0.offset] }
    return min(unmasked.count, scheduled + made)
  }

  /// If the block would be one that was there before, the least certain write takes its next-best token.
  private func breakLoop(
    _ writes: inout [Proposal], _ block: Block, _ predictions: Predictions, using random: inout SplitMix64
  ) {
    var excluded = excluded
    for _ in 0..<Self.maximumLoopBreaks {
      var written = block.tokens
      for proposal in writes { written[proposal.offset] = proposal.candidate.token }
      guard history.contains(written),
        let weakest = writes.indices.min(by: {
          writes[$0].candidate.probability < writes[$1].candidate.probability
        }),
        let index = predictions.offsets.firstIndex(of: writes[weakest].offset)
      else { return }
      excluded.insert(writes[weakest].candidate.token)
      let candidate = predictions.candidate(index, excluding: excluded, using: &random)
      writes[weakest] = Proposal(offset: writes[weakest].offset, candidate: candidate)
    }
  }

  /// DELETE emits nothing, SPLIT a mask and what stood there before, anything else itself; then cut or filled with masks.
  private mutating func scan(_ written: [Int], before: [Int], into block: inout Block) {
    var out = Array(written[..<block.promptCount])
    var marks = Array(isOriginal[..<block.promptCount])
    for offset in block.promptCount..<written.count {
      let isStillMask = written[offset] == block.mask
      switch written[offset] {
      case tokens.delete: continue
      case tokens.split:
        out += [block.mask, before[offset]]
        marks += [false, before[offset] == block.mask && isOriginal[offset]]
      default:
        out.append(written[offset])
        marks.append(isStillMask && isOriginal[offset])
      }
    }
    let length = written.count
    out = Array(out.prefix(length)) + Array(repeating: block.mask, count: max(0, length - out.count))
    marks = Array(marks.prefix(length)) + Array(repeating: false, count: max(0, length - marks.count))
    block.tokens = out
    isOriginal = marks
  }
}
