import Glibc
import JSON
import Kernels
import Models
import TestSupport

// Under names of their own, so that the reference reads like its formulas.
func exponential(_ x: Double) -> Double { exp(x) }
func power(_ x: Double, _ y: Double) -> Double { pow(x, y) }
func cosine(_ x: Double) -> Double { cos(x) }
func sine(_ x: Double) -> Double { sin(x) }

extension TinyCheckpoint {
  /// Numbers at which everything matters: norms around one, attention far from uniform, scores of experts far apart.
  ///
  /// - Parameter bias: of the experts of each mixture, repeated as needed.
  mutating func enliven(bias: [Float] = [0.5, -0.25, 0, 0.125]) {
    change = { tensors in
      for index in tensors.indices {
        let name = tensors[index].name
        var x = floats(tensors[index].bytes, as: tensors[index].dtype)
        if name.hasSuffix("expert_bias") {
          x = x.indices.map { bias[$0 % bias.count] }
        } else if name.contains("query_layernorm") || name.contains("key_layernorm") {
          x = x.map { 2 + 16 * $0 }
        } else if name.contains("norm") {
          x = x.map { 1 + 8 * $0 }
        } else {
          let scale: Float = name.contains("embeddings") ? 32 : name.contains("mlp.gate.") ? 12 : 6
          x = x.map { $0 * scale }
        }
        tensors[index].bytes = x.flatMap { elementBytes($0, as: tensors[index].dtype) }
      }
    }
  }
}

/// Writes a checkpoint, maps it and runs `body`.
func withModel<Result>(
  _ tiny: TinyCheckpoint, kernels: KernelSet = .best, _ body: (TransformerModel) throws -> Result
) throws -> Result {
  try withTemporaryDirectory { directory in
    try tiny.write(to: directory)
    let weights = try StoredWeights(path: directory)
    return try body(TransformerModel(weights, compute: Compute(kernels: kernels, threads: 1)))
  }
}

/// Tokens of the tiny vocabulary, from a seed.
func someTokens(_ count: Int, seed: UInt64 = 3) -> [Int] {
  var random = SeededRandom(seed: seed)
  return (0..<count).map { _ in Int(random.next() % 48) }
}

extension TransformerModel {
  /// One sequence from position 0 with a cache of its own.
  func hidden(_ tokens: [Int], blockLength: Int, taps: Taps = Taps()) throws -> [Float] {
    let segment = Segment(tokens: tokens, start: 0, cache: KeyValueCache(configuration))
    return try hiddenStates([segment], blockLength: blockLength, taps: taps)
  }
}

/// ‖a − b‖ / ‖b‖.
func relativeDifference(_ a: [Float], _ b: [Double]) -> Double {
  guard a.count == b.count else { return .infinity }
  var (difference, norm) = (0.0, 0.0)
  for (x, y) in zip(a, b) {
    difference += (Double(x) - y) * (Double(x) - y)
    norm += y * y
  }
  return (difference / norm).squareRoot()
}
