import Decoding
import Models
import Testing

/// Many sequences in rounds give what each gives alone.
@Suite struct TogetherTests {
  private static let prompts = [3, 1, 8, 21, 10, 4].map { count in (0..<count).map { ($0 * 7 + count) % 40 } }

  @Test(
    "every decoder, with and without a cache, however many sequences are under work", arguments: CacheTests.decoders)
  func decoders(decoder: DecodingOptions.Decoder) throws {
    try withLiveModel { model in
      for (blockLength, usesCache) in [(1, true), (4, true), (4, false), (32, true)] {
        var options = DecodingOptions()
        options.decoder = decoder
        (options.blockLength, options.steps, options.usesCache) = (blockLength, blockLength, usesCache)
        (options.generationLength, options.threshold) = (16, 0.2)
        let decoding = try BlockDiffusion(model, options: options, special: ID.special)
        let alone = try Self.prompts.map { try decoding.decode(prompt: $0) }
        for positions in [0, 64, 1 << 20] {
          expectSame(try decoding.decodeTogether(prompts: Self.prompts, positions: positions), alone)
        }
      }
    }
  }

  @Test("a round of more rows than go through the layers at once")
  func manyRows() throws {
    try withLiveModel { model in
      let options = DecodingOptions.plain(block: 32, length: 32, threshold: 0)
      let decoding = try BlockDiffusion(model, options: options, special: ID.special)
      let alone = try Self.prompts.map { try decoding.decode(prompt: $0) }
      let copies = Array(repeating: Self.prompts, count: 16).flatMap { $0 }  // 96 of 64 rows, without a cache
      var uncached = options
      uncached.usesCache = false
      let found = try BlockDiffusion(model, options: uncached, special: ID.special).decodeTogether(prompts: copies)
      #expect(found.map(\.tokens) == Array(repeating: alone.map(\.tokens), count: 16).flatMap { $0 })
    }
  }

  @Test("a round counts the passes made and the sequences completed; saying no ends the work")
  func progress() throws {
    try withLiveModel { model in
      let decoding = try BlockDiffusion(model, options: .plain(length: 8), special: ID.special)
      var rounds: [[Int]] = []
      let outputs = try decoding.decodeTogether(prompts: Self.prompts, positions: 32) { forwards, completed in
        rounds.append([forwards, completed])
        return true
      }
      #expect(rounds.last == [outputs.reduce(0) { $0 + $1.forwards }, Self.prompts.count])
      #expect(zip(rounds, rounds.dropFirst()).allSatisfy { $0[0] <= $1[0] && $0[1] <= $1[1] })
      var calls = 0
      #expect(throws: DecodingError.interrupted) {
        _ = try decoding.decodeTogether(prompts: Self.prompts) { _, _ in
          calls += 1
          return calls < 3
        }
      }
      #expect(calls == 3)
    }
  }

  @Test("a prompt that cannot be answered is refused before any round; without prompts there is nothing to do")
  func refusal() throws {
    try withLiveModel { model in
      let decoding = try BlockDiffusion(model, options: .plain(), special: ID.special)
      var calls = 0
      #expect(throws: DecodingError.emptyPrompt) {
        _ = try decoding.decodeTogether(prompts: [[1], []]) { _, _ in
          calls += 1
          return true
        }
      }
      #expect(calls == 0)
      #expect(try decoding.decodeTogether(prompts: []).isEmpty)
    }
  }

  @Test("sequences with options of their own, to the last bit, whatever is beside them", arguments: CacheTests.decoders)
  func company(decoder: DecodingOptions.Decoder) throws {
    try withLiveModel(compute: Compute(threads: 2, treatsRowsAlike: true)) { model in
      let decoders = try [(1, 9), (4, 16), (32, 40)].map { (blockLength, length) in
        var options = DecodingOptions()
        options.decoder = decoder
        (options.blockLength, options.steps, options.generationLength) = (blockLength, blockLength, length)
        (options.threshold, options.temperature) = (0.2, blockLength == 4 ? 0.7 : 0)
        return try BlockDiffusion(model, options: options, special: ID.special)
      }
      func outputs(_ size: Int, passRows: Int) throws -> [BlockDiffusion.Output] {
        var outputs = Array(repeating: BlockDiffusion.Output(), count: Self.prompts.count)
        var batch = DecodingBatch(model, passRows: passRows)
        var waiting = outputs.indices
        repeat {
          while let index = waiting.first, batch.count < size {
            try batch.add(index, prompt: Self.prompts[index], decoders[index % decoders.count])
            waiting.removeFirst()
          }
          for done in try batch.advance() { outputs[done.index] = try done.result.get() }
        } while batch.count > 0 || !waiting.isEmpty
        return outputs
      }
      let alone = try outputs(1, passRows: 4096)
      #expect(alone.allSatisfy { !$0.tokens.isEmpty })
      for (size, passRows) in [(2, 4096), (3, 48), (6, 4096), (6, 1)] {
        #expect(try outputs(size, passRows: passRows) == alone, "\(size) sequences")
      }
    }
  }

  @Test("an answer ends behind the block that ends it, and goes no further than that block")
  func endsAnswer() throws {
    try withLiveModel { model in
      var decoding = try BlockDiffusion(model, options: .plain(block: 4, length: 16), special: ID.special)
      let whole = try decoding.decode(prompt: [3, 1]).tokens
      try #require(whole.count > 8)
      decoding.endsAnswer = { $0.count >= 4 }  // the block that the prompt begins has two of the answer's tokens
      let cut = try decoding.decode(prompt: [3, 1])
      #expect(cut.tokens == Array(whole[..<6]) && !cut.stopped)
      #expect(try decoding.decodeTogether(prompts: [[3, 1]])[0].tokens == cut.tokens)
    }
  }

  @Test("seeds count by sequence: draws are those of a sequence alone")
  func draws() throws {
    try withLiveModel { model in
      var options = DecodingOptions.plain(length: 12, threshold: 0.2)
      (options.temperature, options.seed) = (1, 5)
      let decoding = try BlockDiffusion(model, options: options, special: ID.special)
      expectSame(
        try decoding.decodeTogether(prompts: Self.prompts), try Self.prompts.map { try decoding.decode(prompt: $0) })
    }
  }
}

/// Equal but for the rounding of probabilities: products of more rows are summed in another order.
private func expectSame(
  _ found: [BlockDiffusion.Output], _ expected: [BlockDiffusion.Output],
  sourceLocation: SourceLocation = #_sourceLocation
) {
  #expect(found.map(\.tokens) == expected.map(\.tokens), sourceLocation: sourceLocation)
  #expect(found.map(\.forwards) == expected.map(\.forwards), sourceLocation: sourceLocation)
  #expect(found.map(\.cachePasses) == expected.map(\.cachePasses), sourceLocation: sourceLocation)
  #expect(found.map(\.stopped) == expected.map(\.stopped), sourceLocation: sourceLocation)
  let steps = [found, expected].map { $0.flatMap(\.steps) }
  let paths = steps.map { $0.map { [$0.block, $0.step, $0.masked] + $0.commits.flatMap { [$0.position, $0.token] } } }
  #expect(paths[0] == paths[1], sourceLocation: sourceLocation)
  let commits = steps.map { $0.flatMap(\.commits) }
  let largest = zip(commits[0], commits[1]).map { abs($0.probability - $1.probability) }.max() ?? 0
  #expect(largest < 1e-4, sourceLocation: sourceLocation)
}
