import Models

extension BlockDiffusion {
  /// Rows that go through the layers together; more are cut into several passes, which read the weights again.
  private static let passRows = 4096
  /// Rows whose scores are held at a time, unless one block asks for more.
  private static let scoreRows = 64

  /// Decodes many sequences in rounds: each round is the next pass of every sequence, and all of them go through the model
  /// together, so that a weight is read once a round and not once a pass.
  ///
  /// The outputs are those of ``decode(prompt:recordsExperts:observer:)``, up to the rounding of products of more rows.
  ///
  /// - Parameters:
  ///   - positions: most positions, prompts and generation together, of the sequences under work, whose keys and values are
  ///     held; a further one begins when there is room. A longer one is decoded alone.
  ///   - progress: called after each round with the denoising passes made and the sequences completed; false stops.
  /// - Returns: the outputs in the order of the prompts.
  /// - Throws: ``DecodingError``; a prompt that cannot be answered is refused before any work.
  /// - Precondition: made with a model.
  package func decodeTogether(
    prompts: [[Int]], positions: Int = 16_384, progress: (_ forwards: Int, _ completed: Int) -> Bool = { _, _ in true }
  ) throws(DecodingError) -> [Output] {
    guard let model else { preconditionFailure("decoded without a model") }
    for prompt in prompts { try check(prompt: prompt) }
    var outputs = Array(repeating: Output(), count: prompts.count)
    var waiting = prompts.indices
    var members: [Member] = []
    while true {
      var held = members.reduce(0) { $0 + $1.session.canvas.count }
      while let index = waiting.first {
        held += options.positions(after: prompts[index].count)
        guard members.isEmpty || held <= positions else { break }
        let window = ModelBlockPredictor(model: model, blockLength: options.blockLength, usesCache: options.usesCache)
        members.append(Member(index: index, session: try session(prompt: prompts[index]), window: window))
        waiting.removeFirst()
      }
      guard !members.isEmpty else { return outputs }
      try advance(&members, model)

      for member in members where member.session.next == nil { outputs[member.index] = member.session.output }
      members.removeAll { $0.session.next == nil }
      let forwards = (outputs + members.map(\.session.output)).reduce(0) { $0 + $1.forwards }
      guard progress(forwards, waiting.lowerBound - members.count) else { throw .interrupted }
    }
  }

  /// A sequence and its keys and values.
  private struct Member {
    /// The place of the prompt.
    let index: Int
    var session: DecodingSession
    var window: ModelBlockPredictor

    /// Skips what needs no computing and gives the rows of the next pass; nil when the sequence is complete.
    mutating func nextSegment() -> TransformerModel.Segment? {
      while let pass = session.next {
        switch pass {
        case .denoise(let block, _): return window.segment(of: session.canvas, through: block + 1)
        case .finish(let count) where window.needsPass(through: count):
          return window.segment(of: session.canvas, through: count)
        case .finish(let count), .accept(let count):
          window.accept(through: count)
          session.finish(withPass: false)
        }
      }
      return nil
    }
  }

  /// One round.
  private func advance(_ members: inout [Member], _ model: TransformerModel) throws(DecodingError) {
    var passes: [(member: Int, segment: TransformerModel.Segment)] = []
    for index in members.indices {
      if let segment = members[index].nextSegment() { passes.append((index, segment)) }
    }
    for batch in passes.runs(ofAtMost: Self.passRows, by: { $0.segment.tokens.count }) {
      let hidden: [Float]  // (rows, H)
      do throws(ModelError) {
        hidden = try model.hiddenStates(batch.map(\.segment), blockLength: options.blockLength)
      } catch { throw .model(error) }
      var scored: [(member: Int, offsets: [Int], rows: [Int])] = []
      var end = 0
      for (index, segment) in batch {
        end += segment.tokens.count
        switch members[index].session.next {
        case .denoise(_, let offsets): scored.append((index, offsets, offsets.map { end - options.blockLength + $0 }))
        case .finish(let count), .accept(let count):
          members[index].window.accept(through: count)
          members[index].session.finish(withPass: true)
        case nil: preconditionFailure("a pass that nobody asked for")
        }
      }
      for group in scored.runs(ofAtMost: Self.scoreRows, by: { $0.rows.count }) {
        try denoise(&members, group, hidden, model)
      }
    }
  }

  /// Gives some members the scores of their rows of `hidden` (rows, H).
  private func denoise(
    _ members: inout [Member], _ group: ArraySlice<(member: Int, offsets: [Int], rows: [Int])>, _ hidden: [Float],
    _ model: TransformerModel
  ) throws(DecodingError) {
    let width = configuration.hiddenSize
    let rows = group.flatMap { $0.rows.flatMap { hidden[$0 * width..<($0 + 1) * width] } }
    let logits = model.logits(rows)  // (rows, vocabulary)
    var first = 0
    for (index, offsets, _) in group {
      let end = first + offsets.count * configuration.vocabularySize
      let predictions = predictions(offsets, Array(logits[first..<end]))
      try predictions.requireFinite(blockStart: members[index].session.block.start, prompt: members[index].index)
      _ = members[index].session.denoise(predictions)
      first = end
    }
  }
}

extension Array {
  /// Consecutive elements in runs whose sizes add up to no more than a limit; an element beyond it is alone.
  fileprivate func runs(ofAtMost limit: Int, by size: (Element) -> Int) -> [ArraySlice<Element>] {
    var runs: [ArraySlice<Element>] = []
    var start = 0
    var total = 0
    for index in indices {
      let count = size(self[index])
      if index > start, total + count > limit {
        runs.append(self[start..<index])
        (start, total) = (index, 0)
      }
      total += count
    }
    if start < count { runs.append(self[start...]) }
    return runs
  }
}
