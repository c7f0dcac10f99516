import Decoding
import TestSupport
import Testing

/// LLaDA2.2 (llada2.md §4.5), with hand-made probabilities.
@Suite struct LevenshteinRuleTests {
  private let prompt = [1, 1, 1, 1]
  /// a b c d
  private let letters = [10, 11, 12, 13]

  /// Writes the letters, then one control token at offset 1, then agrees with what stands there; a mask becomes 20.
  private func run(control: Int) throws -> Script {
    try DecodingTests.run(.levenshtein(), prompt: prompt) { [letters] pass, offset in
      if pass.number == 0 { return [letters[offset]: 0.9] }
      if pass.number == 1, offset == 1 { return [control: 0.9] }
      return [pass.tokens[offset] == ID.mask ? 20 : pass.tokens[offset]: 0.9]
    }.script
  }

  @Test("DELETE removes its position and the block is filled with a mask: a b c d becomes a c d M")
  func delete() throws {
    let script = try run(control: ID.delete)
    #expect(script.passes.map(\.tokens).dropFirst() == [[10, 11, 12, 13], [10, 12, 13, ID.mask], [10, 12, 13, 20]])
  }

  @Test("SPLIT makes room before the token that stood there: a b c d becomes a M b c")
  func split() throws {
    let script = try run(control: ID.split)
    #expect(script.passes.map(\.tokens).dropFirst() == [[10, 11, 12, 13], [10, ID.mask, 11, 12], [10, 20, 11, 12]])
  }

