import Models
import Tensors

/// Random ids of tokens, the same in each run of a program.
struct Tokens {
  private let vocabulary: Int
  private var state: UInt64 = 1

  init(vocabulary: Int) { self.vocabulary = vocabulary }

  mutating func next(_ count: Int) -> [Int] {
    (0..<count).map { _ in
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % vocabulary
    }
  }
}

/// A pack, or a directory with a checkpoint.
func openWeights(_ path: String) throws(ModelError) -> any WeightSource {
  path.hasSuffix(".ingot")
    ? try StoredWeights(path: path, cacheBudget: 1 << 30) : try StoredWeights(path: path)
}
