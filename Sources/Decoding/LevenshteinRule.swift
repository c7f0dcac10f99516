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
    return !isDone(block)
  }

  func offsets(in block: Block) -> [Int] { Array(block.promptCount..<block.tokens.count) }

  func drawn(in block: Block) -> [Int] { block.masked }

  /// Steps without a mask of the beginning, with the next one.
  private var nextPostSteps: Int { isOriginal.contains(true) ? 0 : postSteps + 1 }

  /// Whether nothing is left to be done when a block is as it is now.
  private func isDone(_ block: Block) -> Bool { block.masked.isEmpty && nextPostSteps > maximumPostSteps }

  /// Whether the next step leaves neither masks nor control tokens: the one after which nothing may be edited any more.
  ///
  /// - Parameter offsets: of the masks that it writes by the schedule.
  private func isFinal(unmasking offsets: some Sequence<Int>) -> Bool {
    // The published code returns masks where the steps run out; here the last one fills them.
    if step + 1 >= maximumSteps { return true }
    if maximumPostSteps > 0 { return nextPostSteps >= maximumPostSteps }
    let originals = isOriginal.indices.filter { isOriginal[$0] }
    return !originals.isEmpty && Set(offsets).isSuperset(of: originals)
  }

  func excluded(writing commits: [StepRecord.Commit], to block: Block) -> Set<Int> {
    isFinal(unmasking: commits.map { $0.position - block.start }) ? [tokens.delete, tokens.split] : []
  }

  func decide(
    _ block: Block, _ predictions: Predictions, using random: inout SplitMix64
  ) -> [StepRecord.Commit] {
    let choice = Choice(block: block, predictions: predictions)
    var masks: [Proposal] = []
    var edits: [Proposal] = []
    for offset in predictions.offsets {
      let proposal = choice.proposal(offset, using: &random)
      if block.tokens[offset] == block.mask {
        masks.append(proposal)
      } else if proposal.candidate.token != block.tokens[offset], proposal.candidate.probability > editingThreshold {
        edits.append(proposal)
      }
    }
    var unmasked = masks.accepted(threshold: threshold, quota: quota(masks))
    let isFinal = isFinal(unmasking: unmasked.map(\.offset))
    if isFinal { unmasked = masks }
    var writes = (unmasked + edits).sorted { $0.offset < $1.offset }
    if isFinal {
      // What was accepted is replaced, so that it is the control token's probability that was held against the thresholds.
      let controls: Set = [tokens.delete, tokens.split]
      for index in writes.indices where controls.contains(writes[index].candidate.token) {
        writes[index] = choice.proposal(writes[index].offset, excluding: controls, using: &random)
      }
    } else {
      leaveLoop(&writes, choice, using: &random)
    }
    return writes.filter { choice.changes($0) }.map { $0.commit(in: block) }
  }

  mutating func apply(_ commits: [StepRecord.Commit], to block: inout Block) -> Bool {
    postSteps = nextPostSteps
    step += 1
    let written = block.tokens(writing: commits)
    history.insert(written)
    // A pass that left everything as it was saw the final tokens.
    lastPassWasFinal = written == block.tokens && block.masked.isEmpty
    scan(written, before: block.tokens, into: &block)
    return lastPassWasFinal || isDone(block) || step >= maximumSteps
  }

  /// The schedule of the masks that were there at first, plus all that were made since; everything after its end.
  private func quota(_ masks: [Proposal]) -> Int {
    guard step < quotas else { return masks.count }
    let scheduled = initialMasks / quotas + (step < initialMasks % quotas ? 1 : 0)
    let made = masks.count { !isOriginal[$0.offset] }
    return min(masks.count, scheduled + made)
  }

  /// If the block would be one that was there before, the least certain of the positions that change takes the best token
  /// other than the one it was to take, until the block is new or nothing changes any more.
  ///
  /// The published code draws the position; taking the least certain one is what FluxServe does, and needs no dice.
  private func leaveLoop(_ writes: inout [Proposal], _ choice: Choice, using random: inout SplitMix64) {
    let certainty = writes.map(\.candidate.probability)
    for _ in 0..<Self.maximumLoopBreaks {
      guard history.contains(choice.block.tokens(writing: writes.map { $0.commit(in: choice.block) })),
        let weakest = writes.indices.filter({ choice.changes(writes[$0]) }).min(by: { certainty[$0] < certainty[$1] })
      else { return }
      writes[weakest] = choice.proposal(
        writes[weakest].offset, excluding: [writes[weakest].candidate.token], using: &random)
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

/// What may be written to a block.
private struct Choice {
  let block: Block
  let predictions: Predictions

  /// A mask takes a token by the rules of drawing; what is edited takes the most probable one at any temperature, since draws
  /// would never come to rest.
  func proposal(_ offset: Int, excluding excluded: Set<Int> = [], using random: inout SplitMix64) -> Proposal {
    let index = offset - block.promptCount
    let candidate =
      block.tokens[offset] == block.mask
      ? predictions.candidate(index, excluding: excluded, using: &random)
      : predictions.best(index, excluding: excluded)
    return Proposal(offset: offset, candidate: candidate)
  }

  func changes(_ proposal: Proposal) -> Bool { proposal.candidate.token != block.tokens[proposal.offset] }
}
