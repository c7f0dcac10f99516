import JSON
import Kernels
import Models
import Tensors
import TestSupport
import Testing

/// The model against an independent forward pass in binary64.
@Suite struct ReferenceTests {
  /// ‖a − b‖ / ‖b‖: fp32 sums of at most some hundred terms through two layers are off by 1e-7 to 1e-6; what the pitfalls
  /// change shows above 1e-3.
  static let tolerance = 1e-5

  struct Case: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let make: @Sendable (inout TinyCheckpoint) -> Void
    var blockLengths = [4]
    var bias: [Float] = [0.5, -0.25, 0, 0.125]
    init(
      _ name: String, blockLengths: [Int] = [4], bias: [Float] = [0.5, -0.25, 0, 0.125],
      _ make: @escaping @Sendable (inout TinyCheckpoint) -> Void
    ) {
      (testDescription, self.make, self.blockLengths, self.bias) = (name, make, blockLengths, bias)
    }
  }

  static let cases = [
    Case(
      "P1, P2, P14: as published, half of the channels turning in halves after the norm", blockLengths: [1, 4, 16, 64]
    ) { _ in },
    Case("P12: norms of queries and keys only where their tensors are") { $0.hasQKNorm = false },
    Case("P12: the width of the norms' ε comes from the configuration") {
      $0.configChanges["rms_norm_eps"] = .number("0.5")
    },
    Case("biases") { ($0.usesBias, $0.usesQKVBias) = (true, true) },
    Case("no shared expert") { $0.sharedExperts = 0 },
    Case("two shared experts") { $0.sharedExperts = 2 },
    Case("one group of experts") { $0.configChanges = ["n_group": 1] },
    Case("four groups of one expert") { $0.configChanges = ["n_group": 4, "topk_group": 2] },
    Case("twelve experts in three groups, five of them chosen") {
      $0.experts = 12
      $0.configChanges = ["n_group": 3, "topk_group": 2, "num_experts_per_tok": 5]
    },
    Case("only mixtures") { $0.denseLayers = 0 },
    Case("no mixture") { $0.denseLayers = 2 },
    Case("tied embeddings") { ($0.isTied, $0.hasHead) = (true, false) },
    Case("one query head for a key head") { ($0.heads, $0.keyValueHeads) = (2, 2) },
    Case("two query heads for a key head") { ($0.heads, $0.keyValueHeads) = (4, 2) },
    Case("P1: four query heads for a key head") { ($0.heads, $0.keyValueHeads) = (4, 1) },
    Case("P14: all channels turn") { $0.configChanges = ["partial_rotary_factor": 1] },
    Case("a quarter of the channels turns, faster") {
      $0.configChanges = ["partial_rotary_factor": .number("0.25"), "rope_theta": 100]
    },
    Case("P4: biases below all scores", bias: [-3, -1.5, -2, -2.5]) {
      $0.experts = 8
      $0.configChanges = ["n_group": 4, "topk_group": 1]
    },
    Case("P3: biases that decide alone", bias: [4, -4, 8, 2]) { _ in },
    Case("another scale") { $0.configChanges = ["routed_scaling_factor": .number("0.75")] },
    Case("P25: windows of four tokens share three of eight experts, groups do not count", blockLengths: [4, 8, 64]) {
      $0.experts = 8
      $0.configChanges = ["n_group": 4, "topk_group": 1, "block_size": 4, "expert_capacity": 3]
    },
    Case("F32 weights") { ($0.dtype, $0.expertBiasDType) = (.f32, .bf16) },
  ]

  @Test("P1, P2, P12, P14: hidden states, experts, weights and logits are those of the formulas", arguments: cases)
  func forward(_ given: Case) throws {
    var tiny = TinyCheckpoint()
    given.make(&tiny)
    tiny.enliven(bias: given.bias)
    for blockLength in given.blockLengths {
      for kernels in KernelSet.available {
        let worst = try withModel(tiny, kernels: kernels) { try difference($0, someTokens(18), blockLength) }
        #expect(worst < Self.tolerance, "\(kernels), blocks of \(blockLength)")
      }
    }
  }

  /// The largest of all relative differences; infinite if experts differ.
  private func difference(_ model: TransformerModel, _ tokens: [Int], _ blockLength: Int) throws -> Double {
    let expected = try ReferenceForward(model.weights).run(tokens, blockLength: blockLength)
    var routes: [[Router.Route]] = []
    let hidden = try model.hidden(tokens, blockLength: blockLength, taps: .init(routes: { routes.append($1) }))
    guard routes.map({ $0.map(\.experts) }) == expected.experts else { return .infinity }
    var worst = relativeDifference(hidden, expected.hidden.flatMap { $0 })
    worst = max(worst, relativeDifference(model.logits(hidden), expected.logits.flatMap { $0 }))
    for (found, expected) in zip(routes, expected.weights) {
      worst = max(worst, relativeDifference(found.flatMap(\.weights), expected.flatMap { $0 }))
    }
    return worst
  }

  @Test("P20, P30: sequences of one pass are what each gives alone, whatever their lengths and starts")
  func segments() throws {
    for routing: [String: JSONValue?] in [[:], ["block_size": 4, "expert_capacity": 3]] {
      var tiny = TinyCheckpoint()
      tiny.experts = 8
      tiny.configChanges = routing
      tiny.enliven()
      try withModel(tiny) { model in
        let sequences = [7, 4, 13, 1].enumerated().map { someTokens($1, seed: UInt64($0)) }
        let segments = sequences.map {
          TransformerModel.Segment(tokens: $0, start: 0, cache: KeyValueCache(model.configuration))
        }
        let together = try model.hiddenStates(segments, blockLength: 4)
        let alone = try sequences.flatMap { try model.hidden($0, blockLength: 4) }
        #expect(relativeDifference(together, alone.map(Double.init)) < Self.tolerance)
      }
    }
  }

  @Test("a block longer than the queries that are held at a time sees itself whole")
  func longBlock() throws {
    var tiny = TinyCheckpoint()
    tiny.enliven()
    try withModel(tiny) { model in
      let tokens = someTokens(600)
      // Under one block's mask the order of rows means nothing but their positions: one more block changes none of them.
      let short = try model.hidden(tokens, blockLength: 600)
      let long = try model.hidden(tokens + someTokens(600, seed: 4), blockLength: 600)
      let difference = relativeDifference(short, long.prefix(short.count).map(Double.init))
      #expect(difference < 1e-4)
      // The last row counts in the first.
      var other = tokens
      other[599] = (other[599] + 1) % 48
      let changed = try model.hidden(other, blockLength: 600)
      #expect(changed.prefix(64) != short.prefix(64))
    }
  }

  @Test("P19: a prompt in pieces of whole blocks is the prompt at once")
  func pieces() throws {
    var tiny = TinyCheckpoint()
    tiny.enliven()
    try withModel(tiny) { model in
      let tokens = someTokens(20)
      let atOnce = try model.hidden(tokens, blockLength: 4)
      for length in [4, 8, 12] {
        let cache = KeyValueCache(model.configuration)
        var found: [Float] = []
        for start in stride(from: 0, to: tokens.count, by: length) {
          let piece = Array(tokens[start..<min(tokens.count, start + length)])
          found += try model.hiddenStates([.init(tokens: piece, start: start, cache: cache)], blockLength: 4)
        }
        #expect(relativeDifference(found, atOnce.map(Double.init)) < Self.tolerance, "pieces of \(length)")
      }
    }
  }
}
