import Decoding
import Drift
import Glibc
import Kernels
import Models
import TestSupport
import Testing

/// Scoring of a model that predicts the next token: each position from the row before.
@Suite struct NextTokenTests {
  private static let special = SpecialTokens(mask: SpecialTokens.noMask, stops: [635])
  private static let plan = MaskPlan(ratios: [1], blockLength: 1, mask: SpecialTokens.noMask, seed: 0)

  private func model() throws -> TransformerModel {
    try TransformerModel(StoredWeights(path: Trained.checkpoint("ling")), compute: Compute(threads: 1))
  }

  @Test("scores are those of one pass over each text, and the bound is its exact loss", arguments: [1 << 30, 1])
  func scores(memory: Int) throws {
    let model = try model()
    var random = SeededRandom(seed: 4)
    let texts = [(21, 5), (2, 1), (9, 8), (130, 1)].map { count, scored in
      ScoredText(
        tokens: (0..<count).map { _ in Int(random.next() % 640) }, scored: scored..<count, blockLength: 1, fill: 635)
    }
    let scoring = Scoring(texts, plan: Self.plan)
    #expect(scoring.positionCount == 16 + 1 + 1 + 129)
    let vocabulary = model.configuration.vocabularySize
    let expected = try texts.map { text in
      let segment = TransformerModel.Segment(tokens: text.tokens, start: 0, cache: KeyValueCache(model.configuration))
      return model.logits(try model.hiddenStates([segment], blockLength: 1))
    }
    var (worst, seen) = (Float(0), 0)
    let observer = Lockstep.Observer { index, logits in
      let state = scoring.states[index]
      let row = state.start + state.counted[0] - 1
      let own = expected[state.text][row * vocabulary..<(row + 1) * vocabulary]
      for (a, b) in zip(own, logits[0]) { worst = max(worst, abs(a - b)) }
      seen += 1
    }
    let passes = try Lockstep([Lane(model)], blockLength: 1, seed: 0, memory: memory)
      .run(texts: texts.map(\.tokens), states: scoring.states, observer: observer)
    #expect(seen == scoring.positionCount && worst < 1e-4 && passes == (memory == 1 ? 4 : 1), "\(worst)")

    let result = try ScoredRun(scoring, memory: memory).run(
      reference: model, lanes: [(.candidate, Lane(model)), (.floor, Lane(model, noise: 0x1p-8))])
    let drift = ScoredDrift(scoring, result, pairs: [], threshold: 0.95)
    let section = drift.maskedSection(words: { "\($0)" })
    #expect(section.positions == scoring.positionCount && section.kl?.max == 0 && section.byBlock.isEmpty)
    let loss = texts.enumerated().reduce(0.0) { sum, text in
      sum
        + text.element.scored.reduce(0.0) { sum, position in
          let row = expected[text.offset][(position - 1) * vocabulary..<position * vocabulary]
          return sum - Double(LogSoftmax(row, kernels: .best).logProbability(text.element.tokens[position]))
        }
    }
    let bound = try #require(section.elbo?.reference)
    #expect(abs(bound - loss / Double(scoring.positionCount)) < 1e-4)
    #expect(section.nll.map { abs($0.reference - bound) < 1e-9 } ?? false)
    #expect(result.comparisons[1].contains { $0.kl > 0 })
  }

  @Test("along its own path a model decides as it did")
  func along() throws {
    let model = try model()
    var options = DecodingOptions.next
    options.generationLength = 12
    let decoder = try BlockDiffusion(model, options: options, special: Self.special)
    let prompts = [[1], [2, 3, 4], Array(10..<30)]
    let outputs = try prompts.map { try decoder.decode(prompt: $0) }
    let scorer = TrajectoryScorer(decoder, prompts: prompts, outputs: outputs, mask: SpecialTokens.noMask, seed: 0)
    #expect(scorer.leftOut == 0 && scorer.places.count == outputs.reduce(0) { $0 + $1.tokens.count })
    let result = try scorer.run(reference: model, candidate: model, memory: 1 << 20) { _ in true }
    #expect(result.isSame == true && result.decisions.allSatisfy { $0?.isSame == true })
    let recorded = outputs.flatMap { $0.steps.flatMap { $0.commits.map(\.probability) } }
    for (row, probability) in zip(result.rows, recorded) {
      #expect(abs(expf(row.bestLogProbability) - probability) < 1e-5)
    }
    #expect(result.rows.count == recorded.count)
  }
}
