import Decoding
import Models
import TestSupport
import Testing

/// States of recorded runs, and decisions at them.
@Suite struct TrajectoryTests {
  /// Notes the scores of each pass.
  private final class Recorder: BlockPredictor {
    let script: Script
    private(set) var logits: [[Float]] = []
    init(_ script: Script) { self.script = script }

    func predict(
      _ offsets: [Int], block: Int, in canvas: [Int], recordsExperts: Bool
    ) throws(ModelError) -> (logits: [Float], experts: [[[Int]]]) {
      let scores = try script.predict(offsets, block: block, in: canvas, recordsExperts: recordsExperts)
      logits.append(scores.logits)
      return scores
    }
    func finish(_ canvas: [Int], through count: Int) throws(ModelError) -> Bool {
      try script.finish(canvas, through: count)
    }
    func accept(through count: Int) { script.accept(through: count) }
  }

  private struct Run {
    let decoding: BlockDiffusion
    let prompt: [Int]
    let output: BlockDiffusion.Output
    let passes: [Script.Pass]
    let logits: [[Float]]
    /// Of the block, after each step.
    let after: [[Int]]
  }

  private func run(_ options: DecodingOptions, prompt: [Int], _ answer: @escaping Script.Answer) throws -> Run {
    let script = Script(blockLength: options.blockLength, answer)
    let recorder = Recorder(script)
    let decoding = try BlockDiffusion(scriptConfiguration(), options: options, special: ID.special) { recorder }
    var after: [[Int]] = []
    let output = try decoding.decode(prompt: prompt) { _, tokens in
      after.append(tokens)
      return true
    }
    return Run(
      decoding: decoding, prompt: prompt, output: output, passes: script.passes, logits: recorder.logits, after: after)
  }

  /// Anything may be predicted, so that blocks are edited, deleted from, inserted into and looped over.
  private func wild(_ seed: UInt64, _ decoder: Int, temperature: Float = 0) throws -> Run {
    var random = SeededRandom(seed: seed)
    var options: DecodingOptions =
      switch decoder {
      case 0: .plain(block: 8, length: 20)
      case 1: .editing(block: 8, length: 20)
      default: .levenshtein(block: 8, length: 20, post: Int(seed % 4), most: 30)
      }
    options.stopsEarly = seed % 2 == 0
    options.temperature = temperature
    let candidates = [ID.delete, ID.split, 20, 21, ID.eos]
    return try run(options, prompt: Array(repeating: 1, count: 11)) { _, _ in
      var given = [candidates[Int(random.next() % 5)]: Float(0.6)]
      given[candidates[Int(random.next() % 5)]] = 0.3
      return given
    }
  }

  @Test("the states are the blocks that the model saw, whatever decoder wrote them", arguments: [0, 1, 2])
  func states(decoder: Int) throws {
    for seed in 0..<50 as Range<UInt64> {
      let run = try wild(seed, decoder)
      let trajectory = try #require(run.decoding.trajectory(prompt: run.prompt, output: run.output))
      #expect(trajectory.states.map(\.tokens) == run.passes.map(\.tokens))
      #expect(trajectory.states.map(\.block) == run.passes.map(\.block))
      #expect(trajectory.states.map(\.step) == run.passes.map(\.number))
      #expect(trajectory.states.map(\.offsets) == run.passes.map(\.offsets))
      #expect(trajectory.states.map(\.masked.count) == run.output.steps.map(\.masked))
      #expect(trajectory.states.map(\.commits) == run.output.steps.map(\.commits))
      #expect(trajectory.states.map(\.promptCount).first == 3 && trajectory.states[0].start == 8)
      // Whole blocks, the last as it was left.
      #expect(trajectory.canvas.count % 8 == 0 && trajectory.canvas.suffix(8) == run.after.last?[...])
      #expect(trajectory.canvas.dropFirst(11).starts(with: run.output.tokens))
    }
  }

