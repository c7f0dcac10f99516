import Glibc
import Kernels
import Models
import Tensors
import Testing

@Suite("attention") struct AttentionTests {
  private static let heads = 6
  private static let groups = 2

  private func attention(_ dimension: Int) -> Attention {
    Attention(headCount: Self.heads, keyValueHeadCount: Self.groups, headDimension: dimension)
  }

  /// Numbers of about 1 in magnitude that repeat late.
  private func numbers(_ count: Int, seed: Int) -> [Float] {
    (0..<count).map { sinf(Float(($0 &* 7919 &+ seed &* 104_729) % 10007)) * 1.5 }
  }

  /// By group: (positions, dimension).
  private struct Cached {
    var keys: [[Float]]
    var values: [[Float]]

    func layer(as type: KeyValueType) -> KeyValueCache.Layer {
      .init(keys: keys.map { KeyValueRows($0, as: type) }, values: values.map { KeyValueRows($0, as: type) })
    }

    /// The numbers that a cache of the type holds.
    func rounded(as type: KeyValueType) -> Cached {
      guard type == .bf16 else { return self }
      let round = { (numbers: [Float]) in numbers.map { BFloat16.widen(BFloat16.narrow($0)) } }
      return Cached(keys: keys.map(round), values: values.map(round))
    }
  }

  private func cached(positions: Int, dimension: Int) -> Cached {
    let count = positions * dimension
    return Cached(
      keys: (0..<Self.groups).map { numbers(count, seed: $0) },
      values: (0..<Self.groups).map { numbers(count, seed: 10 + $0) })
  }

  /// softmax(q · kᵀ / √D) · v in binary64, query by query.
  private func expected(
    _ queries: [Float], rows: Int, _ layer: Cached, start: Int, blockLength: Int, dimension: Int
  )
    -> [Double]
  {
    var output: [Double] = []
    for row in 0..<rows {
      let limit = min(start + rows, ((start + row) / blockLength + 1) * blockLength)
      for head in 0..<Self.heads {
        let group = head / (Self.heads / Self.groups)
        let first = (row * Self.heads + head) * dimension
        let scores = (0..<limit).map { position in
          (0..<dimension).reduce(0.0) {
            $0 + Double(queries[first + $1]) * Double(layer.keys[group][position * dimension + $1])
          } / Double(dimension).squareRoot()
        }
        let largest = scores.max() ?? 0
        let shares = scores.map { exp($0 - largest) }
        let sum = shares.reduce(0, +)
        for channel in 0..<dimension {
          output.append(
            shares.indices.reduce(0.0) {
              $0 + shares[$1] / sum * Double(layer.values[group][$1 * dimension + channel])
            })
        }
      }
    }
    return output
  }

  @Test(
    "each query sees the positions up to the end of its block, in one tile or many",
    arguments: [
      (start: 0, rows: 1, blockLength: 32), (0, 70, 32), (500, 1, 1), (511, 1, 32), (512, 32, 32), (1000, 40, 32),
      (2500, 130, 500),
    ], [20, 24, 128])
  func matches(_ test: (start: Int, rows: Int, blockLength: Int), dimension: Int) {
    let queries = numbers(test.rows * Self.heads * dimension, seed: 99)
    let cached = cached(positions: test.start + test.rows, dimension: dimension)
    // Scores go up to about 2 √D, and their roundings with them.
    let bound = 4e-7 * Double(dimension).squareRoot()
    for (kernels, type) in KernelSet.available.flatMap({ set in KeyValueType.allCases.map { (set, $0) } }) {
      let layer = cached.layer(as: type)
      let expected = expected(
        queries, rows: test.rows, cached.rounded(as: type), start: test.start, blockLength: test.blockLength,
        dimension: dimension)
      var first: [Float]?
      for threads in [1, 2, 7] {
        let found = attention(dimension).apply(
          queries: queries.span, stride: Self.heads * dimension, rows: test.rows, layer: layer, start: test.start,
          blockLength: test.blockLength, compute: Compute(kernels: kernels, threads: threads))
        let error = zip(found, expected).map { abs(Double($0) - $1) }.max() ?? 0
        #expect(error < bound && found.count == expected.count, "\(kernels) \(type)")
        #expect(found == first ?? found, "the bits of \(kernels) do not depend on threads")
        first = found
      }
    }
  }

  @Test("what is not finite in one tile stays so in the end", arguments: KernelSet.available)
  func notFinite(kernels: KernelSet) {
    let dimension = 24
    let queries = numbers(Self.heads * dimension, seed: 99)
    for position in [0, 600, 1199] {
      var cached = cached(positions: 1200, dimension: dimension)
      cached.keys[1][position * dimension] = .nan
      for type in KeyValueType.allCases {
        let found = attention(dimension).apply(
          queries: queries.span, stride: Self.heads * dimension, rows: 1, layer: cached.layer(as: type), start: 1199,
          blockLength: 1, compute: Compute(kernels: kernels, threads: 2))
        let half = found.count / 2
        #expect(found[..<half].allSatisfy(\.isFinite) && found[half...].allSatisfy(\.isNaN), "\(type)")
      }
    }
  }
}
