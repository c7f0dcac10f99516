import Decoding
import TestSupport
import Testing

/// The choice of a token (llada2.md §4.3): temperature, then top-k, then top-p.
@Suite struct SamplingTests {
  private func options(
    temperature: Float = 1, topK: Int? = nil, topP: Float? = nil, seed: UInt64 = 1
  ) -> DecodingOptions {
    var options = DecodingOptions.plain(block: 16, length: 512, threshold: 0)
    (options.temperature, options.topK, options.topP, options.seed) = (temperature, topK, topP, seed)
    return options
  }

  /// Token by token the share of draws, and the one probability they were recorded with.
  private func draws(
    _ options: DecodingOptions, _ probabilities: [Int: Float]
  ) throws -> [Int: (share: Float, probability: Float)] {
    let output = try run(options, prompt: [1]) { _, _ in probabilities }.output
    let commits = output.steps.flatMap(\.commits)
    var found: [Int: (share: Float, probability: Float)] = [:]
    for (token, group) in Dictionary(grouping: commits, by: \.token) {
      #expect(Set(group.map(\.probability)).count == 1)
      found[token] = (Float(group.count) / Float(commits.count), group[0].probability)
    }
    return found
  }

  private func expect(
    _ options: DecodingOptions, _ probabilities: [Int: Float], give expected: [Int: Float],
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let found = try draws(options, probabilities)
    #expect(Set(found.keys) == Set(expected.keys), sourceLocation: sourceLocation)
    for (token, probability) in expected {
      #expect(abs((found[token]?.probability ?? -1) - probability) < 1e-5, sourceLocation: sourceLocation)
      // 512 draws: three standard deviations are below 0.067.
      #expect(abs((found[token]?.share ?? -1) - probability) < 0.07, sourceLocation: sourceLocation)
    }
  }

  @Test("tokens are drawn as often as they are probable, and recorded with that probability")
  func frequencies() throws {
    try expect(options(), [5: 0.5, 6: 0.3, 7: 0.2], give: [5: 0.5, 6: 0.3, 7: 0.2])
  }

  @Test("P8: the probability is the one after temperature and filters")
  func temperature() throws {
    // Powers of 1/T: 0.8² and 0.2² of their sum.
    try expect(options(temperature: 0.5), [5: 0.8, 6: 0.2], give: [5: 0.64 / 0.68, 6: 0.04 / 0.68])
    try expect(options(temperature: 1e-38), [5: 0.51, 6: 0.49], give: [5: 1])
  }

  @Test("P8: the threshold is compared with the filtered probability, so that one candidate is certain")
  func thresholdAfterFilter() throws {
    var options = options(topK: 1)
    options.threshold = 0.95
    #expect(try run(options, prompt: [1]) { _, _ in [5: 0.3] }.output.forwards == 33)
  }

  @Test("top-k keeps equals of the k-th")
  func topK() throws {
    try expect(options(topK: 2), [5: 0.4, 6: 0.3, 7: 0.3], give: [5: 0.4, 6: 0.3, 7: 0.3])
    try expect(options(topK: 2), [5: 0.5, 6: 0.3, 7: 0.2], give: [5: 0.625, 6: 0.375])
    try expect(options(topK: 1), [5: 0.5, 6: 0.3, 7: 0.2], give: [5: 1])
  }

  @Test("top-p keeps the token that crosses p, so at least one")
  func topP() throws {
    try expect(options(topP: 0.6), [5: 0.5, 6: 0.3, 7: 0.2], give: [5: 0.625, 6: 0.375])
    try expect(options(topP: 0.4), [5: 0.5, 6: 0.3, 7: 0.2], give: [5: 1])
    try expect(options(topP: 1), [5: 0.5, 6: 0.3, 7: 0.2], give: [5: 0.5, 6: 0.3, 7: 0.2])
    // After top-k: of 0.5/0.75 and 0.25/0.75 the first alone is above 0.6.
    try expect(options(topK: 2, topP: 0.6), [5: 0.5, 6: 0.25, 7: 0.2], give: [5: 1])
  }

  @Test("what the filters leave, and with what probability, is what sorting everything would say")
  func filters() throws {
    var random = SeededRandom(seed: 5)
    for topK in [nil, 1, 5, 20, 47, 48, 100] as [Int?] {
      for topP in [nil, 0.05, 0.5, 0.9, 0.999, 1] as [Float?] {
        let shares = (0..<ID.mask).map { _ in Float(1 + random.next() % 20) }
        let sum = shares.reduce(0, +)
        let probabilities = Dictionary(uniqueKeysWithValues: shares.enumerated().map { ($0, $1 / sum) })
        var order = probabilities.sorted { ($1.value, $0.key) < ($0.value, $1.key) }
        if let topK, topK < order.count { order = order.filter { $0.value >= order[topK - 1].value } }
        let total = order.reduce(0) { $0 + $1.value }
        if let topP {
          var before: Float = 0
          order = Array(
            order.prefix { share in
              defer { before += share.value }
              return before <= topP * total + 1e-6
            })
        }
        let kept = order.reduce(0) { $0 + $1.value }
        let found = try draws(options(topK: topK, topP: topP), probabilities)
        for (token, (_, probability)) in found {
          let expected = try #require(order.first { $0.key == token }, "\(topK ?? 0), \(topP ?? 0)").value / kept
          #expect(abs(probability - expected) < 1e-4)
        }
      }
    }
  }

  @Test("a seed gives the same answer again, another one another")
  func seeds() throws {
    func tokens(_ seed: UInt64) throws -> [Int] {
      try run(options(seed: seed), prompt: [1]) { _, _ in [5: 0.3, 6: 0.3] }.output.tokens
    }
    #expect(try tokens(7) == tokens(7))
    #expect(try tokens(7) != tokens(8))
  }

  @Test("P7: temperature 0 is the best token, of equals the lowest, whatever seed and filters say")
  func greedy() throws {
    for seed in [1, 2, 3] as [UInt64] {
      var options = options(temperature: 0, topK: 1, topP: 0.1, seed: seed)
      options.threshold = 0.95
      let (output, _) = try run(options, prompt: [1]) { _, _ in [5: 0.25, 6: 0.25, 9: 0.1] }
      #expect(Set(output.tokens) == [5])
      // Filters do not touch the probability, so each step commits its quota of one.
      #expect(output.steps[0].commits.count == 1 && abs(output.steps[0].commits[0].probability - 0.25) < 1e-6)
    }
  }
}
