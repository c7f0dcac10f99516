import Decoding
import Models
import Testing

/// The cache of finished blocks is exact (llada2.md §4.7), for every decoder.
@Suite struct CacheTests {
  @Test("a pass stops before the layer at which somebody asks for it, while the prompt is read as well as later")
  func interrupt() throws {
    try withLiveModel { model in
      let prompt = (0..<40).map { ($0 * 7 + 3) % 40 }
      for limit in [0, 1, 2, 3, 7] {
        var asked = 0
        let decoding = try BlockDiffusion(
          model, options: .plain(block: 8, length: 8, threshold: 1), special: ID.special
        ) {
          asked += 1
          return asked > limit
        }
        #expect(throws: DecodingError.interrupted) { _ = try decoding.decode(prompt: prompt) }
        #expect(asked == limit + 1)
      }
    }
  }

  @Test("a long prompt goes through the layers in several turns, which give what one gives")
  func tiles() throws {
    try withLiveModel { model in
      let tokens = (0..<2560).map { ($0 * 7 + 3) % 40 }
      var asked = 0
      let cache = KeyValueCache(model.configuration)
      try model.writeCache(.init(tokens: tokens, start: 0, cache: cache), blockLength: 32) {
        asked += 1
        return false
      }
      #expect(asked == 2 * model.configuration.layerCount)
      let block = Array(tokens.prefix(32))
      let found = try model.hiddenStates([.init(tokens: block, start: 2560, cache: cache)], blockLength: 32)
      let whole = KeyValueCache(model.configuration)
      let expected = try model.hiddenStates([.init(tokens: tokens + block, start: 0, cache: whole)], blockLength: 32)
      let difference = zip(found, expected.suffix(found.count)).reduce(Float(0)) { max($0, abs($1.0 - $1.1)) }
      #expect(difference < 1e-3)
    }
  }

  static let decoders: [DecodingOptions.Decoder] = [
    .threshold, .editing(threshold: 0.01, maximumPostSteps: 3),
    .levenshtein(.init(delete: ID.delete, split: ID.split), threshold: 0.01, maximumPostSteps: 3, maximumSteps: 12),
  ]

  @Test("Conformance 5, P18, P19: tokens, steps and probabilities are the same with and without", arguments: decoders)
  func exact(decoder: DecodingOptions.Decoder) throws {
    try withLiveModel { model in
      for (blockLength, promptLength) in [(1, 3), (4, 1), (4, 8), (4, 10), (8, 21), (32, 5)] {
        var options = DecodingOptions()
        options.decoder = decoder
        (options.blockLength, options.steps) = (blockLength, blockLength)
        (options.generationLength, options.threshold) = (24, 0.2)
        let prompt = (0..<promptLength).map { ($0 * 7 + 3) % 40 }
        var outputs: [BlockDiffusion.Output] = []
        for usesCache in [true, false] {
          options.usesCache = usesCache
          outputs.append(try BlockDiffusion(model, options: options, special: ID.special).decode(prompt: prompt))
        }
        let label = "blocks of \(blockLength), prompt of \(promptLength)"
        #expect(outputs[0].tokens == outputs[1].tokens, "\(label)")
        #expect(outputs[1].cachePasses == 0)
        let commits = outputs.map { $0.steps.map { $0.commits.map { [$0.position, $0.token] } } }
        #expect(commits[0] == commits[1], "\(label)")
        let probabilities = outputs.map { $0.steps.flatMap(\.commits).map(\.probability) }
        for (a, b) in zip(probabilities[0], probabilities[1]) { #expect(abs(a - b) < 1e-5, "\(label)") }
      }
    }
  }

  @Test("the experts of a pass are recorded by layer and row, when asked for")
  func experts() throws {
    try withLiveModel { model in
      let decoder = try BlockDiffusion(model, options: .plain(length: 8), special: ID.special)
      let output = try decoder.decode(prompt: [1, 2, 3, 4, 5], recordsExperts: true)
      #expect(output.steps.allSatisfy { $0.experts.count == 1 && $0.experts[0].count == 4 })
      #expect(output.steps[0].experts[0].allSatisfy { $0.count == 2 })
      #expect(try decoder.decode(prompt: [1, 2, 3, 4, 5]).steps.allSatisfy(\.experts.isEmpty))
    }
  }
}
