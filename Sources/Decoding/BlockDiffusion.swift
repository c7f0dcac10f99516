package import Models

/// Decodes sequences block by block (llada2.md §4; ling.md §4, where a block is one token), one alone or many together: the passes that a ``DecodingSession`` asks for.
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

    package init() {}
  }

  /// Called after each step with its record and the tokens of the block as they are now; returns false to stop.
  package typealias Observer = (StepRecord, [Int]) -> Bool

  package let options: DecodingOptions
  /// Asked behind each finished block with the answer's tokens so far, masks none; true ends the answer there, such as where it
  /// has a text that was to end it.
  package var endsAnswer: (@Sendable ([Int]) -> Bool)?
  let configuration: ModelConfiguration
  /// Nil where something else predicts.
  let model: TransformerModel?
  private let makePredictor: () -> any BlockPredictor
  let special: SpecialTokens

  /// - Parameter isInterrupted: asked before each layer of each pass of ``decode(prompt:recordsExperts:observer:)``, which
  ///   then throws ``DecodingError/interrupted``.
  /// - Throws: ``DecodingError/option(name:detail:)``.
  package init(
    _ model: TransformerModel, options: DecodingOptions, special: SpecialTokens,
    isInterrupted: @escaping () -> Bool = { false }
  ) throws(DecodingError) {
    try self.init(model.configuration, model, options, special) {
      ModelBlockPredictor(
        model: model, blockLength: options.blockLength, usesCache: options.usesCache, isInterrupted: isInterrupted)
    }
  }

  /// - Parameter predictor: called for each sequence.
  /// - Throws: ``DecodingError/option(name:detail:)``.
  package init(
    _ configuration: ModelConfiguration, options: DecodingOptions, special: SpecialTokens,
    predictor: @escaping () -> any BlockPredictor
  ) throws(DecodingError) {
    try self.init(configuration, nil, options, special, predictor)
  }

  private init(
    _ configuration: ModelConfiguration, _ model: TransformerModel?, _ options: DecodingOptions,
    _ special: SpecialTokens, _ makePredictor: @escaping () -> any BlockPredictor
  ) throws(DecodingError) {
    self.configuration = configuration
    self.model = model
    self.makePredictor = makePredictor
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
    var session = try session(prompt: prompt)
    var predictor = makePredictor()
    while let pass = session.next {
      switch pass {
      case .denoise(let block, let offsets):
        let scores: (logits: [Float], experts: [[[Int]]])
        do throws(ModelError) {
          scores = try predictor.predict(offsets, block: block, in: session.canvas, recordsExperts: recordsExperts)
        } catch { throw DecodingError(error) }
        let predictions = predictions(offsets, scores.logits)
        try predictions.requireFinite(blockStart: session.block.start)
        let record = session.denoise(predictions, experts: scores.experts)
        guard observer(record, session.block.tokens) else { throw .interrupted }
      case .finish(let count):
        do throws(ModelError) {
          session.finish(withPass: try predictor.finish(session.canvas, through: count))
        } catch { throw DecodingError(error) }
      case .accept(let count):
        predictor.accept(through: count)
        session.finish(withPass: false)
      }
    }
    return session.output
  }

  /// A sequence of which nothing is decoded yet.
  ///
  /// - Throws: what ``check(prompt:)`` throws.
  func session(prompt: [Int]) throws(DecodingError) -> DecodingSession {
    try check(prompt: prompt)
    return DecodingSession(prompt: prompt, options: options, special: special, endsAnswer: endsAnswer)
  }

  func predictions(_ offsets: [Int], _ logits: [Float]) -> Predictions {
    Predictions(
      offsets: offsets, logits: logits, vocabulary: configuration.vocabularySize, options: options, mask: special.mask,
      compute: model?.compute ?? Compute(threads: 1))
  }

  /// Refuses tokens that the model must not be shown, whatever they are: a prompt, an answer, a text.
  package func check(tokens: [Int]) throws(DecodingError) {
    let vocabulary = configuration.vocabularySize
    if let index = tokens.firstIndex(where: { !(0..<vocabulary).contains($0) }) {
      throw .tokenOutOfRange(id: tokens[index], index: index, vocabulary: vocabulary)
    }
    if let index = tokens.firstIndex(of: special.mask) { throw .maskInPrompt(index: index) }
  }

  /// Refuses a prompt that cannot be answered; ``decode(prompt:recordsExperts:observer:)`` does this first.
  package func check(prompt: [Int]) throws(DecodingError) {
    guard !prompt.isEmpty else { throw .emptyPrompt }
    try check(tokens: prompt)
    let positions = options.positions(after: prompt.count)
    let limit = configuration.maximumPositions
    guard positions <= limit else { throw .tooLong(positions: positions, limit: limit) }
  }
}

