package import Models

/// Decodes a sequence block by block (llada2.md §4): the loop that all decoders share.
package struct BlockDiffusion {
  package struct Output: Sendable, Equatable {
    /// Generated tokens, cut after the first stop token, which is kept.
    package var tokens: [Int] = []
    package var steps: [StepRecord] = []
    /// Denoising passes, one a step.
    package var forwards = 0
    /// Passes that only wrote keys and values: the prompt's, and those over finished blocks.
    package var cachePasses = 0
    /// Whether a stop token ended it, rather than the length.
    package var stopped = false
  }

  /// Called after each step with its record and the tokens of the block as they are now; returns false to stop.
  package typealias Observer = (StepRecord, [Int]) -> Bool

  private let configuration: ModelConfiguration
  private let makePredictor: () -> any BlockPredictor
  private let options: DecodingOptions
  private let special: SpecialTokens

  /// - Throws: ``DecodingError/option(name:detail:)``.
  package init(_ model: LLaDA2Model, options: DecodingOptions, special: SpecialTokens) throws(DecodingError) {
    try self.init(model.configuration, options: options, special: special) {
      Window(model: model, blockLength: options.blockLength, usesCache: options.usesCache)
    }
  }

  /// - Parameter predictor: called for each sequence.
  /// - Throws: ``DecodingError/option(name:detail:)``.
  package init(
    _ configuration: ModelConfiguration, options: DecodingOptions, special: SpecialTokens,
    predictor: @escaping () -> any BlockPredictor
  ) throws(DecodingError) {
    self.configuration = configuration
    makePredictor = predictor
    self.options = options
    self.special = special
    try options.check(configuration, special)
  }

  /// - Parameters:
  ///   - recordsExperts: whether the records hold the experts that each pass chose.
  ///   - observer: sees every step.
  /// - Throws: ``DecodingError``.
  package func decode(
    prompt: [Int], recordsExperts: Bool = false, observer: Observer = { _, _ in true }
  ) throws(DecodingError) -> Output {
    try check(prompt: prompt)
    let blockLength = options.blockLength
    // The canvas: prompt, then masks up to whole blocks. The prompt is not padded: its last, partial block is completed.
    let total = (prompt.count + options.generationLength).dividedRoundingUp(by: blockLength) * blockLength
    var canvas = prompt + Array(repeating: special.mask, count: total - prompt.count)
    var predictor = makePredictor()
    var output = Output()
    var rule = makeRule()
    var random = SplitMix64(seed: options.seed)
    let firstBlock = prompt.count / blockLength
    do throws(ModelError) {
      if firstBlock > 0, try predictor.finish(canvas, through: firstBlock) { output.cachePasses += 1 }
    } catch { throw .model(error) }

    for index in firstBlock..<total / blockLength {
      let range = index * blockLength..<(index + 1) * blockLength
      var block = Block(
        index: index, start: range.lowerBound, tokens: Array(canvas[range]),
        promptCount: max(0, prompt.count - range.lowerBound), mask: special.mask)
      var step = 0
      var isDone = !rule.begin(block)
      while !isDone {
        let masked = block.masked.count
        let offsets = rule.offsets(in: block)
        let pass: (logits: [Float], experts: [[[Int]]])
        do throws(ModelError) {
          pass = try predictor.predict(offsets, block: index, in: canvas, recordsExperts: recordsExperts)
        } catch { throw .model(error) }
        let predictions = Predictions(
          offsets: offsets, logits: pass.logits, vocabulary: configuration.vocabularySize, options: options,
          mask: special.mask)
        let commits: [StepRecord.Commit]
        (commits, isDone) = rule.step(&block, predictions, using: &random)
        canvas.replaceSubrange(range, with: block.tokens)
        var record = StepRecord(block: index, step: step, masked: masked, commits: commits)
        record.experts = pass.experts
        output.steps.append(record)
        output.forwards += 1
        step += 1
        guard observer(record, block.tokens) else { throw .interrupted }
        if options.stopsEarly, rule.writesAreFinal, commits.contains(where: { special.stops.contains($0.token) }),
          let stop = firstStop(in: canvas[prompt.count..<range.upperBound]),
          !canvas[prompt.count..<stop].contains(special.mask)
        {
          return finish(&output, canvas, prompt.count)
        }
      }
      if firstStop(in: canvas[prompt.count..<range.upperBound]) != nil { break }
      // Not after the last block: nobody would read it.
      if range.upperBound < total {
        do throws(ModelError) {
          if rule.lastPassWasFinal {
            predictor.accept(through: index + 1)
          } else if try predictor.finish(canvas, through: index + 1) {
            output.cachePasses += 1
          }
        } catch { throw .model(error) }
      }
    }
    return finish(&output, canvas, prompt.count)
  }

  /// The search starts behind the prompt: a stop token there is the user's.
  private func firstStop(in generated: ArraySlice<Int>) -> Int? {
    generated.firstIndex { special.stops.contains($0) }
  }

  private func finish(_ output: inout Output, _ canvas: [Int], _ promptCount: Int) -> Output {
    // The last block may go beyond what was asked for; the surplus is cut.
    let generated = canvas[promptCount..<min(canvas.count, promptCount + options.generationLength)]
    let stop = firstStop(in: generated)
    output.stopped = stop != nil
    output.tokens = Array(stop.map { generated[...$0] } ?? generated)
    return output
  }

  private func makeRule() -> any DecodingRule {
    switch options.decoder {
    case .threshold: ThresholdRule(options)
    case .editing(let threshold, let maximumPostSteps):
      EditingRule(options, editingThreshold: threshold, maximumPostSteps: maximumPostSteps)
    case .levenshtein(let tokens, let threshold, let maximumPostSteps, let maximumSteps):
      LevenshteinRule(
        options, tokens: tokens, editingThreshold: threshold, maximumPostSteps: maximumPostSteps,
        maximumSteps: maximumSteps)
    }
  }

  /// Refuses a prompt that cannot be answered; ``decode(prompt:recordsExperts:observer:)`` does this first.
  package func check(prompt: [Int]) throws(DecodingError) {
    guard !prompt.isEmpty else { throw .emptyPrompt }
    let vocabulary = configuration.vocabularySize
    if let index = prompt.firstIndex(where: { !(0..<vocabulary).contains($0) }) {
      throw .tokenOutOfRange(id: prompt[index], index: index, vocabulary: vocabulary)
    }
    if let index = prompt.firstIndex(of: special.mask) { throw .maskInPrompt(index: index) }
    let positions =
      (prompt.count + options.generationLength).dividedRoundingUp(by: options.blockLength) * options.blockLength
    let limit = configuration.maximumPositions
    guard positions <= limit else { throw .tooLong(positions: positions, limit: limit) }
  }
}

