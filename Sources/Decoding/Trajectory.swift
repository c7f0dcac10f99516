import Models

/// The course of a decoded sequence as a series of states: what the model saw before each step, and what was decided there.
package struct Trajectory: Sendable {
  /// A block before one of its steps. What the model saw is `canvas[..<start] + tokens`: earlier blocks no longer change.
  package struct State: Sendable {
    /// Index of the block, counted from position 0.
    package var block: Int { work.index }
    /// Position of the block's first token.
    package var start: Int { work.start }
    /// The tokens of the block, masks among them.
    package var tokens: [Int] { work.tokens }
    /// Leading offsets of the block that belong to the prompt.
    package var promptCount: Int { work.promptCount }
    /// Offsets of masks.
    package var masked: [Int] { work.masked }
    /// Masks / block length.
    package var maskRatio: Double { Double(masked.count) / Double(tokens.count) }
    /// Counted from 0 in each block.
    package let step: Int
    /// Offsets whose scores the decision was made from.
    package let offsets: [Int]
    /// What was decided, by position.
    package let commits: [StepRecord.Commit]

    fileprivate let work: Block
    fileprivate let rule: any DecodingRule
    fileprivate let random: SplitMix64
  }

  /// One for each forward.
  package let states: [State]
  /// The prompt and all blocks that were begun, as they were at the end: whole blocks, also where the answer was cut. Masks
  /// are in it only where decoding stopped early, or ran out of steps.
  package let canvas: [Int]
}

/// What would be done at a state with other scores than those that were there.
package struct Decision: Sendable, Equatable {
  /// By position.
  package let commits: [StepRecord.Commit]
  /// For each commit of the state, whether its token is the most probable one there.
  package let agrees: [Bool]

  package init(commits: [StepRecord.Commit], agrees: [Bool]) {
    self.commits = commits
    self.agrees = agrees
  }
}

extension BlockDiffusion {
  /// The states that an output went through.
  ///
  /// The steps are made again as they were recorded; this gives the tokens also where 2.2 deleted and inserted, and the state
  /// that the decoder itself was in, without a model.
  ///
  /// - Returns: nil if the output is not one that this decoder could have given for the prompt: other options, or a record
  ///   that is damaged.
  package func trajectory(prompt: [Int], output: Output) -> Trajectory? {
    guard var session = try? session(prompt: prompt) else { return nil }
    var states: [Trajectory.State] = []
    for record in output.steps {
      session.skipFinished()
      guard case .denoise(let block, let offsets) = session.next, record.block == block, record.step == session.step,
        record.masked == session.block.masked.count, fits(record.commits, offsets, in: session.block)
      else { return nil }
      states.append(
        Trajectory.State(
          step: record.step, offsets: offsets, commits: record.commits, work: session.block, rule: session.rule,
          random: session.random))
      session.replay(record.commits)
    }
    session.skipFinished()
    guard session.next == nil, session.output.tokens == output.tokens, session.output.stopped == output.stopped else {
      return nil
    }
    return Trajectory(states: states, canvas: Array(session.canvas[..<(session.block.start + options.blockLength)]))
  }

  private func fits(_ commits: [StepRecord.Commit], _ offsets: [Int], in block: Block) -> Bool {
    let asked = Set(offsets.map { block.start + $0 })
    let positions = commits.map(\.position)
    return zip(positions, positions.dropFirst()).allSatisfy(<) && asked.isSuperset(of: positions)
      && commits.allSatisfy { (0..<configuration.vocabularySize).contains($0.token) }
  }

  /// What this decoder would do at a state of somebody else's trajectory, with its own scores.
  ///
  /// The rule is as the recorded steps left it: of 2.0 that is the number of the step, of 2.1 nothing, of 2.2 also which
  /// masks are new and which blocks were there before. With a temperature the draws are those of the recorded run (of 2.2
  /// only up to its first attempt to leave a loop, or its first control token replaced).
  ///
  /// - Parameter logits: (offsets of the state, vocabulary).
  /// - Throws: ``DecodingError/notFinite(prompt:position:)``.
  package func decision(at state: Trajectory.State, logits: [Float]) throws(DecodingError) -> Decision {
    let predictions = predictions(state.offsets, logits)
    try predictions.requireFinite(blockStart: state.start)
    var random = state.random
    let places = Dictionary(uniqueKeysWithValues: zip(state.offsets, state.offsets.indices))
    let excluded = state.rule.excluded(writing: state.commits, to: state.work)
    let agrees = state.commits.map { commit in
      guard let index = places[commit.position - state.start] else { return false }
      return predictions.best(index, excluding: excluded).token == commit.token
    }
    return Decision(commits: state.rule.decide(state.work, predictions, using: &random), agrees: agrees)
  }
}
