import Inspection
import Models
import Safetensors
import TestSupport
import Testing

@Suite struct NameCollapseTests {
  private func collapse(_ names: [String]) -> [String] {
    TensorFamily.collapse(names).map { "\($0.name) ×\($0.count)" }
  }

  @Test func layersAndExpertsBecomeOneLine() {
    let names = (1...19).flatMap { layer in (0..<256).map { "model.layers.\(layer).mlp.experts.\($0).gate_proj.weight" }
    }
    #expect(collapse(names.reversed()) == ["model.layers.{1…19}.mlp.experts.{0…255}.gate_proj.weight ×4864"])
  }

  @Test func aHoleCutsTheProduct() {
    #expect(collapse(["l.0.e.0", "l.0.e.1", "l.1.e.0", "l.2.e.0", "l.2.e.1"]) == ["l.{0,2}.e.{0…1} ×4", "l.1.e.0 ×1"])
  }

  @Test func numbersInARowAreOneRun() {
    #expect(collapse(["a.0", "a.1", "a.2", "a.5", "a.7", "a.8"]) == ["a.{0…2,5,7…8} ×6"])
    #expect(collapse(["a.0", "a.2", "a.4", "a.6", "a.8"]) == ["a.{0,2,4,…,8} ×5"])
  }

  @Test func onlyWholeCanonicalNumbersCount() {
    #expect(collapse(["a.01", "a.1", "a.w1", "a.-1", "a."]) == ["a. ×1", "a.-1 ×1", "a.01 ×1", "a.w1 ×1", "a.1 ×1"])
    #expect(collapse(["..1", "..2", ""]) == [" ×1", "..{1…2} ×2"])
  }

  @Test func aNameFullOfNumbersIsNoWork() {
    let name = "a" + String(repeating: ".1", count: 100_000)
    #expect(collapse([name]) == ["\(name) ×1"])
  }

  @Test func otherShapesAreOtherFamilies() throws {
    try withTemporaryDirectory { directory in
      let path = directory + "/t.safetensors"
      try writeFloats(
        [
          ("a.0", shape(2), [0, 0]), ("a.1", shape(2), [0, 0]), ("a.2", shape(1), [0]),
          ("lm_head.weight", shape(1), [0]),
        ], to: path)
      let families = TensorFamily.families(of: try InspectedModel(path: path).tensors)
      #expect(families.map(\.name) == ["lm_head.weight", "a.{0…1}", "a.2"])
      #expect(families.map(\.members.count) == [1, 2, 1])
    }
  }

  @Test(arguments: [
    ("model.word_embeddings.weight", TensorRole.embedding), ("lm_head.weight", .head),
    ("model.layers.0.attention.query_key_value.weight", .attention), ("model.norm.weight", .norm),
    ("model.layers.0.attention.query_layernorm.weight", .norm), ("model.layers.0.mlp.up_proj.weight", .denseMLP),
    ("model.layers.1.mlp.gate.expert_bias", .router),
    ("model.layers.1.mlp.shared_experts.up_proj.weight", .sharedExpert),
    ("model.layers.1.mlp.experts.3.up_proj.weight", .expert), ("model.layers.1.mlp.experts.w13_weight", .expert),
    ("model.layers.1.mlp.w1", .expert), ("model.layers.0.attention.dense.bias", .bias),
  ])
  func namesTellTheRole(name: String, role: TensorRole) {
    #expect(TensorRole(guessedFrom: name) == role)
  }

  @Test func otherNamesTellNone() { #expect(TensorRole(guessedFrom: "x") == nil) }
}
