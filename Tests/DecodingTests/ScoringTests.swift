import Decoding
import Glibc
import Models
import TestSupport
import Testing

/// The block-diffusion bound of continuations, held against what it is said to be (`Formats/score.md` §2).
@Suite struct ScoringTests {
  private struct Pair {
    let context: [Int]
    let continuation: [Int]
  }

  private static let pairs = [(0, 1), (0, 5), (3, 1), (3, 4), (4, 2), (6, 3), (8, 4), (5, 11), (2, 14)].map { c, n in
    Pair(context: (0..<c).map { ($0 * 7 + c) % 40 }, continuation: (0..<n).map { ($0 * 11 + n + c) % 40 })
  }

  private func decoder(_ model: TransformerModel, block: Int) throws -> BlockDiffusion {
    var options = DecodingOptions()
    (options.blockLength, options.steps) = (block, block)
    return try BlockDiffusion(model, options: options, special: ID.special)
  }

  private typealias Scores = [Int: Result<ScoringBatch.Score, DecodingError>]

  private func score(
    _ pairs: [Pair], _ model: TransformerModel, block: Int, draws: MaskDraws, together: Int = .max, passRows: Int = 4096
  ) throws -> Scores {
    var batch = ScoringBatch(try decoder(model, block: block), draws: draws, passRows: passRows)
    var waiting = pairs.indices
    var scores: Scores = [:]
    repeat {
      while let index = waiting.first, batch.count < together {
        try batch.add(index, context: pairs[index].context, continuation: pairs[index].continuation)
        waiting.removeFirst()
      }
      for (index, result) in try batch.advance() { scores[index] = result }
    } while batch.count > 0 || !waiting.isEmpty
    #expect(batch.positions == 0 && batch.share == 0)
    return scores
  }

  /// −ln p of tokens of x at some masked positions of a block, by a pass over all that is before.
  private func losses(
    _ model: TransformerModel, _ x: [Int], masked: Set<Int>, blockStart: Int, block: Int
  ) throws -> [Int: (loss: Double, isBest: Bool)] {
    var canvas = Array(x[..<min(x.count, blockStart + block)])
    canvas += Array(repeating: ID.mask, count: blockStart + block - canvas.count)
    for position in masked { canvas[position] = ID.mask }
    let segment = TransformerModel.Segment(tokens: canvas, start: 0, cache: KeyValueCache(model.configuration))
    let hidden = try model.hiddenStates([segment], blockLength: block)
    let width = model.configuration.hiddenSize
    var found: [Int: (Double, Bool)] = [:]
    for position in masked {
      let logits = model.logits(Array(hidden[position * width..<(position + 1) * width])).map(Double.init)
      let largest = logits.max() ?? 0
      let sum = logits.reduce(0) { $0 + exp($1 - largest) }
      let best = logits.indices.filter { $0 != ID.mask }.max { (logits[$0], $1) < (logits[$1], $0) }
      found[position] = (largest + log(sum) - logits[x[position]], best == x[position])
    }
    return found
  }

  private func permutations(_ items: [Int]) -> [[Int]] {
    items.isEmpty ? [[]] : items.flatMap { first in permutations(items.filter { $0 != first }).map { [first] + $0 } }
  }

