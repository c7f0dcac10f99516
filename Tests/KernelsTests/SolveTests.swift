import Kernels
import TestSupport
import Testing

/// The calibrated solver's kernels: every set, any number of threads and any cut of the tokens give the same bits. That
/// they are those of `Formats/solver.md` is tested with the golden expert in `QuantizationTests`.
@Suite struct SolveTests {
  /// States whose columns differ in size and go together.
  static func states(tokens: Int, columns: Int, seed: UInt64) -> [Float] {
    var random = SeededRandom(seed: seed)
    let size = (0..<columns).map { _ in Samples.truncated(0.2 + abs(random.normal())) }
    return (0..<tokens).flatMap { _ in
      let common = random.normal()
      return size.map { Samples.truncated($0 * (random.normal() + common)) }
    }
  }

  static func tokenWeights(_ tokens: Int) -> [Float] { (0..<tokens).map { Float($0 % 7) / 8 + 0.01 } }

  static func moments(_ x: [Float], _ columns: Int, _ kernels: KernelSet, threads: Int = 1) -> [Float] {
    let weights = tokenWeights(x.count / columns)
    var h = [Float](repeating: 0, count: columns * columns)
    kernels.addMoments(
      of: Samples.f32(x).rawBytes, as: .f32, weights: weights.span, columns: columns, to: &h, threads: threads)
    KernelSet.mirrorUpper(&h, columns: columns)
    return h
  }

  struct Solved: Equatable {
    var moments: [Float]
    var rows: SolvedRows
    var power: [Double]
  }

  static func solve(
    columns: Int, rows: Int, bits: Int, groupSize: Int, kernels: KernelSet, threads: Int = 1
  ) throws -> Solved {
    var h = moments(states(tokens: 90, columns: columns, seed: 3), columns, kernels, threads: threads)
    for j in 0..<columns { h[j * columns + j] += 0.5 }
    let order = (0..<UInt32(columns)).sorted { (h[Int($0) * (columns + 1)], $1) > (h[Int($1) * (columns + 1)], $0) }
    let factor = try #require(MomentFactor(h, order: order, kernels: kernels, threads: threads))
    let packed = PackedMoments(h, columns: columns, kernels: kernels)
    let weights = Samples.weights(count: rows * columns, seed: 5)
    let range = ScaleRange(
      mantissaBits: bits == 4 ? 7 : 4, hasZero: bits == 4, least: [Float](repeating: 0x1p-17, count: rows),
      most: [Float](repeating: 65280, count: rows))
    var solved = SolvedRows(rows: rows, columns: columns, groupSize: groupSize)
    var whole = solved
    kernels.solve(
      [.searchScales, .feedback, .polish], weights: weights.span, bits: bits, groupSize: groupSize, scaleRange: range,
      moments: packed, factor: factor, rows: &solved, threads: threads)
    kernels.solve(
      .measureWeights, weights: weights.span, bits: bits, groupSize: groupSize, scaleRange: range, moments: packed,
      rows: &whole, threads: threads)
    return Solved(moments: h, rows: solved, power: whole.errors)
  }

  @Test("every set gives the bits of scalar", arguments: KernelSet.available, [16, 32, 64, 128])
  func sets(_ kernels: KernelSet, _ groupSize: Int) throws {
    // Columns that fill panels and blocks, and that do not; rows of one call and of two.
    for (columns, rows) in [(128, 130), (384, 9)] {
      for bits in [4, 8] {
        let expected = try Self.solve(columns: columns, rows: rows, bits: bits, groupSize: groupSize, kernels: scalar)
        let found = try Self.solve(columns: columns, rows: rows, bits: bits, groupSize: groupSize, kernels: kernels)
        #expect(found == expected, "\(columns) columns, int\(bits)")
        #expect(found.rows.codes.contains { $0 != 0 })
      }
    }
  }