  @Test("with its own scores a decoder decides at each state what it decided", arguments: [0, 1, 2])
  func decisions(decoder: Int) throws {
    for seed in 0..<50 as Range<UInt64> {
      let run = try wild(seed, decoder)
      let trajectory = try #require(run.decoding.trajectory(prompt: run.prompt, output: run.output))
      for (state, logits) in zip(trajectory.states, run.logits) {
        let decision = try run.decoding.decision(at: state, logits: logits)
        #expect(decision.commits == state.commits)
        // Only 2.2's way out of a loop writes another than the best token.
        if decoder < 2 { #expect(decision.agrees == state.commits.map { _ in true }) }
      }
    }
  }

  @Test("with a temperature the draws are those of the recorded run", arguments: [0, 1])
  func draws(decoder: Int) throws {
    let run = try wild(3, decoder, temperature: 1)
    let trajectory = try #require(run.decoding.trajectory(prompt: run.prompt, output: run.output))
    for (state, logits) in zip(trajectory.states, run.logits) {
      #expect(try run.decoding.decision(at: state, logits: logits).commits == state.commits)
    }
  }

  @Test("scores that are not finite decide nothing", arguments: [Float.nan, .infinity], [0, 1, 2])
  func notFinite(value: Float, decoder: Int) throws {
    let run = try wild(1, decoder)
    let trajectory = try #require(run.decoding.trajectory(prompt: run.prompt, output: run.output))
    for (state, logits) in zip(trajectory.states, run.logits) where !logits.isEmpty {
      var broken = logits
      broken[broken.count / 2] = value
      #expect(throws: DecodingError.self) { try run.decoding.decision(at: state, logits: broken) }
    }
  }

  @Test("2.0 at another's state: the quota of the step that it is, and whether the best tokens are the same")
  func otherScores() throws {
    let run = try run(.plain(steps: 3), prompt: [1, 1, 1, 1]) { _, offset in [5: 0.1 + 0.1 * Float(offset)] }
    let trajectory = try #require(run.decoding.trajectory(prompt: run.prompt, output: run.output))
    // 4 over 3 steps: 2, 1, 1, the most probable first.
    #expect(trajectory.states.map { $0.commits.map(\.position) } == [[6, 7], [5], [4]])
    #expect(trajectory.states[1].tokens == [ID.mask, ID.mask, 5, 5])
    // Scores that prefer the first offsets, and at offset 2 another token.
    let script = Script(blockLength: 4) { _, offset in [offset == 2 ? 6 : 5: 0.9 - 0.1 * Float(offset)] }
    let decisions = try trajectory.states.map { state in
      let canvas = trajectory.canvas[..<state.start] + state.tokens
      let logits = try script.predict(state.offsets, block: 1, in: Array(canvas), recordsExperts: false).logits
      return try run.decoding.decision(at: state, logits: logits)
    }
    #expect(decisions.map { $0.commits.map(\.position) } == [[4, 5], [4], [4]])
    #expect(decisions.map(\.agrees) == [[false, true], [true], [true]])
  }

  @Test("a model that is shown the states of its own run decides the same", arguments: CacheTests.decoders)
  func model(decoder: DecodingOptions.Decoder) throws {
    try withLiveModel { model in
      var options = DecodingOptions.plain(length: 24, threshold: 0.2)
      options.decoder = decoder
      let decoding = try BlockDiffusion(model, options: options, special: ID.special)
      let prompt = (0..<10).map { ($0 * 7 + 3) % 40 }
      let output = try decoding.decode(prompt: prompt)
      let trajectory = try #require(decoding.trajectory(prompt: prompt, output: output))
      let width = model.configuration.hiddenSize
      for state in trajectory.states {
        let seen = Array(trajectory.canvas[..<state.start] + state.tokens)
        let segment = TransformerModel.Segment(tokens: seen, start: 0, cache: KeyValueCache(model.configuration))
        let hidden = try model.hiddenStates([segment], blockLength: 4)
        let rows = state.offsets.map { state.start + $0 }.flatMap { hidden[$0 * width..<($0 + 1) * width] }
        let decision = try decoding.decision(at: state, logits: model.logits(rows))
        #expect(decision.commits.map { [$0.position, $0.token] } == state.commits.map { [$0.position, $0.token] })
      }
    }
  }

  @Test("an output that is not the decoder's has no states")
  func foreign() throws {
    let run = try run(.plain(length: 8), prompt: [1, 1, 1]) { _, offset in [5: 0.1 + 0.1 * Float(offset)] }
    let (decoding, output) = (run.decoding, run.output)
    #expect(decoding.trajectory(prompt: run.prompt, output: output) != nil)
    #expect(decoding.trajectory(prompt: [1, 1], output: output) == nil)
    #expect(decoding.trajectory(prompt: [], output: output) == nil)
    let changes: [(inout BlockDiffusion.Output) -> Void] = [
      { $0.steps.removeLast() }, { $0.steps.removeFirst() }, { $0.steps.swapAt(0, 1) }, { $0.tokens[0] = 6 },
      { $0.stopped = true }, { $0.steps[0] = changed($0.steps[0], position: 2) },
      { $0.steps[0] = changed($0.steps[0], position: 99) }, { $0.steps[0] = changed($0.steps[0], token: 48) },
      { $0.steps[0] = changed($0.steps[0], token: -1) }, { $0.steps.append($0.steps[0]) },
    ]
    for (index, change) in changes.enumerated() {
      var other = output
      change(&other)
      #expect(decoding.trajectory(prompt: run.prompt, output: other) == nil, "change \(index)")
    }
    let longer = try BlockDiffusion(scriptConfiguration(), options: .plain(length: 12), special: ID.special) {
      Script(blockLength: 4) { _, _ in [:] }
    }
    #expect(longer.trajectory(prompt: run.prompt, output: output) == nil)
  }
}

/// The step with another first commit.
private func changed(_ step: StepRecord, position: Int? = nil, token: Int? = nil) -> StepRecord {
  var commits = step.commits
  let first = commits[0]
  commits[0] = .init(
    position: position ?? first.position, token: token ?? first.token, probability: first.probability,
    margin: first.margin)
  return StepRecord(block: step.block, step: step.step, masked: step.masked, commits: commits)
}