extension DecodingOptions {
  /// The length of the canvas: the prompt and what is asked for, up to whole blocks.
  package func positions(after promptCount: Int) -> Int {
    (promptCount + generationLength).dividedRoundingUp(by: blockLength) * blockLength
  }

  /// Refuses what could never commit anything.
  func check(_ configuration: ModelConfiguration, _ special: SpecialTokens) throws(DecodingError) {
    let predictsNext = configuration.conventions.prediction == .next
    guard (decoder == .next) == predictsNext else {
      let detail =
        predictsNext
        ? "denoises blocks; this model predicts the next token" : "is for models that predict the next token"
      throw .option(name: "decoder", detail: detail)
    }
    guard !predictsNext || blockLength == 1 else {
      throw .option(name: "block length", detail: "is \(blockLength); this model predicts one token after the other")
    }
    let positive = [
      ("block length", blockLength), ("steps", steps), ("generation length", generationLength), ("top-k", topK ?? 1),
    ]
    for (name, value) in positive where value < 1 {
      throw .option(name: name, detail: "is \(value); nothing could be committed")
    }
    let positions = configuration.maximumPositions
    guard blockLength <= positions else {
      throw .option(name: "block length", detail: "is \(blockLength); the model has \(positions) positions")
    }
    for (name, value, most) in [("steps", steps, 1 << 20), ("generation length", generationLength, 1 << 24)]
    where value > most {
      throw .option(name: name, detail: "is \(value), which is beyond all models")
    }
    guard temperature >= 0, temperature.isFinite else {
      throw .option(name: "temperature", detail: "is \(temperature); it must be 0 or more")
    }
    if let topP, !(topP > 0 && topP <= 1) { throw .option(name: "top-p", detail: "is \(topP); it must be in 0 … 1") }
    var thresholds = [("threshold", threshold)]
    var counts: [(String, Int, least: Int)] = []
    var controls: [Int] = []
    switch decoder {
    case .threshold, .next: break
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
    for (name, value, least) in counts where !(least...1 << 20).contains(value) {
      throw .option(name: name, detail: "is \(value); it must be \(least) to \(1 << 20)")
    }
    try check(special, controls, vocabulary: configuration.vocabularySize)
    // 2.2's windows of routing must not reach into another block: its experts would depend on what comes later.
    if let window = configuration.blockRouting?.blockSize, blockLength % window != 0 {
      throw .option(name: "block length", detail: "is \(blockLength); this model routes windows of \(window) together")
    }
  }

  private func check(_ special: SpecialTokens, _ controls: [Int], vocabulary: Int) throws(DecodingError) {
    let masks = decoder == .next ? [] : [special.mask]
    for id in special.stops + masks + controls where !(0..<vocabulary).contains(id) {
      throw .specialToken(detail: "\(id) is outside the vocabulary of \(vocabulary)")
    }
    // As with the tokenizer of the ancestor model, whose end of a turn is the mask of this one.
    guard !special.stops.contains(special.mask) else {
      throw .specialToken(detail: "\(special.mask) is the mask and ends an answer, too")
    }
    guard Set(controls).count == controls.count, !controls.contains(special.mask),
      Set(controls).isDisjoint(with: special.stops)
    else {
      throw .specialToken(detail: "\(controls) must be two tokens other than the mask and all that stop")
    }
    // Whatever is excluded, something is left to choose.
    let excludable = masks.count + controls.count
    guard vocabulary > excludable else {
      throw .vocabulary(vocabulary)
    }
  }
}

extension Int {
  func dividedRoundingUp(by divisor: Int) -> Int { (self + divisor - 1) / divisor }
}
