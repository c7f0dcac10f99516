import Decoding
import Drift
import JSON
import Testing

/// Paths of two models, worked by hand: blocks of 4 behind a prompt of 2 tokens, so that offsets 2 and 3 of block 0 come first.
@Suite struct TrajectoryDriftTests {
  /// Positions 2 … 5: two at once, then one a step.
  private let plain = output([10, 11, 12, 13], [(0, 0, 2, [2: 10, 3: 11]), (1, 0, 4, [4: 12]), (1, 1, 3, [5: 13])])

  private func pair(_ a: BlockDiffusion.Output, _ b: BlockDiffusion.Output) -> TrajectoryPair {
    TrajectoryPair(prompt: [1, 2], reference: a, candidate: b, blockLength: 4)
  }

  private func json(_ pairs: [TrajectoryPair]) throws -> JSONObject {
    let section = TrajectoryDrift(pairs).section(seed: 1, alongReference: nil) { $0.map { "<\($0)>" }.joined() }
    return try #require(JSONValue(encoding: section).object)
  }

  @Test("identical runs do not drift")
  func identical() throws {
    let same = pair(plain, plain)
    #expect(same.divergence == nil && same.isIdentical && same.editDistance == 0 && same.orderAgreement == 1)
    let document = try json([same, same])
    #expect(number(document, "identical.mean") == 1 && number(document, "same_path.mean") == 1)
    #expect(number(document, "first_divergence.count") == 0)
    #expect(value(document, "first_divergence.block") == .null)
    #expect(number(document, "edit_distance.mean") == 0 && number(document, "order_agreement.mean") == 1)
    #expect(number(document, "forwards.reference") == 6 && number(document, "forwards.change") == 0)
    #expect(number(document, "tokens_per_forward.candidate") == 4.0 / 3)
    #expect(number(document, "tokens_per_forward.change") == 0)
    #expect(number(document, "stopped.changed") == 0)
    #expect(value(document, "along_reference") == .null)
    #expect(TrajectoryDrift([]).section(seed: 1, alongReference: nil) { _ in "" } == nil)
  }

  @Test("another token in the last step")
  func token() throws {
    let other = output([10, 11, 12, 99], [(0, 0, 2, [2: 10, 3: 11]), (1, 0, 4, [4: 12]), (1, 1, 3, [5: 99])])
    let found = pair(plain, other)
    let divergence = try #require(found.divergence)
    #expect([divergence.block, divergence.step, divergence.position] == [1, 1, 5] && divergence.maskRatio == 0.75)
    #expect(!found.isIdentical && found.editDistance == 0.25 && found.orderAgreement == 1)
    let document = try json([found, pair(plain, plain)])
    #expect(number(document, "identical.mean") == 0.5 && number(document, "same_path.mean") == 0.5)
    #expect(number(document, "edit_distance.mean") == 0.125)
    #expect(number(document, "first_divergence.count") == 1 && number(document, "first_divergence.block") == 1)
    #expect(number(document, "first_divergence.step") == 1)
    #expect(number(document, "first_divergence.mask_ratio") == 0.75)
    #expect(number(document, "first_divergence.beyond_first_block") == 1)
    #expect(value(document, "identical.ci95")?.array?.count == 2)
  }

  @Test("the same tokens with a step more: the path is another, the output is not")
  func later() throws {
    let slow = output(
      [10, 11, 12, 13], [(0, 0, 2, [2: 10]), (0, 1, 1, [3: 11]), (1, 0, 4, [4: 12]), (1, 1, 3, [5: 13])])
    let found = pair(plain, slow)
    let divergence = try #require(found.divergence)
    #expect([divergence.block, divergence.step, divergence.position] == [0, 0, 3] && divergence.maskRatio == 0.5)
    #expect(found.isIdentical)
    let document = try json([found])
    #expect(number(document, "identical.mean") == 1 && number(document, "same_path.mean") == 0)
    #expect(value(document, "identical.ci95") == .null)
    #expect(number(document, "first_divergence.beyond_first_block") == 0)
    #expect(number(document, "forwards.reference") == 3 && number(document, "forwards.candidate") == 4)
    #expect(abs((number(document, "forwards.change") ?? 0) - 1.0 / 3) < 1e-12)
    #expect(number(document, "tokens_per_forward.candidate") == 1)
    #expect(abs((number(document, "tokens_per_forward.change") ?? 0) + 0.25) < 1e-12)
  }

