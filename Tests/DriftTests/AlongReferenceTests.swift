import Decoding
import Drift
import JSON
import Testing

@Suite struct AlongReferenceTests {
  private func decision(_ writes: [Int: Int], _ agrees: [Bool]) -> Decision {
    Decision(commits: commits(writes), agrees: agrees)
  }

  @Test("the same decisions everywhere")
  func identical() throws {
    var along = AlongReference()
    let writes = [4: 10, 5: 11]
    for prompt in 0..<3 {
      along.add(
        prompt: prompt, maskRatio: 1, commits: commits(writes), decision: decision(writes, [true, true]), kl: [0, 0])
    }
    let json = try #require(JSONValue(encoding: along.section(seed: 1)).object)
    #expect(number(json, "states") == 3 && number(json, "commits") == 6)
    for key in ["same_positions", "slots", "same_tokens", "same_decision"] { #expect(number(json, "\(key).mean") == 1) }
    #expect(number(json, "kl.mean") == 0 && number(json, "kl.max") == 0)
    #expect(AlongReference().section(seed: 1) == nil)
  }

  @Test("positions, tokens and decisions apart from each other")
  func different() throws {
    var along = AlongReference()
    // The same positions, at one another token.
    along.add(
      prompt: 0, maskRatio: 1, commits: commits([4: 10, 5: 11]), decision: decision([4: 10, 5: 12], [true, false]),
      kl: [0.1, 0.3])
    // One of two positions, the best tokens are the same.
    along.add(
      prompt: 0, maskRatio: 0.5, commits: commits([6: 10, 7: 11]), decision: decision([6: 10], [true, true]),
      kl: [0.2, 0.2])
    // A position more.
    along.add(
      prompt: 1, maskRatio: 0.25, commits: commits([4: 10]), decision: decision([4: 10, 5: 11], [true]), kl: [0.2])
    // Nothing to do, as the reference says; it would edit.
    along.add(prompt: 1, maskRatio: 0, commits: [], decision: decision([4: 9], []), kl: [])
    let json = try #require(JSONValue(encoding: along.section(seed: 1)).object)
    #expect(number(json, "states") == 4 && number(json, "commits") == 5)
    #expect(number(json, "same_positions.mean") == 0.25)
    #expect(number(json, "slots.mean") == 2.5 / 3)
    #expect(number(json, "same_tokens.mean") == 0.8)
    #expect(number(json, "same_decision.mean") == 0)
    #expect(abs((number(json, "kl.mean") ?? 0) - 0.2) < 1e-12)
    #expect(number(json, "kl.median") == 0.2 && number(json, "kl.max") == 0.3)
    let quarters = try #require(json["by_mask_ratio"]?.array)
    #expect(
      quarters == [
        ["from": num(0), "to": num(0.25), "states": 2, "same_positions": num(0), "same_tokens": num(1)],
        ["from": num(0.25), "to": num(0.5), "states": 1, "same_positions": num(0), "same_tokens": num(1)],
        ["from": num(0.5), "to": num(0.75), "states": 0, "same_positions": .null, "same_tokens": .null],
        ["from": num(0.75), "to": num(1), "states": 1, "same_positions": num(1), "same_tokens": num(0.5)],
      ])
  }

  private func num(_ value: Double) -> JSONValue { JSONValue(value) }
}