  @Test(
    "where all sets of masks are taken, the bound is the mean over all orders of filling a block", arguments: [4, 32])
  func orders(block: Int) throws {
    try withLiveModel { model in
      for pair in Self.pairs where pair.continuation.count <= (block == 4 ? 14 : 5) {
        let x = pair.context + pair.continuation
        var (expected, isGreedy) = (0.0, true)
        for start in stride(from: pair.context.count / block * block, to: x.count, by: block) {
          let scored = Array(max(start, pair.context.count)..<min(start + block, x.count))
          let orders = permutations(scored)
          for order in orders {
            var masked = Set(scored)
            for position in order {
              let loss = try losses(model, x, masked: masked, blockStart: start, block: block)
              expected += (loss[position]?.loss ?? .nan) / Double(orders.count)
              masked.remove(position)
            }
          }
          let whole = try losses(model, x, masked: Set(scored), blockStart: start, block: block)
          isGreedy = isGreedy && whole.values.allSatisfy(\.isBest)
        }
        let score = try #require(
          try score([pair], model, block: block, draws: MaskDraws(count: 31, seed: 0))[0]?.get())
        #expect(abs(score.bound - expected) < 1e-4 * max(1, expected), "\(pair): \(score), \(expected)")
        #expect(score.isExact && score.isGreedy == isGreedy && score.bound > 0)
      }
    }
  }

  @Test("to the last bit, whatever is beside a continuation and however many rows go together")
  func company() throws {
    try withLiveModel(compute: Compute(threads: 2, treatsRowsAlike: true)) { model in
      for (block, count) in [(1, 8), (4, 8), (4, 3), (8, 20), (32, 6)] {
        let draws = MaskDraws(count: count, seed: 3)
        // Some twice, and some of one context side by side.
        let pairs = Self.pairs + Self.pairs + [1, 2, 5].map { Pair(context: [1, 2, 3], continuation: [$0]) }
        let alone = try pairs.map { try score([$0], model, block: block, draws: draws)[0]?.get() }
        for (together, passRows) in [(2, 4096), (5, 32), (.max, 4096), (.max, 1), (.max, 65)] {
          let found = try score(pairs, model, block: block, draws: draws, together: together, passRows: passRows)
          #expect(try pairs.indices.map { try found[$0]?.get() } == alone, "\(together) together, \(passRows) rows")
        }
        let backwards = try score(pairs.reversed(), model, block: block, draws: draws)
        #expect(try pairs.indices.reversed().map { try backwards[$0]?.get() } == alone)
      }
    }
  }

  @Test("states that are equal are computed once: four answers of one token cost one state")
  func sharing() throws {
    try withLiveModel { model in
      var batch = ScoringBatch(try decoder(model, block: 8), draws: MaskDraws(count: 32, seed: 0))
      for (index, token) in [4, 9, 14, 30].enumerated() {
        try batch.add(index, context: Array(0..<19), continuation: [token])
      }
      // And what the state itself takes, as positions.
      let bytes = model.configuration.byteCount(of: .fp32)
      #expect(batch.positions == 16 + 8 + (2 * 8 * 8 + 256 + bytes - 1) / bytes)
      // 16 rows of the context and 8 of one state.
      var passes = 0
      var sums = 0.0
      while batch.count > 0 {
        for (_, result) in try batch.advance() { sums += exp(-(try result.get().bound)) }
        passes += 1
      }
      #expect(passes == 1 && sums > 0 && sums <= 1, "probabilities of different tokens at one position: \(sums)")
    }
  }

  @Test("greedy is what decoding in one forward writes")
  func greedy() throws {
    try withLiveModel { model in
      var options = DecodingOptions()
      (options.blockLength, options.steps, options.generationLength, options.threshold) = (8, 1, 11, 0)
      let decoder = try BlockDiffusion(model, options: options, special: ID.special)
      for context in [[3], [1, 2, 3, 4], Array(5..<18)] {
        let answer = try decoder.decode(prompt: context).tokens
        var pairs = (1...answer.count).map { Pair(context: context, continuation: Array(answer[..<$0])) }
        var wrong = answer
        wrong[answer.count - 1] = (wrong[answer.count - 1] + 1) % 40
        pairs.append(Pair(context: context, continuation: wrong))
        let found = try score(pairs, model, block: 8, draws: MaskDraws(count: 4, seed: 0))
        let expected = answer.map { _ in true } + [false]
        #expect(try pairs.indices.map { try found[$0]?.get().isGreedy } == expected)
      }
    }
  }

  @Test("masks and weights are those of the document, as a transcription of it in Python draws them")
  func masks() {
    func sets(_ scored: Range<Int>, _ start: Int, _ count: Int, _ seed: UInt64) -> [MaskDraws.Masked] {
      MaskDraws(count: count, seed: seed).masked(of: scored, blockStart: start)
    }
    func expected(_ sets: [([Int], Double)]) -> [MaskDraws.Masked] { sets.map { .init(positions: $0.0, weight: $0.1) } }
    #expect(
      sets(3..<9, 0, 4, 0)
        == expected([
          ([6], 1.5), ([7, 8], 0.75), ([4, 5, 7, 8], 0.375), ([3, 4, 5, 7, 8], 0.3), ([3, 4, 5, 6, 7, 8], 0),
        ]))
    #expect(
      sets(37..<43, 32, 8, 7)
        == expected([
          ([38], 0.75), ([40, 41], 0.375), ([39, 40, 42], 0.25), ([38, 39, 40], 0.25), ([39, 40, 41, 42], 0.1875),
          ([37, 38, 39, 40, 41], 0.15), ([37, 38, 39, 40, 41, 42], 0.25),
        ]))
    #expect(
      sets(64..<72, 64, 3, 9_223_372_036_854_775_813)
        == expected([
          ([70], 8.0 / 3), ([67, 68, 69, 70], 8.0 / 12), ([64, 65, 66, 68, 69, 70, 71], 8.0 / 21),
          (Array(64..<72), 0),
        ]))
    #expect(sets(5..<7, 0, 3, 0) == expected([([5], 0.5), ([6], 0.5), ([5, 6], 0.5)]))
    #expect(sets(5..<6, 0, 1, 0) == expected([([5], 1)]))
  }

  @Test("drawn masks have the mean of all of them, whatever is summed")
  func unbiased() {
    func sum(_ sets: [MaskDraws.Masked]) -> Double {
      sets.reduce(0) { sum, masked in
        let size = Double(masked.positions.count)
        return sum + masked.weight * masked.positions.reduce(0) { $0 + Double($1 + 1) * size * size.squareRoot() }
      }
    }
    for (n, count) in [(6, 4), (6, 8), (7, 32)] {
      let exact = sum(MaskDraws(count: 1 << n, seed: 0).masked(of: 0..<n, blockStart: 0))
      let drawn = (0..<2000).map { sum(MaskDraws(count: count, seed: $0).masked(of: 0..<n, blockStart: 0)) }
      let mean = drawn.reduce(0, +) / Double(drawn.count)
      let deviation = (drawn.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(drawn.count)).squareRoot()
      #expect(abs(mean - exact) < 4 * deviation / Double(drawn.count).squareRoot(), "\(n), \(count)")
    }
  }

  @Test func whatCannotBeScoredIsRefused() throws {
    try withLiveModel { model in
      var batch = ScoringBatch(try decoder(model, block: 4), draws: MaskDraws(count: 4, seed: 0))
      let limit = model.configuration.maximumPositions
      #expect(throws: DecodingError.emptyContinuation) { try batch.add(0, context: [1], continuation: []) }
      #expect(throws: DecodingError.tokenOutOfRange(id: 48, index: 1, vocabulary: 48)) {
        try batch.add(0, context: [1], continuation: [48])
      }
      #expect(throws: DecodingError.tokenOutOfRange(id: -1, index: 0, vocabulary: 48)) {
        try batch.add(0, context: [-1], continuation: [4])
      }
      #expect(throws: DecodingError.maskInPrompt(index: 2)) {
        try batch.add(0, context: [1, 2], continuation: [ID.mask])
      }
      #expect(throws: DecodingError.tooLong(positions: (limit + 4) / 4 * 4, limit: limit)) {
        try batch.add(0, context: Array(repeating: 1, count: limit), continuation: [4])
      }
      #expect(batch.count == 0 && batch.positions == 0)
      #expect(throws: DecodingError.interrupted) {
        try batch.add(0, context: [1], continuation: [4])
        _ = try batch.advance { true }
      }
    }
  }
}