  @Test("order: pairs of one block, ties by τ-b")
  func order() {
    func agreement(_ a: [Int], _ b: [Int]) -> Double? {
      // Block 1, position 4 + i written in step a[i], b[i].
      pair(block(a), block(b)).orderAgreement
    }
    #expect(agreement([0, 1, 2, 3], [0, 1, 2, 3]) == 1)
    #expect(agreement([0, 1, 2, 3], [3, 2, 1, 0]) == -1)
    // One of six pairs is the other way round.
    #expect(abs((agreement([0, 1, 2, 3], [1, 0, 2, 3]) ?? 0) - 4.0 / 6) < 1e-12)
    // One pair is tied in the candidate, the other five agree: 5 / √(6 · 5).
    #expect(abs((agreement([0, 1, 2, 3], [0, 0, 1, 2]) ?? 0) - 5 / 30.0.squareRoot()) < 1e-12)
    // Without an order in one there is none to agree with; without one in both they are the same.
    #expect(agreement([0, 1, 2, 3], [0, 0, 0, 0]) == nil)
    #expect(agreement([0, 0, 0, 0], [0, 0, 0, 0]) == 1)
    // Blocks that come one after the other say nothing.
    let reversed = output(
      [10, 11, 12, 13], [(0, 0, 2, [3: 11]), (0, 1, 1, [2: 10]), (1, 0, 4, [5: 13]), (1, 1, 3, [4: 12])])
    let forward = output(
      [10, 11, 12, 13], [(0, 0, 2, [2: 10]), (0, 1, 1, [3: 11]), (1, 0, 4, [4: 12]), (1, 1, 3, [5: 13])])
    #expect(pair(forward, reversed).orderAgreement == -1)
  }

  @Test("an edited position counts where it was last written")
  func edited() {
    let edits = output([10, 11], [(0, 0, 2, [2: 9, 3: 11]), (0, 1, 0, [2: 10]), (0, 2, 0, [:])])
    let straight = output([10, 11], [(0, 0, 2, [3: 11]), (0, 1, 1, [2: 10]), (0, 2, 0, [:])])
    #expect(pair(edits, straight).orderAgreement == 1)
    // A step that commits nothing and is missing in the other.
    let short = output([10, 11], [(0, 0, 2, [3: 11]), (0, 1, 1, [2: 10])])
    #expect(pair(straight, short).divergence?.position == nil && pair(straight, short).divergence?.step == 2)
    #expect(pair(short, straight).divergence == pair(straight, short).divergence)
  }

  @Test("edit distance counts insertions, deletions and replacements against the longer output")
  func editDistance() {
    func distance(_ a: [Int], _ b: [Int]) -> Double { pair(output(a, []), output(b, [])).editDistance }
    #expect(distance([1, 2, 3], [1, 3]) == 1.0 / 3)
    #expect(distance([1, 3], [1, 2, 3]) == 1.0 / 3)
    #expect(distance([1, 2, 3, 4], [2, 3, 4, 5]) == 0.5)
    #expect(distance([1, 2], [3, 4]) == 1 && distance([], [3]) == 1 && distance([], []) == 0)
    // kitten, sitting
    #expect(distance([11, 9, 20, 20, 5, 14], [19, 9, 20, 20, 9, 14, 7]) == 3.0 / 7)
  }

  @Test("stops, and how many of them changed")
  func stops() throws {
    var stopped = plain
    stopped.stopped = true
    let document = try json([pair(stopped, plain), pair(stopped, stopped), pair(plain, plain), pair(plain, stopped)])
    #expect(number(document, "stopped.reference") == 0.5 && number(document, "stopped.candidate") == 0.5)
    #expect(number(document, "stopped.changed") == 0.5)
  }

  @Test("examples: those that diverge first, token by token, at most four")
  func examples() throws {
    let other = output([10, 11, 12, 99], [(0, 0, 2, [2: 10, 3: 11]), (1, 0, 4, [4: 12]), (1, 1, 3, [5: 99])])
    let document = try json([pair(plain, plain), pair(plain, other)])
    let examples = (document["examples"]?.array ?? []).compactMap(\.object)
    try #require(examples.count == 2)
    #expect(examples[0]["prompt"] == "<1><2>" && examples[0]["prompt_tokens"] == [1, 2])
    #expect(value(examples[0], "candidate.text") == "<10><11><12><99>")
    #expect(number(examples[0], "candidate.forwards") == 3)
    let tokens = try #require(value(examples[0], "candidate.tokens")?.array)
    #expect(tokens[0] == ["text": "<10>", "forward": 0, "block": 0, "same": true])
    #expect(tokens[3] == ["text": "<99>", "forward": 2, "block": 1, "same": false])
    #expect(value(examples[0], "reference.tokens")?.array?[3].object?["same"] == false)
    #expect(number(examples[0], "divergence.position") == 5 && examples[1]["divergence"] == .null)
    #expect(try json(Array(repeating: pair(plain, plain), count: 6))["examples"]?.array?.count == 4)
  }

  /// Block 1 whole, position 4 + i written in step `steps[i]`.
  private func block(_ steps: [Int]) -> BlockDiffusion.Output {
    let records = (0...(steps.max() ?? 0)).map { step in
      let offsets = steps.indices.filter { steps[$0] == step }
      let masked = steps.count { $0 >= step }
      return (1, step, masked, Dictionary(uniqueKeysWithValues: offsets.map { (4 + $0, 20) }))
    }
    return output([20, 20, 20, 20], records)
  }
}
