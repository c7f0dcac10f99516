import Kernels
import Models
import TestSupport
import Testing

@Suite struct LayerwiseRunnerTests {
  @Test("many sequences layer by layer give what each gives alone, and each expert is read at most once a layer")
  func manySequences() throws {
    let weights = try CheckpointWeights(directory: Trained.checkpoint("pico"))
    let model = try LLaDA2Model(weights, compute: Compute(kernels: .best, threads: 2))
    var random = SeededRandom(seed: 7)
    let sequences = [40, 1, 96, 33].map { count in (0..<count).map { _ in Int.random(in: 0..<600, using: &random) } }
    var alone: [Float] = []
    for tokens in sequences {
      let segment = LLaDA2Model.Segment(tokens: tokens, start: 0, cache: KeyValueCache(model.configuration))
      alone += try model.hiddenStates([segment], blockLength: 32)
    }
    let before = weights.counters.experts
    var layers: [Int] = []
    let together = try LayerwiseRunner(model, blockLength: 32).hiddenStates(sequences) {
      layers.append($0)
      return true
    }
    #expect(weights.counters.experts - before <= 3 * 16)
    #expect(layers == [1, 2, 3, 4])
    let found = try #require(together)
    #expect(found.count == alone.count)
    // Sums of more tokens run in another order.
    for (a, b) in zip(found, alone) { #expect(abs(a - b) <= 1e-4 * max(1, abs(b))) }
  }

  @Test func stopping() throws {
    let model = try LLaDA2Model(
      CheckpointWeights(directory: Trained.checkpoint("pico")), compute: Compute(kernels: .best, threads: 1))
    #expect(try LayerwiseRunner(model, blockLength: 32).hiddenStates([[1, 2, 3]]) { $0 < 2 } == nil)
  }
}
