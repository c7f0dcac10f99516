import JSON
import Models
import TestSupport
import Testing

/// What every family must keep.
@Suite struct ArchitectureTests {
  private func configuration(of family: any Architecture.Type) throws -> ModelConfiguration {
    let files =
      [Array(TinyCheckpoint().config.text().utf8)]
      + (try ["sdar", "ling"].map { try contents(of: Trained.checkpoint($0) + "/config.json") })
    let all = try files.map { try ModelConfiguration(json: $0, path: "config.json") }
    return try #require(all.first { family.modelTypes.contains($0.modelType) })
  }

  @Test("names are understood as what they were made of, and mean nothing else in another family")
  func names() throws {
    for family in Architectures.all {
      let configuration = try configuration(of: family)
      let items = family.items(configuration, has: { _ in true })
      for tensor in items.flatMap(\.tensors) {
        #expect(family.names.identify(tensor.name) == tensor.id && Architectures.identify(tensor.name) == tensor.id)
        #expect(family.names.name(of: tensor.id) == tensor.name)
        let passes = family.passesThrough(tensor.name, further: configuration.furtherLayers)
        #expect(!passes)
      }
      #expect(family.layouts.first?.name == "per-expert")
    }
  }

  @Test("a family is told by its type and then by its embedding")
  func families() {
    for family in Architectures.all {
      let embedding = family.names.name(of: TensorID(.embedding, .weight))
      for type in family.modelTypes {
        #expect(Architectures.family(of: type) { $0 == embedding } == family)
      }
    }
    #expect(Architectures.family(of: "qwen3_moe") { _ in true } == nil)
    #expect(Architectures.family(of: nil) { _ in true } == nil)
  }

  @Test(arguments: [
    "model.layers.01.mlp.gate.weight", "model.layers..mlp.gate.weight", "model.layers.1.2.mlp.gate.weight",
    "model.layers.1.mlp.experts.gate_proj", "model.layers.x.mlp.gate.weight", "",
  ])
  func whatIsNoName(name: String) { #expect(Architectures.identify(name) == nil) }
}
