import Conversion
import JSON
import Kernels
import Models
import Pack
import TestSupport
import Testing

/// A pack whose configuration and tensors do not belong together.
@Suite struct PackWeightsTests {
  /// What opening says of a pack whose `config.json` was replaced, hashes and all.
  private func refusal(config changes: [String: JSONValue?]) throws -> ModelError? {
    try withTemporaryDirectory { directory in
      var tiny = TinyCheckpoint()
      // Room for the keys that take the place of others.
      tiny.configChanges = ["filler": .string(String(repeating: "x", count: 400))]
      try tiny.write(to: directory)
      var options = ConversionPlan.Options()
      options.recipe = Recipe(experts: .keep, rest: .keep)
      options.tool = "ingot test"
      let plan = try ConversionPlan(checkpoint: directory, options: options)
      let path = directory + "/tiny.ingot"
      _ = try Converter(plan, kernels: .best, threads: 1, memoryLimit: 1 << 30)
        .write(to: path, progress: { _ in }, isInterrupted: { false })
      _ = try StoredWeights(path: path, cacheBudget: 0)

      tiny.configChanges = changes
      var config = Array(tiny.config.text(indented: false).utf8)
      var pack = PackBytes(try contents(of: path))
      let file = try PackFile(path: path).files.first { $0.name == "source/config.json" }
      let range = pack.chunkRange(try #require(file).chunk)
      config += Array(repeating: UInt8(ascii: " "), count: range.count - config.count)
      pack.bytes.replaceSubrange(range, with: config)
      pack.seal()
      try write(pack.bytes, to: path)
      do throws(ModelError) {
        _ = try StoredWeights(path: path, cacheBudget: 0)
        return nil
      } catch { return error }
    }
  }

  @Test("where chunks are checked, a damaged one is refused each time that it is come to")
  func damageIsNotForgotten() throws {
    try withTemporaryDirectory { directory in
      try TinyCheckpoint().write(to: directory)
      var options = ConversionPlan.Options()
      options.recipe = Recipe(experts: .keep, rest: .keep)
      let plan = try ConversionPlan(checkpoint: directory, options: options)
      let path = directory + "/tiny.ingot"
      _ = try Converter(plan, kernels: .best, threads: 1, memoryLimit: 1 << 30)
        .write(to: path, progress: { _ in }, isInterrupted: { false })
      let layer = plan.model.configuration.firstDenseLayers
      let chunk = try #require(try PackFile(path: path).chunks().first { $0.kind == .expert && $0.layer == layer })
      var bytes = try contents(of: path)
      bytes[chunk.byteRange.upperBound - 1] ^= 1
      try write(bytes, to: path)
      let weights = try StoredWeights(path: path, checksChunks: true)
      for _ in 0..<2 {
        #expect(throws: ModelError.self) { try weights.expert(layer: layer, expert: 0) }
      }
    }
  }

  @Test("more experts than the pack has tensors are refused before they are named")
  func manyExperts() throws {
    let refusal = try refusal(
      config: ["num_hidden_layers": 4096, "num_experts": 65535, "n_group": 1, "topk_group": 1])
    guard case .layout(1, let detail, _)? = refusal else {
      return #expect(Bool(false), "\(String(describing: refusal))")
    }
    #expect(detail.contains("805"))
  }

  @Test(
    "tensors that the configuration leaves out are refused by name",
    arguments: [
      (["num_hidden_layers": 1], 23), (["num_experts": 2, "n_group": 1], 6), (["num_shared_experts": 0], 3),
    ] as [([String: JSONValue], Int)])
  func unused(changes: [String: JSONValue], count: Int) throws {
    let refusal = try refusal(config: changes.mapValues { .some($0) })
    switch refusal {
    case .unknownTensors(let names, count, _)? where names.count == min(count, 5): break
    // The gate has a row for each expert.
    case .packedShape(let name, _, _, _)? where changes["num_experts"] != nil: #expect(name.contains("mlp.gate"))
    default: Issue.record("\(String(describing: refusal))")
    }
  }
}
