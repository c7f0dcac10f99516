import Conversion
import Kernels
import Models
import Storage
import Tensors
import TestSupport
import Testing

@Suite struct RoundedWeightsTests {
  @Test("each number of codes and scale is rounded once, and all else stays", arguments: ["int4-g32", "int8-g32s8"])
  func rounded(encoding: String) throws {
    try withTemporaryDirectory { directory in
      try TinyCheckpoint().write(to: directory)
      var options = ConversionPlan.Options()
      options.recipe.experts = try #require(Recipe.Choice(name: encoding))
      options.recipe.rest = try #require(Recipe.Choice(name: "int8-g32"))
      let plan = try ConversionPlan(checkpoint: directory, options: options)
      let converter = try Converter(plan, kernels: .best, threads: 1, memoryLimit: 1 << 30)
      _ = try converter.write(to: directory + "/out.ingot", progress: { _ in }, isInterrupted: { false })
      let stored = try StoredWeights(path: directory + "/out.ingot")
      #expect(stored.arithmetic == .fp32)
      for budget in [0, 1 << 20] {
        let weights = RoundedWeights(stored, kernels: .best, cacheBudget: budget)
        #expect(weights.arithmetic == .bf16Weights)
        for item in stored.items where !item.isExpert {
          let (a, b) = try (weights.matrix(item.id), stored.matrix(item.id))
          #expect(a.encoding == (b.encoding.isGrouped ? .bf16 : b.encoding))
          #expect(numbers(a) == numbers(b).map { b.encoding.isGrouped ? BFloat16.widen(BFloat16.narrow($0)) : $0 })
        }
        for expert in [0, 3, 0] {
          let (a, b) = try (weights.expert(layer: 1, expert: expert), stored.expert(layer: 1, expert: expert))
          for (x, y) in [(a.gate, b.gate), (a.up, b.up), (a.down, b.down)] {
            let exact = numbers(y)
            #expect(numbers(x) == exact.map { BFloat16.widen(BFloat16.narrow($0)) } && numbers(x) != exact)
          }
        }
      }
    }
  }

  private func numbers(_ matrix: Matrix) -> [Float] {
    (0..<matrix.rows).flatMap { Compute(threads: 1).row($0, of: matrix) }
  }
}
