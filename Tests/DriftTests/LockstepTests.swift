import Conversion
import Drift
import JSON
import Kernels
import Models
import TestSupport
import Testing

/// Models on their way through the same states.
@Suite(.serialized) struct LockstepTests {
  static let blockLength = 8
  static let mask = 47

  static func texts() -> [ScoredText] {
    var random = SeededRandom(seed: 8)
    return [(21, 5), (16, 0), (9, 8), (30, 12)].map { count, scored in
      let tokens = (0..<count).map { _ in Int(random.next() % 47) }
      return ScoredText(tokens: tokens, scored: scored..<count, blockLength: blockLength, fill: 46)
    }
  }

  static var plan: MaskPlan { MaskPlan(ratios: [0.3, 0.7, 1], blockLength: blockLength, mask: mask, seed: 2) }

  /// A checkpoint and its int4 pack.
  static func withModels<Result>(_ body: (TransformerModel, TransformerModel) throws -> Result) throws -> Result {
    try withTemporaryDirectory { directory in
      var tiny = TinyCheckpoint()
      tiny.change = { tensors in
        for index in tensors.indices where !tensors[index].name.contains("expert_bias") {
          let isNorm = tensors[index].name.contains("norm")
          let x = floats(tensors[index].bytes, as: tensors[index].dtype).map { isNorm ? 1 + 4 * $0 : 8 * $0 }
          tensors[index].bytes = x.flatMap { elementBytes($0, as: tensors[index].dtype) }
        }
      }
      try tiny.write(to: directory)
      var options = ConversionPlan.Options()
      options.recipe = Recipe(experts: try #require(Recipe.Choice(name: "int4-g32")), rest: .keep)
      options.tool = "ingot test"
      let plan = try ConversionPlan(checkpoint: directory, options: options)
      let path = directory + "/packed.ingot"
      let converter = try Converter(plan, kernels: .best, threads: 1, memoryLimit: 1 << 30)
      _ = try converter.write(to: path, progress: { _ in }, isInterrupted: { false })
      let compute = Compute(threads: 1)
      return try body(
        TransformerModel(StoredWeights(path: directory), compute: compute),
        TransformerModel(StoredWeights(path: path, cacheBudget: 1 << 20), compute: compute))
    }
  }

  private func run(
    _ reference: TransformerModel, _ lanes: [(role: ScoredRun.Role, lane: Lane)], memory: Int = 1 << 30
  ) throws -> ScoredRun.Result {
    let scoring = Scoring(Self.texts(), plan: Self.plan)
    return try ScoredRun(scoring, memory: memory).run(reference: reference, lanes: lanes)
  }

  /// What decoding would see: everything up to the end of the block in one pass, without a cache.
  @Test func scoresAreThoseOfAPassOverTheWholeWindow() throws {
    try Self.withModels { model, _ in
      let scoring = Scoring(Self.texts(), plan: Self.plan)
      var worst = 0.0
      var seen = 0
      let observer = Lockstep.Observer { index, logits in
        let state = scoring.states[index]
        let window = Array(scoring.texts[state.text].tokens[..<state.start]) + state.tokens
        let segment = TransformerModel.Segment(tokens: window, start: 0, cache: KeyValueCache(model.configuration))
        let width = model.configuration.hiddenSize
        let hidden = (try? model.hiddenStates([segment], blockLength: Self.blockLength)) ?? []
        let rows = state.counted.flatMap { hidden[(state.start + $0) * width..<(state.start + $0 + 1) * width] }
        for (a, b) in zip(model.logits(Array(rows)), logits[0]) { worst = max(worst, Double(abs(a - b))) }
        seen += 1
      }
      let lockstep = Lockstep([Lane(model)], blockLength: Self.blockLength, seed: 0, memory: 1 << 30)
      let passes = try lockstep.run(
        texts: scoring.texts.map(\.tokens), states: scoring.states, observer: observer)
      #expect(seen == scoring.states.count && passes == 1)
      #expect(worst < 1e-4, "\(worst)")
    }
  }

  @Test func aModelAgainstItselfDoesNotDrift() throws {
    try Self.withModels { model, _ in
      let result = try run(model, [(.candidate, Lane(model))])
      #expect(result.comparisons[0].allSatisfy { $0.kl == 0 && $0.sameTop && $0.candidateLoss == $0.referenceLoss })
      #expect(result.fullDivergence == 0)
      let routing = JSONValue(encoding: result.routing.section(ratios: Self.plan.ratios, seed: 0)).object
      #expect(routing?["changed"]?.object?["mean"]?.double == 0)
      #expect(routing?["weight_shift"]?.object?["mean"]?.double == 0)
      for layer in JSONValue(encoding: result.layers.section).array ?? [] {
        #expect(layer.object?["relative_error"]?.double == 0 && layer.object?["cosine"]?.double == 1)
      }
    }
  }

  @Test("a lane that rounds keys and values drifts a little, and leaves the others as they are")
  func roundedKeysAndValues() throws {
    try Self.withModels { model, _ in
      let rounded = try TransformerModel(model.weights, compute: Compute(threads: 1, keyValues: .bf16))
      let result = try run(model, [(.candidate, Lane(rounded)), (.part, Lane(model))])
      #expect(result.comparisons[0].contains { $0.kl > 0 } && result.comparisons[0].allSatisfy { $0.kl < 0.05 })
      #expect(result.comparisons[1].allSatisfy { $0.kl == 0 })
    }
  }

  @Test("sequences that threads take whole give what one thread gives")
  func threadsTakeSequences() throws {
    try Self.withModels { model, _ in
      let texts = (0..<9).map { first in (0..<12 + first).map { (7 * $0 + 5 * first) % 47 } }
      let found = try [1, 2].map { threads in
        let own = try TransformerModel(model.weights, compute: Compute(threads: threads))
        let segments = texts.flatMap { tokens in
          let cache = KeyValueCache(own.configuration)
          // The second reads what the first wrote.
          return [
            TransformerModel.Segment(tokens: Array(tokens[..<8]), start: 0, cache: cache),
            TransformerModel.Segment(tokens: Array(tokens[8...]), start: 8, cache: cache),
          ]
        }
        return try own.hiddenStates(segments, blockLength: Self.blockLength)
      }
      #expect(found[0] == found[1])
    }
  }

  @Test("what scoring has to do is told beforehand, also of models without experts")
  func estimate() throws {
    try Self.withModels { reference, candidate in
      let scoring = Scoring(Self.texts(), plan: Self.plan)
      let lanes = [(role: ScoredRun.Role.candidate, lane: Lane(candidate))]
      let work = ScoredRun(scoring, memory: 1 << 30).work(reference: reference, lanes: lanes)
      #expect(work.positions == scoring.positionCount && work.passes == 1 && work.rows > work.positions)
      #expect(ScoredRun(scoring, memory: 1).work(reference: reference, lanes: lanes).passes == 4)
      let seconds = try ScoredRun.expectedSeconds(work, reference: reference, lanes: lanes)
      #expect(seconds > 0 && seconds < 60)
      #expect(try ScoredRun.expectedSeconds(.init(), reference: reference, lanes: lanes) == 0)
    }
    try withTemporaryDirectory { directory in
      var tiny = TinyCheckpoint()
      tiny.denseLayers = 2
      try tiny.write(to: directory)
      let model = try TransformerModel(StoredWeights(path: directory), compute: Compute(threads: 1))
      #expect(try model.multiplicationRate() > 0)
    }
  }

  @Test func textsInTurnsGiveTheSame() throws {
    try Self.withModels { reference, candidate in
      let whole = try run(reference, [(.candidate, Lane(candidate))])
      let turns = try run(reference, [(.candidate, Lane(candidate))], memory: 1)
      #expect(whole.passes == 1 && turns.passes == 4)
      #expect(whole.comparisons[0].contains { $0.kl > 1e-6 })
      for (a, b) in zip(whole.comparisons[0], turns.comparisons[0]) { #expect(abs(a.kl - b.kl) < 1e-5 + 1e-3 * a.kl) }
    }
  }

  /// A mixture that takes nothing is the reference, one that takes all is the candidate; where a lane forks makes no
  /// difference.
  @Test func mixturesAreWhatTheyTake() throws {
    try Self.withModels { reference, candidate in
      let none = MixedWeights(reference.weights, with: candidate.weights) { _ in false }
      let all = MixedWeights(reference.weights, with: candidate.weights) { _ in true }
      let last = MixedWeights(reference.weights, with: candidate.weights) { $0.layer == 1 }
      let compute = reference.compute
      let lanes: [(role: ScoredRun.Role, lane: Lane)] = [
        (.candidate, Lane(candidate)), (.part, Lane(try TransformerModel(none, compute: compute))),
        (.part, Lane(try TransformerModel(all, compute: compute))),
        (.part, Lane(try TransformerModel(last, compute: compute))),
        (.part, Lane(try TransformerModel(last, compute: compute), fork: 1)),
      ]
      let comparisons = try run(reference, lanes).comparisons
      #expect(comparisons[1].allSatisfy { $0.kl == 0 })
      #expect(comparisons[2] == comparisons[0])
      #expect(comparisons[4] == comparisons[3])
      #expect(comparisons[3] == comparisons[0], "only layer 1 has experts")
    }
  }

  @Test func replayingOnesOwnRoutesChangesNothing() throws {
    try Self.withModels { reference, candidate in
      let lanes: [(role: ScoredRun.Role, lane: Lane)] = [
        (.candidate, Lane(candidate)), (.part, Lane(candidate, replays: 1)), (.part, Lane(reference, replays: 0)),
        (.part, Lane(reference, replays: 1)), (.part, Lane(candidate, replays: 0)),
      ]
      let comparisons = try run(reference, lanes).comparisons
      #expect(comparisons[1] == comparisons[0])
      #expect(comparisons[2].allSatisfy { $0.kl == 0 })
      // The only mixture's router sees the same input in both, so the routes are the same.
      #expect(comparisons[3].allSatisfy { $0.kl == 0 })
      #expect(comparisons[4] == comparisons[0])
    }
  }

  @Test func noiseIsSmallSeededAndGrows() throws {
    try Self.withModels { model, _ in
      let mean = { (noise: Double) in
        let result = try run(model, [(.floor, Lane(model, noise: noise))])
        return result.comparisons[0].reduce(0) { $0 + $1.kl } / Double(result.comparisons[0].count)
      }
      let small = try mean(1.0 / 512)
      #expect(small > 0)
      #expect(try mean(1.0 / 512) == small)
      #expect(try mean(1.0 / 32) > 10 * small)
    }
  }

  @Test func aStoppedRunSaysSo() throws {
    try Self.withModels { model, _ in
      let scoring = Scoring(Self.texts(), plan: Self.plan)
      #expect(throws: DriftError.interrupted) {
        try ScoredRun(scoring, memory: 1 << 30).run(reference: model, lanes: [(.candidate, Lane(model))]) { $0 < 0.5 }
      }
    }
  }
}
