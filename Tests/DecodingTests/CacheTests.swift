import Decoding
import Testing

/// The cache of finished blocks is exact (llada2.md §4.7), for every decoder.
@Suite struct CacheTests {
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
