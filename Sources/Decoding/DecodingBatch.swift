package import Models

/// Sequences that are decoded side by side, each with its own options, in rounds: a round is the next pass of every sequence,
/// and all of them go through the model together, so that a weight is read once a round and not once a pass. Those with another
/// block length go through it by themselves.
///
/// Outputs do not depend on which sequences are beside each other where the model's ``Compute/treatsRowsAlike``; otherwise they do
/// by the rounding of products of more rows.
package struct DecodingBatch: SideBySide {
  /// Rows whose scores are held at a time, unless one block asks for more.
  private static let scoreRows = 64

  private let model: TransformerModel
  /// Rows that go through the layers together; more are cut into several passes, which read the weights again.
  private let passRows: Int
  private var members: [Member] = []

  /// - Parameter passRows: most rows, of all sequences, that go through the layers together, unless one sequence alone has more.
  package init(_ model: TransformerModel, passRows: Int = 4096) {
    self.model = model
    self.passRows = passRows
  }

  /// Sequences under work.
  package var count: Int { members.count }

  /// Positions of the sequences under work, whose keys and values are held: prompts and generation up to whole blocks.
  package var positions: Int { members.reduce(0) { $0 + $1.session.canvas.count } }

  /// Denoising passes made for the sequences under work.
  package var forwards: Int { members.reduce(0) { $0 + $1.session.output.forwards } }

  /// How much of what is asked for is written, in sequences: half of a sequence counts 0.5.
  package var share: Double { members.reduce(0) { $0 + $1.session.share } }

  /// Takes up a sequence.
  ///
  /// - Parameters:
  ///   - index: what it is called in errors and where it is complete.
  ///   - decoder: says how it is decoded; made with the model of the batch.
  /// - Throws: what ``BlockDiffusion/check(prompt:)`` throws.
  package mutating func add(_ index: Int, prompt: [Int], _ decoder: BlockDiffusion) throws(DecodingError) {
    let session = try decoder.session(prompt: prompt)
    let window = ModelBlockPredictor(
      model: model, blockLength: decoder.options.blockLength, usesCache: decoder.options.usesCache,
      positions: session.canvas.count)
    members.append(Member(index: index, decoder: decoder, session: session, window: window))
  }

  /// Makes one round.
  ///
  /// - Parameter isInterrupted: asked before each layer.
  /// - Returns: the sequences that it completed, which are under work no longer; in place of an output
  ///   ``DecodingError/notFinite(prompt:position:)`` with the index of the sequence.
  /// - Throws: ``DecodingError/interrupted``, ``DecodingError/model(_:)``.
  package mutating func advance(
    isInterrupted: () -> Bool = { false }
  ) throws(DecodingError) -> [(index: Int, result: Result<BlockDiffusion.Output, DecodingError>)] {
    var passes: [Pass] = []
    for index in members.indices {
      if let segment = members[index].nextSegment() { passes.append((index, segment)) }
    }
    var lengths: [Int] = []
    for pass in passes where !lengths.contains(members[pass.member].blockLength) {
      lengths.append(members[pass.member].blockLength)
    }
    for length in lengths {
      let equal = passes.filter { members[$0.member].blockLength == length }
      for run in equal.runs(ofAtMost: passRows, by: { $0.segment.tokens.count }) {
        try make(run, blockLength: length, isInterrupted)
      }
    }
    let complete = members.compactMap { member in member.result.map { (index: member.index, result: $0) } }
    members.removeAll { $0.result != nil }
    return complete
  }

  private typealias Pass = (member: Int, segment: TransformerModel.Segment)

  /// A sequence and its keys and values.
  private struct Member {
    let index: Int
    let decoder: BlockDiffusion
    var session: DecodingSession
    var window: ModelBlockPredictor
    /// Where a position has no numbers.
    var failure: DecodingError?

    var blockLength: Int { decoder.options.blockLength }

    /// Nil while it is under work.
    var result: Result<BlockDiffusion.Output, DecodingError>? {
      if let failure { .failure(failure) } else if session.next == nil { .success(session.output) } else { nil }
    }

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

    /// Goes on behind blocks whose keys and values were written.
    mutating func finish(through count: Int) {
      window.accept(through: count)
      session.finish(withPass: true)
    }
  }

  /// Passes of equal block length, through the layers together.
  private mutating func make(
    _ passes: ArraySlice<Pass>, blockLength: Int, _ isInterrupted: () -> Bool
  ) throws(DecodingError) {
    // A long prompt, of which only keys and values are wanted, goes in parts.
    if let (index, segment) = passes.first, segment.tokens.count > passRows,
      case .finish(let count) = members[index].session.next
    {
      do throws(ModelError) {
        try model.writeCache(segment, blockLength: blockLength, rows: passRows, isInterrupted: isInterrupted)
      } catch { throw DecodingError(error) }
      members[index].finish(through: count)
      return
    }
    let hidden: [Float]  // (rows, H)
    do throws(ModelError) {
      hidden = try model.hiddenStates(
        passes.map(\.segment), blockLength: blockLength, isInterrupted: isInterrupted)
    } catch { throw DecodingError(error) }
    var scored: [Scored] = []
    var end = 0
    for (index, segment) in passes {
      end += segment.tokens.count
      switch members[index].session.next {
      case .denoise(_, let offsets): scored.append((index, offsets, offsets.map { end - blockLength + $0 }))
      case .finish(let count), .accept(let count): members[index].finish(through: count)
      case nil: preconditionFailure("a pass that nobody asked for")
      }
    }
    for group in scored.runs(ofAtMost: Self.scoreRows, by: { $0.rows.count }) { denoise(group, hidden) }
  }

  /// Offsets in a member's block, and their rows of the hidden states.
  private typealias Scored = (member: Int, offsets: [Int], rows: [Int])

  /// Gives some members the scores of their rows of `hidden` (rows, H).
  private mutating func denoise(_ group: ArraySlice<Scored>, _ hidden: [Float]) {
    let width = model.configuration.hiddenSize
    let rows = group.flatMap { $0.rows.flatMap { hidden[$0 * width..<($0 + 1) * width] } }
    let logits = model.logits(rows)  // (rows, vocabulary)
    var first = 0
    for (index, offsets, _) in group {
      let end = first + offsets.count * model.configuration.vocabularySize
      let predictions = members[index].decoder.predictions(offsets, Array(logits[first..<end]))
      first = end
      do throws(DecodingError) {
        try predictions.requireFinite(blockStart: members[index].session.block.start, prompt: members[index].index)
      } catch {
        members[index].failure = error
        continue
      }
      _ = members[index].session.denoise(predictions)
    }
  }
}

extension Array {
  /// Consecutive elements in runs whose sizes add up to no more than a limit; an element beyond it is alone.
  func runs(ofAtMost limit: Int, by size: (Element) -> Int) -> [ArraySlice<Element>] {
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
