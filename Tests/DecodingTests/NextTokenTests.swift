import Decoding
import JSON
import Models
import TestSupport
import Testing

/// Models that predict the next token: what the golden runs of Ling do not show.
@Suite struct NextTokenTests {
  private static let special = SpecialTokens(mask: SpecialTokens.noMask, stops: [635])

  private func model() throws -> TransformerModel {
    try TransformerModel(StoredWeights(path: Trained.checkpoint("ling")), compute: Compute(threads: 1))
  }

  private func options(_ count: Int) -> DecodingOptions {
    var options = DecodingOptions.next
    options.generationLength = count
    return options
  }

  /// A plain loop over whole passes.
  private func loop(_ model: TransformerModel, _ prompt: [Int], _ count: Int) throws -> [Int] {
    let (width, vocabulary) = (model.configuration.hiddenSize, model.configuration.vocabularySize)
    var tokens = prompt
    while tokens.count < prompt.count + count, tokens.count == prompt.count || tokens[tokens.count - 1] != 635 {
      let segment = TransformerModel.Segment(tokens: tokens, start: 0, cache: KeyValueCache(model.configuration))
      let logits = model.logits(Array(try model.hiddenStates([segment], blockLength: 1).suffix(width)))
      tokens.append((0..<vocabulary).max { (logits[$0], $1) < (logits[$1], $0) } ?? 0)
    }
    return Array(tokens[prompt.count...])
  }

  @Test("with keys and values kept, without, and beside others, the tokens are those of whole passes")
  func cache() throws {
    let model = try model()
    let prompts = [[5], [0], [1, 2], Array(30..<61), [598, 3, 77], Array(0..<40)]
    var passes = 0
    for (index, prompt) in prompts.enumerated() {
      let expected = try loop(model, prompt, 30)
      for usesCache in [true, false] {
        var options = options(30)
        options.usesCache = usesCache
        let decoder = try BlockDiffusion(model, options: options, special: Self.special)
        var rows: [Int] = []
        let output = try decoder.decode(prompt: prompt, recordsExperts: true) { record, tokens in
          rows.append(record.experts.first?.count ?? 0)
          #expect(tokens.count == 1 && record.masked == 1 && record.step == 0)
          return true
        }
        #expect(output.tokens == expected, "prompt \(index)")
        #expect(output.forwards == expected.count && output.stopped == (expected.last == 635))
        // One row a step behind the prompt's pass; without a cache, all that stands before.
        #expect(rows == expected.indices.map { usesCache ? 1 : prompt.count + $0 })
        #expect(output.cachePasses == (usesCache && prompt.count > 1 ? 1 : 0))
        if usesCache { passes += output.forwards }
      }
    }
    let decoder = try BlockDiffusion(model, options: options(30), special: Self.special)
    let together = try decoder.decodeTogether(prompts: prompts)
    for (prompt, output) in zip(prompts, together) {
      #expect(try output.tokens == decoder.decode(prompt: prompt).tokens)
    }
    #expect(together.reduce(0) { $0 + $1.forwards } == passes)
  }

  @Test("a long prompt is read in tiles")
  func tiles() throws {
    let model = try model()
    let prompt = (0..<300).map { ($0 * 37) % 600 }
    let decoder = try BlockDiffusion(model, options: options(3), special: Self.special)
    var batch = DecodingBatch(model, passRows: 64)
    try batch.add(0, prompt: prompt, decoder)
    var done: [[Int]] = []
    while batch.count > 0 { done += try batch.advance().map { try $0.result.get().tokens } }
    #expect(try done == [loop(model, prompt, 3)])
  }

  @Test("an answer may end with the last position of the model, and not behind it")
  func contextEnd() throws {
    let model = try model()
    let limit = model.configuration.maximumPositions
    let prompt = (0..<limit - 3).map { $0 % 600 }
    let output = try BlockDiffusion(model, options: options(3), special: Self.special).decode(prompt: prompt)
    #expect(output.tokens.count == 3 || output.stopped)
    let longer = try BlockDiffusion(model, options: options(4), special: Self.special)
    #expect(throws: DecodingError.tooLong(positions: limit + 1, limit: limit)) { try longer.check(prompt: prompt) }
    #expect(throws: DecodingError.emptyPrompt) { try longer.check(prompt: []) }
    #expect(throws: DecodingError.tokenOutOfRange(id: -1, index: 0, vocabulary: 640)) { try longer.check(prompt: [-1]) }
  }

  @Test("draws are those of the seed, and the trajectory of an output is gone over again")
  func draws() throws {
    let model = try model()
    var options = options(12)
    (options.temperature, options.topK, options.topP) = (0.8, 50, 0.9)
    let decoder = try BlockDiffusion(model, options: options, special: Self.special)
    let output = try decoder.decode(prompt: [7, 8, 9])
    #expect(try output == decoder.decode(prompt: [7, 8, 9]))
    options.seed = 1
    #expect(try BlockDiffusion(model, options: options, special: Self.special).decode(prompt: [7, 8, 9]) != output)
    let trajectory = try #require(decoder.trajectory(prompt: [7, 8, 9], output: output))
    #expect(trajectory.states.map(\.start) == output.tokens.indices.map { 3 + $0 })
    #expect(trajectory.canvas == [7, 8, 9] + output.tokens)
    #expect(trajectory.states.allSatisfy { $0.maskRatio == 1 && $0.offsets == [0] })
  }

  @Test("an answer ends where a text that was to end it is complete")
  func endsAnswer() throws {
    let model = try model()
    var decoder = try BlockDiffusion(model, options: options(30), special: Self.special)
    let whole = try decoder.decode(prompt: [5])
    decoder.endsAnswer = { $0.count == 4 }
    #expect(try decoder.decode(prompt: [5]).tokens == Array(whole.tokens.prefix(4)))
  }

  @Test("what denoises blocks is refused, and so is this decoder for a model that does")
  func refusals() throws {
    let model = try model()
    func refusal(_ configuration: ModelConfiguration, _ change: (inout DecodingOptions) -> Void) -> String? {
      var options = options(4)
      change(&options)
      do throws(DecodingError) {
        _ = try BlockDiffusion(configuration, options: options, special: Self.special) {
          Script(blockLength: 1) { _, _ in [:] }
        }
      } catch {
        if case .option(let name, _) = error { return name }
      }
      return nil
    }
    let configuration = model.configuration
    #expect(refusal(configuration) { _ in } == nil)
    #expect(refusal(configuration) { $0.blockLength = 4 } == "block length")
    #expect(refusal(configuration) { $0.decoder = .threshold } == "decoder")
    #expect(refusal(configuration) { $0.decoder = .editing(threshold: 0, maximumPostSteps: 1) } == "decoder")
    #expect(try refusal(scriptConfiguration()) { _ in } == "decoder")
    #expect(throws: DecodingError.specialToken(detail: "640 is outside the vocabulary of 640")) {
      _ = try BlockDiffusion(model, options: options(4), special: .init(mask: SpecialTokens.noMask, stops: [640]))
    }
  }
}
