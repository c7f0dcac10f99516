import Decoding
import Testing

/// LLaDA2.0 (llada2.md §4.2), with hand-made probabilities.
@Suite struct ThresholdRuleTests {
  private let prompt32 = Array(repeating: 1, count: 32)

  @Test(
    "Conformance 1: a step without confidence commits its quota",
    arguments: [
      (32, Array(repeating: 1, count: 32)), (5, [7, 7, 6, 6, 6]), (64, Array(repeating: 1, count: 32)), (1, [32]),
    ])
  func quotas(steps: Int, expected: [Int]) throws {
    let (output, _) = try run(.plain(block: 32, steps: steps, length: 32), prompt: prompt32) { _, _ in [5: 0.3] }
    #expect(output.steps.map(\.commits.count) == expected)
    #expect(output.steps.map(\.masked).first == 32 && output.forwards == expected.count)
  }

  @Test("Conformance 2, P28: 70 prompt tokens and 50 asked for fill blocks 2 and 3 of 128; eight too many are cut")
  func canvas() throws {
    let prompt = (0..<70).map { $0 % 40 }
    let (output, script) = try run(.plain(block: 32, length: 50), prompt: prompt) { _, _ in [5: 0.99] }
    #expect(script.passes.map(\.block) == [2, 3] && script.passes.allSatisfy { $0.canvasCount == 128 })
    #expect(script.passes[0].tokens == Array(prompt[64...]) + Array(repeating: ID.mask, count: 26))
    #expect(script.passes[0].offsets == Array(6..<32))
    #expect(output.steps.reduce(0) { $0 + $1.commits.count } == 58)
    #expect(output.tokens == Array(repeating: 5, count: 50) && !output.stopped)
    #expect(output.steps[0].commits.first?.position == 70)
  }

  @Test("Conformance 3: a prompt of whole blocks is followed by a block of masks, a short one is completed")
  func firstBlock() throws {
    let whole = try run(.plain(block: 32, length: 32), prompt: Array(repeating: 1, count: 64)) { _, _ in [5: 0.99] }
    #expect(whole.script.passes[0].block == 2 && whole.script.passes[0].tokens.allSatisfy { $0 == ID.mask })
    #expect(whole.script.finished == [2])
    let short = try run(.plain(block: 32, length: 8), prompt: Array(repeating: 1, count: 10)) { _, _ in [5: 0.99] }
    #expect(short.script.passes[0].block == 0 && short.script.finished.isEmpty)
  }

  @Test("Conformance 4, P8: a probability equal to the threshold is not above it")
  func strictThreshold() throws {
    let equal = try run(.plain(threshold: 0.5), prompt: [1, 1, 1, 1]) { _, _ in [5: 0.5, 6: 0.5] }
    #expect(equal.output.steps.map(\.commits.count) == [1, 1, 1, 1])
    #expect(equal.output.steps[0].commits[0].probability == 0.5 && equal.output.tokens == [5, 5, 5, 5])
    let above = try run(.plain(threshold: 0.499), prompt: [1, 1, 1, 1]) { _, _ in [5: 0.5, 6: 0.5] }
    #expect(above.output.forwards == 1)
  }

  @Test("more than the quota may be above the threshold; else the most probable go first, of equals the earlier")
  func ranking() throws {
    let probabilities: [Float] = [0.3, 0.6, 0.3, 0.7]
    let (output, _) = try run(.plain(steps: 2), prompt: [1, 1, 1, 1]) { _, offset in [5: probabilities[offset]] }
    #expect(output.steps.map { $0.commits.map(\.position) } == [[5, 7], [4, 6]])
    let many = try run(.plain(threshold: 0.5), prompt: [1, 1, 1, 1]) { _, offset in [5: probabilities[offset]] }
    #expect(many.output.steps.map { $0.commits.map(\.position) } == [[5, 7], [4], [6]])
  }