extension DecodingOptions {
  /// Refuses what could never commit anything.
  func check(_ configuration: ModelConfiguration, _ special: SpecialTokens) throws(DecodingError) {
    let positive = [
      ("block length", blockLength), ("steps", steps), ("generation length", generationLength), ("top-k", topK ?? 1),
    ]
    for (name, value) in positive where value < 1 {
      throw .option(name: name, detail: "is \(value); nothing could be committed")
    }
    guard generationLength <= 1 << 24, blockLength <= 1 << 20, steps <= 1 << 20 else {
      throw .option(name: "generation length", detail: "or another size is beyond all models")
    }
    guard temperature >= 0, temperature.isFinite else {
      throw .option(name: "temperature", detail: "is \(temperature); it must be 0 or more")
    }
    if let topP, !(topP > 0 && topP <= 1) { throw .option(name: "top-p", detail: "is \(topP); it must be in 0 … 1") }
    var thresholds = [("threshold", threshold)]
    var counts: [(String, Int, least: Int)] = []
    var controls: [Int] = []
    switch decoder {
    case .threshold: break
    case .editing(let editing, let post):
      thresholds.append(("editing threshold", editing))
      counts = [("post steps", post, 0)]
    case .levenshtein(let tokens, let editing, let post, let most):
      thresholds.append(("editing threshold", editing))
      counts = [("post steps", post, 0), ("steps per block", most, 1)]
      controls = [tokens.delete, tokens.split]
    }
    for (name, value) in thresholds where !(value >= 0 && value <= 1) {
      throw .option(name: name, detail: "is \(value); it must be in 0 … 1")
    }
    for (name, value, least) in counts where value < least {
      throw .option(name: name, detail: "is \(value); it must be \(least) or more")
    }
    try check(special, controls, vocabulary: configuration.vocabularySize)
    // 2.2's windows of routing must not reach into another block: its experts would depend on what comes later.
    if let window = configuration.blockRouting?.blockSize, blockLength % window != 0 {
      throw .option(name: "block length", detail: "is \(blockLength); this model routes windows of \(window) together")
    }
  }

  private func check(_ special: SpecialTokens, _ controls: [Int], vocabulary: Int) throws(DecodingError) {
    for id in special.stops + [special.mask] + controls where !(0..<vocabulary).contains(id) {
      throw .option(name: "special token", detail: "\(id) is outside the vocabulary of \(vocabulary)")
    }
    // As with the tokenizer of the ancestor model, whose end of a turn is the mask of this one.
    guard !special.stops.contains(special.mask) else {
      throw .option(name: "special token", detail: "\(special.mask) is the mask and ends an answer, too")
    }
    guard Set(controls).count == controls.count, !controls.contains(special.mask) else {
      throw .option(name: "special token", detail: "\(controls) must be two tokens other than the mask")
    }
  }
}

extension Int {
  func dividedRoundingUp(by divisor: Int) -> Int { (self + divisor - 1) / divisor }
}
