import Decoding
import Testing

/// LLaDA2.1 (llada2.md §4.4), with hand-made probabilities.
@Suite struct EditingRuleTests {
  @Test("what was written may be edited in the next step; a pass that changes nothing ends the block and is kept")
  func editing() throws {
    let (output, script) = try run(.editing(length: 8), prompt: [1, 1, 1, 1]) { pass, offset in
      pass.block == 1 && pass.number >= 1 && offset == 2 ? [6: 0.9] : [5: 0.9]
    }
    #expect(output.steps.map { $0.commits.map(\.position) } == [[4, 5, 6, 7], [6], [], [8, 9, 10, 11], []])
    #expect(output.tokens == [5, 5, 6, 5, 5, 5, 5, 5])
    // P18: the verification pass saw the final tokens; no other pass is made for them.
    #expect(script.finished == [1] && script.accepted == [2] && output.cachePasses == 1)
  }

  @Test("both sets come from the block before the step: what is unmasked now is not edited now")
  func oldBlock() throws {
    let (output, script) = try run(.editing(threshold: 0.8), prompt: [1, 1, 1, 1]) { pass, offset in
      // Offset 0 is written first, then changed in the step that writes offset 1.
      switch (pass.number, offset) {
      case (0, 0): [5: 0.9]
      case (1, 0): [6: 0.9]
      case (1, 1): [5: 0.9]
      case (0, _), (1, _): [7: 0.1]
      default: [pass.tokens[offset] == ID.mask ? 7 : pass.tokens[offset]: 0.9]
      }
    }
    #expect(
      output.steps.map { $0.commits.map { [$0.position, $0.token] } } == [
        [[4, 5]], [[4, 6], [5, 5]], [[6, 7], [7, 7]], [],
      ])
    #expect(script.passes[1].tokens == [5, ID.mask, ID.mask, ID.mask])
    #expect(output.steps.map(\.masked) == [4, 3, 2, 0])
  }

  @Test("the prompt is protected by position: it is not even predicted, and equal tokens behind it may change")
  func promptProtected() throws {
    let (output, script) = try run(.editing(length: 2), prompt: [5, 5, 5, 5, 5, 5]) { pass, _ in
      pass.number == 0 ? [5: 0.9] : [6: 0.9]
    }
    #expect(output.tokens == [6, 6])
    #expect(script.passes.allSatisfy { $0.offsets == [2, 3] && $0.tokens[..<2] == [5, 5] })
  }

  @Test("P26: an editing threshold of 0 edits wherever the best token differs")
  func zeroThreshold() throws {
    let (output, _) = try run(.editing(threshold: 0.5, edit: 0), prompt: [1, 1, 1, 1]) { pass, _ in
      pass.number == 0 ? [5: 0.9] : [6: 0.05]
    }
    #expect(output.tokens == [6, 6, 6, 6] && output.forwards == 3)
    #expect(DecodingOptions.speed21.decoder == .editing(threshold: 0, maximumPostSteps: 16))
    #expect(DecodingOptions.speed21.threshold == 0.5 && DecodingOptions.quality21.threshold == 0.7)
    #expect(DecodingOptions.quality21.decoder == .editing(threshold: 0.5, maximumPostSteps: 16))
  }

  @Test("P8: an edit must be above its threshold, too")
  func strictEditing() throws {
    let equal = try run(.editing(edit: 0.5), prompt: [1, 1, 1, 1]) { pass, _ in
      pass.number == 0 ? [5: 0.9] : [6: 0.5, 7: 0.5]
    }
    #expect(equal.output.tokens == [5, 5, 5, 5] && equal.output.forwards == 2)
    let above = try run(.editing(edit: 0.499), prompt: [1, 1, 1, 1]) { pass, _ in
      pass.number == 0 ? [5: 0.9] : [6: 0.5, 7: 0.5]
    }
    #expect(above.output.tokens == [6, 6, 6, 6])
  }

  @Test(
    "after the last mask at most so many more passes are made; their result is not taken for verified",
    arguments: [0, 1, 3])
  func postSteps(limit: Int) throws {
    let (output, script) = try run(.editing(length: 8, post: limit), prompt: [1, 1, 1, 1]) { pass, _ in
      [5 + pass.number % 2: 0.9]
    }
    #expect(output.forwards == 2 * (1 + limit) && script.accepted.isEmpty && script.finished == [1, 2])
    #expect(output.tokens == Array(repeating: 5 + limit % 2, count: 8))
  }

  @Test("without confidence one mask a step is filled")
  func progress() throws {
    let (output, _) = try run(.editing(edit: 0.9), prompt: [1, 1, 1, 1]) { _, offset in [5: 0.1 + 0.1 * Float(offset)] }
    #expect(output.steps.map { $0.commits.map(\.position) } == [[7], [6], [5], [4], []])
  }

  @Test("eos stops between blocks, not within one: it may still be edited", arguments: [false, true])
  func stop(stopsEarly: Bool) throws {
    var options = DecodingOptions.editing(length: 12)
    options.stopsEarly = stopsEarly
    let (output, script) = try run(options, prompt: [1, 1, 1, 1]) { pass, offset in
      if pass.block == 1 { return pass.number == 0 && offset == 0 ? [ID.eos: 0.9] : [5: 0.9] }
      return offset == 1 ? [ID.eos: 0.9] : [6: 0.9]
    }
    #expect(output.tokens == [5, 5, 5, 5, 6, ID.eos] && output.stopped)
    #expect(script.passes.map(\.block) == [1, 1, 1, 2, 2])
  }

  @Test("P10: an edit never writes the mask")
  func noMaskByEdit() throws {
    let (output, _) = try run(.editing(), prompt: [1, 1, 1, 1]) { pass, _ in
      pass.number == 0 ? [5: 0.9] : [ID.mask: 0.9, 5: 0.05]
    }
    #expect(output.tokens == [5, 5, 5, 5] && output.forwards == 2)
  }
}