  @Test("Conformance 8, P9: a stop token in the prompt stops nothing, early or not; the prompt is not returned")
  func stopInPrompt() throws {
    for stopsEarly in [false, true] {
      var options = DecodingOptions.plain(length: 8)
      options.stopsEarly = stopsEarly
      let prompt = [1, ID.eos, 2, ID.eos, ID.eos, 3]
      let (output, _) = try run(options, prompt: prompt) { pass, offset in
        pass.block == 2 && offset == 2 ? [ID.eos: 0.99] : [5: 0.99]
      }
      #expect(output.tokens == [5, 5, 5, 5, ID.eos] && output.stopped)
    }
  }

  @Test("after a block with eos no other is begun; the answer ends with eos")
  func stopAfterBlock() throws {
    let (output, script) = try run(.plain(length: 12), prompt: [1, 1, 1, 1]) { _, offset in
      offset == 1 ? [ID.eos: 0.99] : [5: 0.6]
    }
    #expect(output.tokens == [5, ID.eos] && output.stopped)
    #expect(Set(script.passes.map(\.block)) == [1] && script.passes.count == 4)
  }

  @Test("stopping early waits for the masks before eos, not for those behind it")
  func earlyStop() throws {
    var options = DecodingOptions.plain(length: 12)
    options.stopsEarly = true
    let order: [Float] = [0.6, 0.3, 0.9, 0.1]
    let (output, _) = try run(options, prompt: [1, 1, 1, 1]) { _, offset in
      [offset == 2 ? ID.eos : 5: order[offset]]
    }
    // Only a step that writes eos looks for it (§4.2), so here the block is completed.
    #expect(output.forwards == 4 && output.tokens == [5, 5, ID.eos])
    let later: [Float] = [0.6, 0.9, 0.3, 0.1]
    let ended = try run(options, prompt: [1, 1, 1, 1]) { _, offset in [offset == 2 ? ID.eos : 5: later[offset]] }
    #expect(ended.output.forwards == 3 && ended.output.tokens == [5, 5, ID.eos] && ended.output.stopped)
  }

  @Test("P10: the mask is never predicted, in no decoder; the best other token is, with its share of all")
  func maskNeverPredicted() throws {
    for options in [DecodingOptions.plain(), .editing(), .levenshtein()] {
      let (output, _) = try run(options, prompt: [1, 1, 1, 1]) { _, _ in [ID.mask: 0.75, 5: 0.25] }
      #expect(output.tokens == [5, 5, 5, 5])
      #expect(abs((output.steps[0].commits.first?.probability ?? 0) - 0.25) < 1e-6)
      var drawn = options
      drawn.temperature = 1
      #expect(try !run(drawn, prompt: [1, 1]) { _, _ in [ID.mask: 0.999] }.output.tokens.contains(ID.mask))
    }
  }

  @Test("a short answer changes no quota; its block is still decoded whole")
  func shortAnswer() throws {
    let (output, _) = try run(.plain(block: 32, length: 8), prompt: prompt32) { _, _ in [5: 0.3] }
    #expect(output.tokens.count == 8 && output.forwards == 32)
  }

  @Test("P18: after each block but the last, one more pass over its final tokens is made")
  func cleanPass() throws {
    let (output, script) = try run(.plain(length: 12), prompt: [1, 1, 1, 1, 1]) { _, _ in [5: 0.99] }
    #expect(script.finished == [1, 2, 3, 4] && script.accepted.isEmpty)
    #expect(output.cachePasses == 4 && output.forwards == 4)
  }

  @Test("an observer that says no ends the work")
  func interruption() throws {
    let script = Script(blockLength: 4) { _, _ in [5: 0.3] }
    let decoder = try BlockDiffusion(scriptConfiguration(), options: .plain(), special: ID.special) { script }
    #expect(throws: DecodingError.interrupted) { _ = try decoder.decode(prompt: [1]) { record, _ in record.step < 1 } }
    #expect(script.passes.count == 2)
  }
}
