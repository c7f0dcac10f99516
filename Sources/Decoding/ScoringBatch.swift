import Models

/// Continuations of contexts that are scored side by side by the block-diffusion bound (`Formats/score.md`): each comes to some
/// states, blocks with masks behind clean blocks, and states of many continuations go through the model together.
///
/// Continuations that end within the block in which they begin share the clean blocks of an equal context, and states that are
/// equal, as those of answers of one token are, are computed once.
///
/// Scores do not depend on what is beside them where the model's ``Compute/treatsRowsAlike``.
package struct ScoringBatch: SideBySide {
  /// What a continuation comes to.
  package struct Score: Sendable, Equatable {
    /// At least −ln p of the continuation, in nats; an unbiased estimate of such a number where masks were drawn.
    package let bound: Double
    /// Whether all of its tokens are the most probable ones where all of them in a block are masked.
    package let isGreedy: Bool
    /// Blocks with masks that were looked at.
    package let states: Int
    /// Whether these were all that there are.
    package let isExact: Bool
  }

  /// Rows whose scores are held at a time, unless one state has more.
  private static let scoreRows = 64

  private let model: TransformerModel
  private let decoder: BlockDiffusion
  private let draws: MaskDraws
  private let passRows: Int
  private var texts: [Int: Text] = [:]
  /// In the order in which they came.
  private var contexts: [Context] = []

  /// - Parameters:
  ///   - decoder: has block length, mask and what a token may be; made with a model.
  ///   - passRows: most rows that go through the layers together, unless one block alone has more.
  package init(_ decoder: BlockDiffusion, draws: MaskDraws, passRows: Int = 4096) {
    guard let model = decoder.model else { preconditionFailure("scored without a model") }
    precondition(model.configuration.conventions.prediction == .masked, "there is a bound where blocks are denoised")
    self.model = model
    self.decoder = decoder
    self.draws = draws
    self.passRows = passRows
  }

  private var blockLength: Int { decoder.options.blockLength }

  package var count: Int { texts.count }

  package var positions: Int {
    contexts.reduce(0) { $0 + $1.clean.count + blockLength + positions(holding: $1.states.count) }
  }

  package var share: Double {
    texts.values.reduce(0) { $0 + 1 - Double($1.missing) / Double($1.losses.count) }
  }

  /// Refuses what cannot be scored: a continuation without tokens, tokens that the model must not be shown, and too many of them.
  package func check(context: [Int], continuation: [Int]) throws(DecodingError) {
    guard !continuation.isEmpty else { throw .emptyContinuation }
    try decoder.check(tokens: context + continuation)
    let positions = positions(context: context, continuation: continuation)
    let limit = model.configuration.maximumPositions
    guard positions <= limit else { throw .tooLong(positions: positions, limit: limit) }
  }

  /// Positions whose keys and values a continuation takes.
  package func positions(context: [Int], continuation: [Int]) -> Int {
    (context.count + continuation.count).dividedRoundingUp(by: blockLength) * blockLength
  }

  /// The same, and as many as its states take, which are made at once.
  package func load(context: [Int], continuation: [Int]) -> Int {
    let tokens = context.count + continuation.count
    let first = context.count / blockLength * blockLength
    let states = stride(from: first, to: tokens, by: blockLength).reduce(0) { sum, start in
      sum + draws.most(min(start + blockLength, tokens) - max(start, context.count))
    }
    return positions(context: context, continuation: continuation) + positions(holding: states)
  }

  /// Positions whose keys and values take as much as so many states do: tokens and offsets, and what lists of them cost.
  private func positions(holding states: Int) -> Int {
    (states * (2 * MemoryLayout<Int>.size * blockLength + 256)).dividedRoundingUp(
      by: model.configuration.byteCount(of: model.compute.keyValues))
  }

  /// Takes up a continuation.
  ///
  /// - Parameters:
  ///   - index: what it is called where it is complete, and no other under work.
  ///   - context: tokens before it; there may be none.
  /// - Throws: what ``check(context:continuation:)`` throws.
  package mutating func add(_ index: Int, context: [Int], continuation: [Int]) throws(DecodingError) {
    try check(context: context, continuation: continuation)
    let tokens = context + continuation
    let (first, last) = (context.count / blockLength, (tokens.count - 1) / blockLength)
    var states: [State] = []
    var weights: [Double] = []
    var isExact = true
    for start in stride(from: last * blockLength, through: first * blockLength, by: -blockLength) {
      let scored = max(start, context.count)..<min(start + blockLength, tokens.count)
      isExact = isExact && draws.isExact(scored.count)
      for masked in draws.masked(of: scored, blockStart: start) {
        // What comes behind the continuation is not known: masks, as decoding begins with.
        var block = Array(repeating: decoder.special.mask, count: blockLength)
        for position in start..<scored.upperBound { block[position - start] = tokens[position] }
        for position in masked.positions { block[position - start] = decoder.special.mask }
        let use = State.Use(
          text: index, state: weights.count, offsets: masked.positions.map { $0 - start },
          isWhole: masked.positions.count == scored.count)
        states.append(State(start: start, tokens: block, uses: [use]))
        weights.append(masked.weight)
      }
    }
    texts[index] = Text(
      weights: weights, tokens: tokens[context.count...], isExact: isExact,
      losses: Array(repeating: nil, count: weights.count), missing: weights.count)
    add(states, behind: Array(tokens[..<(last * blockLength)]), isOpen: first == last)
  }

  private mutating func add(_ states: [State], behind clean: [Int], isOpen: Bool) {
    guard isOpen, let place = contexts.lastIndex(where: { $0.isOpen && $0.clean == clean }) else {
      let cache = KeyValueCache(model.configuration, positions: clean.count + blockLength)
      contexts.append(Context(clean: clean, cache: cache, isWritten: clean.isEmpty, states: states, isOpen: isOpen))
      return
    }
    let waiting = contexts[place].states.enumerated().map { ($1.tokens, $0) }
    let places = Dictionary(waiting, uniquingKeysWith: { first, _ in first })
    for state in states {
      if let same = places[state.tokens] {
        contexts[place].states[same].uses += state.uses
      } else {
        contexts[place].states.append(state)
      }
    }
  }

  /// Makes one pass.
  ///
  /// - Parameter isInterrupted: asked before each layer.
  /// - Returns: the continuations that it completed, which are under work no longer; in place of a score
  ///   ``DecodingError/notFinite(prompt:position:)`` with the index of the continuation.
  /// - Throws: ``DecodingError/interrupted``, ``DecodingError/model(_:)``.
  package mutating func advance(
    isInterrupted: () -> Bool = { false }
  ) throws(DecodingError) -> [(index: Int, result: Result<Score, DecodingError>)] {
    let (segments, states) = try nextPass(isInterrupted)
    if !segments.isEmpty {
      let hidden: [Float]  // (rows, H)
      do throws(ModelError) {
        hidden = try model.hiddenStates(segments, blockLength: blockLength, isInterrupted: isInterrupted)
      } catch { throw DecodingError(error) }
      for group in states.runs(ofAtMost: Self.scoreRows, by: { $0.state.offsets.count }) { score(group, hidden) }
    }
    contexts.removeAll(where: \.states.isEmpty)
    let complete = texts.filter { $0.value.missing == 0 }.keys.sorted()
    return complete.map { index in
      guard let text = texts.removeValue(forKey: index) else { preconditionFailure("a text that is not there") }
      if let position = text.notFinite { return (index, .failure(.notFinite(prompt: index, position: position))) }
      return (index, .success(text.score))
    }
  }

  /// A state and its first row in the pass.
  private typealias Placed = (state: State, row: Int)

  /// Takes rows for a pass: clean blocks that have not gone through the model, then states.
  private mutating func nextPass(
    _ isInterrupted: () -> Bool
  ) throws(DecodingError) -> ([TransformerModel.Segment], [Placed]) {
    var segments: [TransformerModel.Segment] = []
    var placed: [Placed] = []
    var rows = 0
    for index in contexts.indices {
      let (clean, cache) = (contexts[index].clean, contexts[index].cache)
      if !contexts[index].isWritten {
        let segment = TransformerModel.Segment(tokens: clean, start: 0, cache: cache)
        guard rows == 0 || rows + clean.count <= passRows else { break }
        contexts[index].isWritten = true
        if clean.count > passRows {
          do throws(ModelError) {
            try model.writeCache(segment, blockLength: blockLength, rows: passRows, isInterrupted: isInterrupted)
          } catch { throw DecodingError(error) }
        } else {
          segments.append(segment)
          rows += clean.count
        }
      }
      var taken = 0
      while taken < contexts[index].states.count, rows == 0 || rows + blockLength <= passRows {
        let state = contexts[index].states[taken]
        segments.append(.init(tokens: state.tokens, start: state.start, cache: cache))
        placed.append((state, rows))
        rows += blockLength
        taken += 1
      }
      contexts[index].states.removeFirst(taken)
      guard contexts[index].states.isEmpty else { break }
    }
    return (segments, placed)
  }

  /// Tells the texts of some states what the model says of them, given the hidden states (rows, H).
  private mutating func score(_ group: ArraySlice<Placed>, _ hidden: [Float]) {
    let width = model.configuration.hiddenSize
    let rows = group.flatMap { placed in
      placed.state.offsets.flatMap { hidden[(placed.row + $0) * width..<(placed.row + $0 + 1) * width] }
    }
    let logits = model.logits(rows)  // (rows, vocabulary)
    var first = 0
    for (state, _) in group {
      let offsets = state.offsets
      let end = first + offsets.count * model.configuration.vocabularySize
      let predictions = decoder.predictions(offsets, Array(logits[first..<end]))
      for use in state.uses { add(use, state.start, offsets, predictions) }
      first = end
    }
  }

  private mutating func add(_ use: State.Use, _ start: Int, _ offsets: [Int], _ predictions: Predictions) {
    guard let tokens = texts[use.text]?.tokens else { preconditionFailure("a state of a text that is not there") }
    var (loss, isGreedy, notFinite) = (0.0, true, nil as Int?)
    for (index, offset) in offsets.enumerated() where use.offsets.contains(offset) {
      let token = tokens[start + offset]
      if let logProbability = predictions.logProbability(index, of: token) {
        loss -= logProbability
        isGreedy = isGreedy && predictions.best(index, excluding: []).token == token
      } else {
        notFinite = min(start + offset, notFinite ?? .max)
      }
    }
    texts[use.text]?.add(loss, of: use.state, isGreedy: isGreedy || !use.isWhole, notFinite: notFinite)
  }
}
