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
    ? try PackWeights(path: path, cacheBudget: 1 << 30) : try CheckpointWeights(directory: path)
}

/// Multiplications of a weight with an activation, norms and attention left out.
///
/// - Parameters:
///   - rows: that go through the layers.
///   - head: rows of logits.
func multiplications(with weights: any WeightSource, rows: Int, head: Int) -> Double {
  let c = weights.configuration
  var sum = 0.0
  for item in LLaDA2MoE.items(c, has: weights.hasTensor) {
    switch item {
    case .tensor(let tensor) where tensor.role == .head: sum += Double(tensor.shape.elementCount * head)
    case .tensor(let tensor) where tensor.role != .embedding: sum += Double(tensor.shape.elementCount * rows)
    case .expert(_, _, let projections):
      let chosen = Double(rows * c.expertsPerToken) / Double(c.expertCount)
      sum += chosen * projections.reduce(0) { $0 + Double($1.shape.elementCount) }
    case .tensor: break
    }
  }
  return sum
}