  @Test("threads change nothing", arguments: KernelSet.available)
  func threads(_ kernels: KernelSet) throws {
    let expected = try Self.solve(columns: 320, rows: 300, bits: 4, groupSize: 64, kernels: kernels)
    for threads in [2, 7] {
      #expect(
        try Self.solve(columns: 320, rows: 300, bits: 4, groupSize: 64, kernels: kernels, threads: threads) == expected)
    }
  }

  @Test("tokens may come in pieces, and as bf16", arguments: KernelSet.available)
  func pieces(_ kernels: KernelSet) {
    let columns = 208
    let tokens = 600
    let x = Self.states(tokens: tokens, columns: columns, seed: 1)
    let weights = Self.tokenWeights(tokens)
    let whole = Self.moments(x, columns, kernels, threads: 2)
    var h = [Float](repeating: 0, count: columns * columns)
    let bytes = Samples.bf16(x)
    for (start, end) in [(0, 1), (1, 299), (299, 300), (300, 600)] {
      kernels.addMoments(
        of: bytes.rawBytes.extracting(start * columns * 2..<end * columns * 2), as: .bf16,
        weights: weights.span.extracting(start..<end), columns: columns, to: &h)
    }
    KernelSet.mirrorUpper(&h, columns: columns)
    #expect(h == whole)
    #expect(h == Self.moments(x, columns, scalar))
  }

  @Test("an element of the moments is one chain of fused multiply-adds")
  func chain() {
    let columns = 48
    let x = Self.states(tokens: 70, columns: columns, seed: 8)
    let h = Self.moments(x, columns, .available[0])
    let weights = Self.tokenWeights(70)
    for (i, j) in [(0, 0), (3, 40), (47, 47), (12, 31)] {
      var sum: Float = 0
      for t in 0..<70 { sum.addProduct(weights[t] * x[t * columns + i], x[t * columns + j]) }
      #expect(h[i * columns + j] == sum && h[j * columns + i] == sum)
    }
  }

  @Test("products and the gate are the same in every set", arguments: KernelSet.available)
  func products(_ kernels: KernelSet) {
    for (tokens, rows, columns) in [(1, 1, 3), (50, 37, 300), (97, 130, 64)] {
      let x = Self.states(tokens: tokens, columns: columns, seed: 2)
      let w = Samples.weights(count: rows * columns, seed: 9).map { 30 * $0 }
      func product(_ kernels: KernelSet, _ threads: Int) -> [Float] {
        kernels.chainedProduct(
          of: Samples.f32(x).rawBytes, as: .f32, tokens: tokens, with: w.span, rows: rows, columns: columns,
          threads: threads)
      }
      var expected = product(scalar, 1)
      #expect(product(kernels, 1) == expected)
      var found = product(kernels, 3)
      #expect(found == expected)
      kernels.chainedGate(&found, found.reversed())
      scalar.chainedGate(&expected, expected.reversed())
      #expect(found == expected)
    }
  }

  @Test("the gate holds over all magnitudes", arguments: KernelSet.available)
  func gate(_ kernels: KernelSet) {
    let g = (-2000...2000).map { Float($0) / 15 }
    let u = g.map { 1 + $0 / 100 }
    var found = g
    var expected = g
    kernels.chainedGate(&found, u)
    scalar.chainedGate(&expected, u)
    #expect(found.map(\.bitPattern) == expected.map(\.bitPattern))
  }

  @Test("a matrix that is not positive definite has no factor", arguments: KernelSet.available)
  func noFactor(_ kernels: KernelSet) {
    let columns = 200
    var h = [Float](repeating: 0, count: columns * columns)
    for j in 0..<columns { h[j * columns + j] = 1 }
    let order = (0..<UInt32(columns)).map { $0 }
    #expect(MomentFactor(h, order: order, kernels: kernels) != nil)
    for bad: Float in [0, -1, .nan, .infinity] {
      for column in [0, 77, 150, 199] {
        var h = h
        h[column * columns + column] = bad
        #expect(MomentFactor(h, order: order, kernels: kernels) == nil, "\(bad) at \(column)")
      }
    }
  }
}
