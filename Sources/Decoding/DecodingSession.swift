/// One sequence under work, from its prompt to its last block: a machine that says which pass it needs next, takes what the
/// pass gave and moves on. Who makes the passes, and with whose beside it, is not its business.
struct DecodingSession: Sendable {
  enum Pass: Sendable, Equatable {
    /// Scores for these offsets of a block, answered by `denoise(_:experts:)`.
    case denoise(block: Int, offsets: [Int])
    /// Keys and values of the blocks below `count`, whose tokens are final, answered by `finish(withPass:)`.
    case finish(count: Int)
    /// The same where the last pass wrote them: there is nothing to compute. Answered by `finish(withPass: false)`.
    case accept(count: Int)
  }

  /// Nil when the sequence is complete.
  private(set) var next: Pass?
  /// The whole sequence: the prompt, then masks up to whole blocks. The prompt is not padded: its last, partial block is
  /// completed.
  private(set) var canvas: [Int]
  /// The tokens come when the sequence is complete.
  private(set) var output = BlockDiffusion.Output()
  /// The block under work.
  private(set) var block: Block
  /// In the state before the next step.
  private(set) var rule: any DecodingRule
  private(set) var random: SplitMix64
  /// The number of the next pass in its block.
  private(set) var step = 0

  private let promptCount: Int
  private let options: DecodingOptions
  private let special: SpecialTokens
  private let endsAnswer: (@Sendable ([Int]) -> Bool)?

  /// - Parameters:
  ///   - prompt: checked (`BlockDiffusion.check(prompt:)`).
  ///   - endsAnswer: ``BlockDiffusion/endsAnswer``.
  init(
    prompt: [Int], options: DecodingOptions, special: SpecialTokens, endsAnswer: (@Sendable ([Int]) -> Bool)? = nil
  ) {
    self.endsAnswer = endsAnswer
    promptCount = prompt.count
    self.options = options
    self.special = special
    canvas = prompt + Array(repeating: special.mask, count: options.positions(after: prompt.count) - prompt.count)
    rule = options.makeRule()
    random = SplitMix64(seed: options.seed)
    let first = prompt.count / options.blockLength
    block = Self.block(first, of: canvas, promptCount, options, special)
    if first > 0 { next = .finish(count: first) } else { begin(first) }
  }

  /// How much of the generation is behind the sequence, 0 to 1.
  var share: Double { Double(max(0, block.start - promptCount)) / Double(canvas.count - promptCount) }

  private static func block(
    _ index: Int, of canvas: [Int], _ promptCount: Int, _ options: DecodingOptions, _ special: SpecialTokens
  ) -> Block {
    let range = index * options.blockLength..<(index + 1) * options.blockLength
    return Block(
      index: index, start: range.lowerBound, tokens: Array(canvas[range]),
      promptCount: max(0, promptCount - range.lowerBound), mask: special.mask)
  }

  /// Makes the step of the pass asked for.
  ///
  /// - Parameters:
  ///   - predictions: of its offsets.
  ///   - experts: for the record.
  mutating func denoise(_ predictions: Predictions, experts: [[[Int]]] = []) -> StepRecord {
    apply(rule.decide(block, predictions, using: &random), experts)
  }

  /// Makes a step whose decision is known, instead of the pass asked for.
  mutating func replay(_ commits: [StepRecord.Commit]) {
    guard case .denoise = next else { preconditionFailure("no step is due") }
    if options.temperature > 0 { for _ in rule.drawn(in: block) { _ = random.uniform() } }
    _ = apply(commits, [])
  }

  /// Goes on to the next step without the passes that only write keys and values.
  mutating func skipFinished() {
    while true {
      switch next {
      case .finish, .accept: finish(withPass: false)
      case .denoise, nil: return
      }
    }
  }

  private mutating func apply(_ commits: [StepRecord.Commit], _ experts: [[[Int]]]) -> StepRecord {
    var record = StepRecord(block: block.index, step: step, masked: block.masked.count, commits: commits)
    record.experts = experts
    let isDone = rule.apply(commits, to: &block)
    canvas.replaceSubrange(block.start..<block.start + block.tokens.count, with: block.tokens)
    output.steps.append(record)
    output.forwards += 1
    step += 1
    if isAnswered(by: commits) {
      complete()
    } else if isDone {
      endBlock()
    } else {
      next = .denoise(block: block.index, offsets: rule.offsets(in: block))
    }
    return record
  }

  /// Goes on behind blocks that are final.
  ///
  /// - Parameter withPass: whether a pass was made for them.
  mutating func finish(withPass: Bool) {
    switch next {
    case .finish(let count), .accept(let count):
      if withPass { output.cachePasses += 1 }
      begin(count)
    case .denoise, nil: preconditionFailure("nothing was to be finished")
    }
  }

  private mutating func begin(_ index: Int) {
    block = Self.block(index, of: canvas, promptCount, options, special)
    step = 0
    if rule.begin(block) {
      next = .denoise(block: index, offsets: rule.offsets(in: block))
    } else {
      endBlock()
    }
  }

  private mutating func endBlock() {
    let end = block.start + options.blockLength
    // Nobody would read what the last block's keys and values are.
    let answer = canvas[promptCount..<end]
    if end == canvas.count || firstStop(in: answer) != nil || endsAnswer?(Array(answer)) ?? false { return complete() }
    next = rule.lastPassWasFinal ? .accept(count: block.index + 1) : .finish(count: block.index + 1)
  }

  /// Whether a step wrote a stop token that has no mask before it and that will stay.
  private func isAnswered(by commits: [StepRecord.Commit]) -> Bool {
    guard options.stopsEarly, rule.writesAreFinal, commits.contains(where: { special.stops.contains($0.token) }),
      let stop = firstStop(in: canvas[promptCount..<block.start + options.blockLength])
    else { return false }
    return !canvas[promptCount..<stop].contains(special.mask)
  }

  /// The search starts behind the prompt: a stop token there is the user's.
  private func firstStop(in generated: ArraySlice<Int>) -> Int? {
    generated.firstIndex { special.stops.contains($0) }
  }

  private mutating func complete() {
    next = nil
    // The last block may go beyond what was asked for; the surplus is cut.
    let end = block.start + options.blockLength
    let generated = canvas[promptCount..<min(end, promptCount + options.generationLength)]
    let stop = firstStop(in: generated)
    output.stopped = stop != nil
    output.tokens = Array(stop.map { generated[...$0] } ?? generated)
  }
}
