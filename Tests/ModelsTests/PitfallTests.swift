import JSON
import Models
import Safetensors
import Storage
import Tensors
import TestSupport
import Testing

/// What is easily done wrong (llada2.md §7) and shows in numbers that are known beforehand.
@Suite struct PitfallTests {
  private func configuration(_ changes: [String: JSONValue?] = [:], experts: Int = 8) throws -> ModelConfiguration {
    var tiny = TinyCheckpoint()
    tiny.experts = experts
    tiny.configChanges = changes
    return try ModelConfiguration(json: Array(tiny.config.text().utf8), path: "config.json")
  }

  private func route(_ logits: [Float], bias: [Float], _ changes: [String: JSONValue?] = [:]) throws -> Router.Route {
    let router = Router(try configuration(changes, experts: bias.count), bias: bias)
    return router.routes(logits: logits.span, start: 0)[0]
  }

  @Test("Conformance 7, P3, P15, P16: a bias changes who is chosen, never the weights, whose sum is the scale once")
  func biasAndWeights() throws {
    let logits: [Float] = [2, 1, 0, -1, -2, 0.5, 0.25, -0.5]
    let plain = try route(logits, bias: Array(repeating: 0, count: 8), ["n_group": 1])
    #expect(plain.experts == [0, 1])
    let biased = try route(logits, bias: [0, 0, 0, 0, 9, 0, 0, 8], ["n_group": 1])
    #expect(biased.experts == [4, 7])
    let scores = [4, 7].map { 1 / (1 + exponential(-Double(logits[$0]))) }
    for (weight, score) in zip(biased.weights, scores) {
      #expect(abs(Double(weight) - 2.5 * score / (scores[0] + scores[1])) < 1e-6)
    }
    for route in [plain, biased] { #expect(abs(route.weights.reduce(0, +) - 2.5) < 1e-6) }
  }

  @Test("weights of several experts are shares of their sum; that of a single one is its score")
  func singleExpert() throws {
    let changes: [String: JSONValue?] = ["n_group": 1, "num_experts_per_tok": 1]
    let route = try route([0, 1, 0, 0], bias: [0, 0, 0, 0], changes)
    #expect(route.experts == [1] && abs(Double(route.weights[0]) - 2.5 / (1 + exponential(-1))) < 1e-6)
  }

  @Test("P16: scores that all vanish give weights of zero, not a division by zero")
  func vanishingScores() throws {
    let route = try route(Array(repeating: -200, count: 8), bias: [0, 0, 0, 1, 2, 0, 0, 0], ["n_group": 1])
    #expect(route.experts == [4, 3] && route.weights == [0, 0])
  }

  @Test("P3: a bias is not rounded to bf16")
  func biasPrecision() throws {
    // One step of bf16 above 0.5 is 2⁻⁷; this is far less, and decides.
    let route = try route(Array(repeating: 0, count: 4), bias: [0.5, 0.5, 0.5, 0.5 + 0x1p-20], ["n_group": 1])
    #expect(route.experts == [3, 0])
  }

  @Test("P4: experts of dropped groups lose to negative scores of kept ones")
  func droppedGroups() throws {
    let bias: [Float] = [-3, -3, -5, -5, -9, -9, -9, -9]
    let route = try route(Array(repeating: 0, count: 8), bias: bias, ["n_group": 4, "num_experts_per_tok": 2])
    #expect(route.experts == [0, 1])
  }

  @Test("a group counts by its two best experts; equals go to the lower index")
  func groupScores() throws {
    // Group 0 has the single best expert, group 1 the best pair.
    let bias: [Float] = [3, 0, 0, 0, 2, 2, 0, 0]
    #expect(try route(Array(repeating: 0, count: 8), bias: bias).experts == [4, 5])
    #expect(try route(Array(repeating: 0, count: 8), bias: Array(repeating: 1, count: 8)).experts == [0, 1])
  }

  @Test("P17: two logits that bf16 cannot tell apart are told apart")
  func routerPrecision() throws {
    let logits: [Float] = [1, 1 + 0x1p-20, 1, 1 + 0x1p-19]
    #expect(try route(logits, bias: [0, 0, 0, 0], ["n_group": 1]).experts == [3, 1])
    // From weights on: the gate's rows differ by less than a step of bf16.
    var tiny = TinyCheckpoint()
    tiny.dtype = .f32
    tiny.configChanges = ["n_group": 1]
    tiny.enliven(bias: [0])
    let enlivened = tiny.change
    tiny.change = { tensors in
      enlivened(&tensors)
      for index in tensors.indices where tensors[index].name.hasSuffix("mlp.gate.weight") {
        tensors[index].bytes = (0..<4).flatMap { row in
          (0..<64).flatMap { _ in elementBytes(0.25 + Float(row) * 0x1p-14, as: .f32) }
        }
      }
    }
    try withModel(tiny) { model in
      var experts: Set<[Int]> = []
      _ = try model.hidden(
        someTokens(16), blockLength: 4, taps: .init(routes: { experts.formUnion($1.map(\.experts)) }))
      // Rows of the input with a positive sum like the last expert best, the others the first.
      #expect(experts == [[3, 2], [0, 1]])
    }
  }

  @Test("P14: the angles of the rotation are the known ones")
  func rotaryTable() {
    let table = RotaryTable(theta: 600_000, dimension: 64)
    let (cosines, sines) = table.angles(position: 1)
    #expect(cosines.count == 32)
    for (index, frequency) in [(0, 1), (1, 0.65983111), (16, 0.00129099446), (31, 2.52589894e-06)] {
      #expect(abs(Double(cosines[index]) - cosine(frequency)) < 1e-6)
      #expect(abs(Double(sines[index]) - sine(frequency)) < 1e-6 * max(frequency, 1e-3))
    }
  }

  @Test("Conformance 6: a block depends on the tokens of its own and of earlier blocks, on none of later ones (P5)")
  func mask() throws {
    var tiny = TinyCheckpoint()
    tiny.enliven()
    try withModel(tiny) { model in
      let tokens = (1...16).map { $0 }
      func logits(_ tokens: [Int]) throws -> [[Float]] {
        let all = model.logits(try model.hidden(tokens, blockLength: 4))
        return (0..<4).map { Array(all[$0 * 4 * 48..<($0 + 1) * 4 * 48]) }
      }
      let before = try logits(tokens)
      for block in 0..<4 {
        var swapped = tokens
        swapped.swapAt(4 * block + 1, 4 * block + 3)
        let after = try logits(swapped)
        #expect(after[..<block] == before[..<block], "blocks before \(block)")
        for later in block..<4 {
          #expect(relativeDifference(after[later], before[later].map(Double.init)) > 1e-4, "\(block) seen by \(later)")
        }
        // Every row of the block sees the whole block, also what stands after it.
        #expect(after[block][..<48] != before[block][..<48])
      }
    }
  }

  @Test("P13: the scores of a row are those of its own token")
  func noShift() throws {
    // With tied embeddings and layers that add almost nothing, each row's best token is the one it holds.
    var tiny = TinyCheckpoint()
    (tiny.isTied, tiny.hasHead) = (true, false)
    tiny.enliven()
    let enlivened = tiny.change
    tiny.change = { tensors in
      enlivened(&tensors)
      for index in tensors.indices
      where tensors[index].name.hasSuffix("dense.weight") || tensors[index].name.hasSuffix("down_proj.weight") {
        tensors[index].bytes = tensors[index].bytes.map { _ in 0 }
      }
    }
    try withModel(tiny) { model in
      let tokens = someTokens(16)
      let logits = model.logits(try model.hidden(tokens, blockLength: 4))
      let best = (0..<16).map { row in
        (0..<48).max { logits[row * 48 + $0] < logits[row * 48 + $1] }
      }
      #expect(best == tokens)
    }
  }

  @Test("P12: a key that the arithmetic needs is never guessed, whatever the reference class would say")
  func missingKeys() throws {
    for key in ["rope_theta", "rms_norm_eps", "num_key_value_heads", "n_group", "routed_scaling_factor"] {
      #expect(throws: ModelError.self) { try configuration([key: nil]) }
    }
    let c = try configuration(["use_bias": nil, "use_qkv_bias": nil])
    #expect(!c.usesBias && !c.usesQKVBias)
  }

  @Test("P25: a capacity of experts without its window is refused, not run with groups")
  func capacityAlone() throws {
    #expect(throws: ModelError.self) { try configuration(["expert_capacity": 3]) }
    #expect(try configuration(["expert_capacity": 3, "block_size": 32]).blockRouting != nil)
  }

  @Test("P25: windows of routing stand at multiples of their size, wherever a pass starts")
  func windows() throws {
    let changes: [String: JSONValue?] = ["block_size": 4, "expert_capacity": 2]
    let router = Router(try configuration(changes), bias: Array(repeating: 0, count: 8))
    // Row r likes expert r best and the next one second.
    let logits = (0..<8).flatMap { row in (0..<8).map { Float($0 == row ? 4 : $0 == (row + 1) % 8 ? 3 : 0) } }
    let aligned = router.routes(logits: logits.span, start: 0).map { Set($0.experts) }
    #expect(aligned == Array(repeating: [0, 1], count: 4) + Array(repeating: [4, 5], count: 4))
    let shifted = router.routes(logits: logits.span, start: 2).map { Set($0.experts) }
    #expect(shifted == [[0, 1], [0, 1], [2, 3], [2, 3], [2, 3], [2, 3], [6, 7], [6, 7]])
  }

  @Test("rows that are routed piece by piece go where they go together", arguments: [nil, 4] as [Int?])
  func pieces(window: Int?) throws {
    let changes: [String: JSONValue?] =
      window.map { ["block_size": JSONValue($0), "expert_capacity": 3] } ?? [:]
    let router = Router(try configuration(changes), bias: (0..<8).map { Float($0 % 3) / 8 })
    for (rows, start) in [(1, 0), (8, 0), (9, 3), (33, 5), (64, 31)] {
      let logits = (0..<8 * rows).map { Float(($0 &* 7919) % 101) / 25 - 2 }
      let pieces = router.pieces(of: 2..<2 + rows, start: start)
      let found = pieces.flatMap { rows, start in
        router.routes(
          logits: logits.span.extracting(8 * (rows.lowerBound - 2)..<8 * (rows.upperBound - 2)), start: start)
      }
      #expect(found == router.routes(logits: logits.span, start: start) && (rows < 9 || pieces.count > 1))
    }
  }

  @Test("P23, P24: shards from 0 or 1 and stacked experts without `.weight` give the same hidden states")
  func layouts() throws {
    var plain = TinyCheckpoint()
    plain.enliven()
    let expected = try withModel(plain) { try $0.hidden(someTokens(9), blockLength: 4) }
    for layout in TinyCheckpoint.Layout.allCases {
      for shards in TinyCheckpoint.Shards.allCases {
        var tiny = plain
        (tiny.layout, tiny.shards) = (layout, shards)
        #expect(try withModel(tiny) { try $0.hidden(someTokens(9), blockLength: 4) } == expected)
      }
    }
  }
}
