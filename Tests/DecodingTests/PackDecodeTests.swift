import Conversion
import Decoding
import Kernels
import Models
import Pack
import TestSupport
import Testing

/// The golden prompts from packs.
@Suite(.serialized) struct PackDecodeTests {
  /// Runs of `decode.json` that are taken: every so many.
  private static let strides = ["pico": 2, "nano": 7]

  private func outputs(_ model: String, _ weights: any WeightSource) throws -> [BlockDiffusion.Output] {
    let golden = try GoldenRuns(model)
    let loaded = try TransformerModel(weights, compute: Compute(threads: 2))
    return try stride(from: 0, to: golden.runs.count, by: Self.strides[model] ?? 1).map { number in
      let run = golden.runs[number]
      return try BlockDiffusion(loaded, options: run.options, special: golden.special).decode(prompt: run.prompt)
    }
  }

  private func pack(_ model: String, experts: String, _ compression: Compression, to path: String) throws {
    var options = ConversionPlan.Options()
    options.recipe = Recipe(experts: try #require(Recipe.Choice(name: experts)), rest: .keep)
    options.compression = compression
    options.tool = "ingot test"
    let plan = try ConversionPlan(checkpoint: Trained.checkpoint(model), options: options)
    let converter = try Converter(plan, kernels: .best, threads: 2, memoryLimit: 1 << 30)
    _ = try converter.write(to: path, progress: { _ in }, isInterrupted: { false })
  }

  @Test(
    "experts kept in bf16 give the same tokens, records and probabilities, raw and compressed, with any cache",
    arguments: Trained.models)
  func kept(model: String) throws {
    let expected = try outputs(model, StoredWeights(path: Trained.checkpoint(model)))
    try withTemporaryDirectory { directory in
      let path = directory + "/kept.ingot"
      try pack(model, experts: "keep", .none, to: path)
      #expect(try outputs(model, StoredWeights(path: path, cacheBudget: 0)) == expected)
      try pack(model, experts: "keep", .zstd, to: path)
      let c = try StoredWeights(path: path, cacheBudget: 0).configuration
      let oneExpert = 3 * 2 * c.hiddenSize * c.expertIntermediateSize + 4096
      for budget in [0, oneExpert, 1 << 30] {
        let weights = try StoredWeights(path: path, cacheBudget: budget)
        #expect(try outputs(model, weights) == expected, "a cache of \(budget)")
        let counters = weights.counters
        #expect(counters.experts > 0 && counters.bytesRead > 0)
        // With room for one, the next expert has always taken its place.
        if budget == 0 { #expect(counters.hits == 0) }
        if budget == 1 << 30 { #expect(counters.hits > counters.experts / 2) }
      }
    }
  }

  @Test(
    "experts in eight and four bits run to an end",
    arguments: ["int8-g32", "int4-g32"])
  func quantized(experts: String) throws {
    try withTemporaryDirectory { directory in
      let path = directory + "/q.ingot"
      try pack("pico", experts: experts, .zstd, to: path)
      let found = try outputs("pico", StoredWeights(path: path, cacheBudget: 1 << 20))
      #expect(found.allSatisfy { !$0.tokens.isEmpty && $0.forwards > 0 })
      let probabilities = found.flatMap(\.steps).flatMap(\.commits).map(\.probability)
      #expect(probabilities.allSatisfy { $0 > 0 && $0 <= 1.0001 })
    }
  }
}
