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

  private let model: LLaDA2Model
  private let options: DecodingOptions
  private let special: SpecialTokens

  /// - Throws: ``DecodingError/option(name:detail:)``.
  package init(_ model: LLaDA2Model, options: DecodingOptions, special: SpecialTokens) throws(DecodingError) {
    self.model = model
    self.options = options
    self.special = special
    try options.check(vocabulary: model.configuration.vocabularySize, special)
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
    var window = Window(model: model, blockLength: blockLength, usesCache: options.usesCache)
    var output = Output()
    var rule = makeRule()
    var random = SplitMix64(seed: options.seed)
    let firstBlock = prompt.count / blockLength
    do throws(ModelError) {
      if firstBlock > 0, try window.finish(canvas, through: firstBlock) { output.cachePasses += 1 }
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
        let pass: (predictions: Predictions, experts: [[[Int]]])
        do throws(ModelError) {
          pass = try predict(rule.offsets(in: block), in: block, canvas, &window, recordsExperts)
        } catch { throw .model(error) }
        let commits: [StepRecord.Commit]
        (commits, isDone) = rule.step(&block, pass.predictions, using: &random)
        canvas.replaceSubrange(range, with: block.tokens)
        var record = StepRecord(block: index, step: step, masked: masked, commits: commits)
        record.experts = pass.experts
        output.steps.append(record)
        output.forwards += 1
        step += 1
        guard observer(record, block.tokens) else { throw .interrupted }
        if options.stopsEarly, commits.contains(where: { special.stops.contains($0.token) }),
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
            window.accept(through: index + 1)
          } else if try window.finish(canvas, through: index + 1) {
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

  private func predict(
    _ offsets: [Int], in block: Block, _ canvas: [Int], _ window: inout Window, _ recordsExperts: Bool
  ) throws(ModelError) -> (Predictions, [[[Int]]]) {
    var experts: [[[Int]]] = []
    var taps = LLaDA2Model.Taps()
    if recordsExperts { taps.routes = { _, routes in experts.append(routes.map(\.experts)) } }
    let hidden = try window.forward(canvas, block: block.index, taps: taps)  // (block, H)
    let width = model.configuration.hiddenSize
    let rows = offsets.flatMap { hidden[$0 * width..<($0 + 1) * width] }
    let predictions = Predictions(
      offsets: offsets, logits: model.logits(Array(rows)), vocabulary: model.configuration.vocabularySize,
      options: options, mask: special.mask)
    return (predictions, experts)
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
    let vocabulary = model.configuration.vocabularySize
    if let index = prompt.firstIndex(where: { !(0..<vocabulary).contains($0) }) {
      throw .tokenOutOfRange(id: prompt[index], index: index, vocabulary: vocabulary)
    }
    if let index = prompt.firstIndex(of: special.mask) { throw .maskInPrompt(index: index) }
    let positions =
      (prompt.count + options.generationLength).dividedRoundingUp(by: options.blockLength) * options.blockLength
    let limit = model.configuration.maximumPositions
    guard positions <= limit else { throw .tooLong(positions: positions, limit: limit) }
  }
}

extension DecodingOptions {
  /// Refuses what could never commit anything.
  func check(vocabulary: Int, _ special: SpecialTokens) throws(DecodingError) {
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
    guard threshold >= 0, threshold <= 1 else {
      throw .option(name: "threshold", detail: "is \(threshold); it must be in 0 … 1")
    }
    var ids = special.stops + [special.mask]
    if case .levenshtein(let tokens, _, _, _) = decoder { ids += [tokens.delete, tokens.split] }
    for id in ids where !(0..<vocabulary).contains(id) {
      throw .option(name: "special token", detail: "\(id) is outside the vocabulary of \(vocabulary)")
    }
  }
}

extension Int {
  func dividedRoundingUp(by divisor: Int) -> Int { (self + divisor - 1) / divisor }
}