  @Test("whether a mask was there at first travels with it: steps after the last of them are counted")
  func marks() throws {
    let (output, script) = try DecodingTests.run(.levenshtein(post: 1), prompt: prompt) { pass, offset in
      switch (pass.number, offset) {
      case (0, 0): [ID.delete: 0.9]  // the three masks behind move to the front, a new one follows
      case (0, _): [20: 0.1]
      case (1, 3): [20: 0.05]  // only the new one stays
      default: [20: 0.9]
      }
    }
    #expect(
      script.passes.map(\.tokens)[1...] == [
        [ID.mask, ID.mask, ID.mask, ID.mask], [20, 20, 20, ID.mask],
      ])
    #expect(output.forwards == 3 && output.tokens == [20, 20, 20, 20])
  }

  @Test("new masks come on top of the schedule; after its end all masks are taken")
  func quota() throws {
    let (output, _) = try DecodingTests.run(.levenshtein(steps: 3), prompt: prompt) { pass, offset in
      pass.number == 0 && offset == 0 ? [ID.delete: 0.9] : [20: 0.1 + 0.01 * Float(offset)]
    }
    // 4 masks over 3 steps: 2 (the DELETE above the threshold is fewer than that), 1, 1. The first step deletes and writes
    // one; then two old masks and a new one are left.
    #expect(output.steps.map(\.commits.count).prefix(2) == [2, 2])
    let all = try DecodingTests.run(.levenshtein(steps: 1), prompt: prompt) { _, _ in [20: 0.1] }
    #expect(all.output.steps[0].commits.count == 4)
  }

  @Test("the last round fills every mask and writes no control token")
  func lastRound() throws {
    for options in [DecodingOptions.levenshtein(most: 1), .levenshtein(post: 0)] {
      let (output, _) = try DecodingTests.run(options, prompt: prompt) { _, offset in
        [offset % 2 == 0 ? ID.split : ID.delete: 0.6, 20: 0.3]
      }
      #expect(output.tokens == [20, 20, 20, 20] && output.forwards == 1)
    }
  }

  @Test("a block that was there before is changed at the least certain of the positions that change")
  func loop() throws {
    let (output, script) = try DecodingTests.run(.levenshtein(post: 4), prompt: prompt) { pass, offset in
      if pass.number == 0 { return [10: 0.9] }
      // Back and forth; position 0 stays and is the least certain of all.
      if offset == 0 { return [10: 0.4, 13: 0.3] }
      return [pass.tokens[offset] == 10 ? 11 : 10: offset == 2 ? 0.5 : 0.8, 12: offset == 2 ? 0.3 : 0.1]
    }
    let seen = script.passes.dropFirst().map(\.tokens) + [output.tokens]
    #expect(Set(seen).count == seen.count, "\(seen)")
    #expect(seen[2] == [10, 10, 12, 10])
  }

  @Test("only the token at hand is banned, so that a second try goes back to the best one")
  func loopTakesTurns() throws {
    // To [11…] and back to [10…], where position 0 would be written again with 10 or 12: both blocks were there.
    let (_, script) = try DecodingTests.run(.levenshtein(post: 16), prompt: prompt) { pass, offset in
      guard offset == 0 else { return [10: 0.9] }
      return switch pass.number {
      case 0: [10: 0.9]
      case 1: [12: 0.9]
      case 2: [11: 0.9]
      default: [10: 0.5, 12: 0.3, 14: 0.1]
      }
    }
    // Five tries between two tokens end with the second one; none reaches 14.
    #expect(script.passes.map(\.tokens[0]).prefix(5) == [ID.mask, 10, 12, 11, 12])
  }

  @Test("a block that leaves a loop by coming back to itself is done")
  func loopBackToItself() throws {
    let (output, _) = try DecodingTests.run(.levenshtein(), prompt: prompt) { pass, offset in
      guard offset == 0 else { return [10: 0.9] }
      return switch pass.number {
      case 0: [10: 0.9]
      case 1: [11: 0.9]
      default: [10: 0.5, 11: 0.3, 14: 0.1]  // the next best is what stands there
      }
    }
    #expect(output.forwards == 3 && output.tokens == [11, 10, 10, 10] && output.steps[2].commits.isEmpty)
  }

  @Test("in the last round a block may be one that was there before")
  func loopInTheLastRound() throws {
    let (output, _) = try DecodingTests.run(.levenshtein(post: 2), prompt: prompt) { pass, offset in
      switch (pass.number, offset) {
      case (1, 0): [11: 0.9]
      case (2, 0): [10: 0.5, 14: 0.4]
      default: [10: 0.9]
      }
    }
    #expect(output.tokens == [10, 10, 10, 10] && output.forwards == 3)
  }

  @Test("without steps for editing, the step that fills the last mask of the beginning is the last one")
  func noPostSteps() throws {
    let (output, script) = try DecodingTests.run(.levenshtein(post: 0), prompt: prompt) { pass, offset in
      if pass.number == 0, offset == 0 { return [ID.delete: 0.9] }
      if pass.number == 0 { return [20 + offset: 0.1] }
      return [ID.split: 0.6, 30 + offset: 0.3]
    }
    // The DELETE moves three masks of the beginning to the front, behind which a new one stands.
    #expect(script.passes.map(\.tokens) == [Array(repeating: ID.mask, count: 4), Array(repeating: ID.mask, count: 4)])
    #expect(output.tokens == [30, 31, 32, 33])
  }

  @Test("in the last round a control token is held against the threshold by its own probability")
  func controlTokensOfTheLastRound() throws {
    for (probability, expected) in [(Float(0.6), 20), (0.4, 10)] {
      var options = DecodingOptions.levenshtein(post: 1)
      options.decoder = .levenshtein(
        .init(delete: ID.delete, split: ID.split), threshold: 0.5, maximumPostSteps: 1, maximumSteps: 1000)
      let (output, _) = try DecodingTests.run(options, prompt: prompt) { pass, offset in
        pass.number == 1 && offset == 1 ? [ID.delete: probability, 20: 0.3, 10: 0.05] : [10: 0.9]
      }
      #expect(output.tokens == [10, expected, 10, 10] && output.forwards == 2)
    }
  }

  @Test("what is edited is the most probable token at any temperature")
  func temperature() throws {
    for seed in 0..<20 as Range<UInt64> {
      var options = DecodingOptions.levenshtein()
      options.temperature = 1
      options.threshold = 0.3
      options.seed = seed
      let (output, _) = try DecodingTests.run(options, prompt: prompt) { pass, offset in
        pass.number == 0 ? [10: 0.6, 11: 0.4] : [20: 0.4, 21: 0.3, 22: 0.3]
      }
      #expect(output.tokens == [20, 20, 20, 20] && output.forwards == 3)
    }
  }

  @Test("a model that always splits is stopped by the cap of steps, and no mask is left", arguments: [(3, 3), (10, 6)])
  func stepCap(most: Int, forwards: Int) throws {
    let (output, _) = try DecodingTests.run(.levenshtein(most: most), prompt: prompt) { _, _ in
      [ID.split: 0.9, 20: 0.05]
    }
    // Without the cap each pass repeats a block but for one position, which takes the next best token; then one more.
    #expect(output.forwards == forwards && output.tokens == [20, 20, 20, 20], "\(output)")
  }

  @Test("the prompt's part of a block is neither written nor scanned, even if it holds control tokens")
  func promptProtected() throws {
    let (output, script) = try DecodingTests.run(.levenshtein(length: 2), prompt: prompt + [ID.delete, ID.split]) {
      pass, _ in pass.number == 0 ? [20: 0.9] : [21: 0.9]
    }
    #expect(script.passes.allSatisfy { $0.tokens[..<2] == [ID.delete, ID.split] && $0.offsets == [2, 3] })
    #expect(output.tokens == [21, 21])
  }

  @Test("any of the stop tokens ends the answer, at the end of a block")
  func stops() throws {
    let special = SpecialTokens(mask: ID.mask, stops: [ID.eos, ID.roleEnd])
    let (output, script) = try DecodingTests.run(.levenshtein(length: 12), prompt: prompt, special: special) {
      _, offset in
      [offset == 2 ? ID.roleEnd : 20: 0.9]
    }
    #expect(output.tokens == [20, 20, ID.roleEnd] && output.stopped)
    #expect(script.accepted.isEmpty && Set(script.passes.map(\.block)) == [1])
  }

  @Test("whatever is predicted, a block ends within its steps, without masks or control tokens of its own")
  func anything() throws {
    for seed in 0..<100 as Range<UInt64> {
      var random = SeededRandom(seed: seed)
      let candidates = [ID.delete, ID.split, 20, 21, ID.mask]
      var options = DecodingOptions.levenshtein(block: 8, length: 8, post: Int(random.next() % 4), most: 30)
      options.temperature = seed % 2 == 0 ? 0 : 1
      let (output, script) = try DecodingTests.run(options, prompt: prompt) { _, _ in
        var given = [candidates[Int(random.next() % 5)]: Float(0.7)]
        let second = candidates[Int(random.next() % 5)]
        given[second] = given[second] ?? 0.2
        return given
      }
      #expect(output.tokens.count == 8 && script.passes.count { $0.block == 0 } <= 30)
      #expect(Set(output.tokens).isDisjoint(with: [ID.mask, ID.delete, ID.split]), "seed \(seed)")
    }
  }
}
