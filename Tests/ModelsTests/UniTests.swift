import Conversion
import JSON
import Kernels
import Models
import Pack
import Quantization
import Safetensors
import Storage
import Tensors
import TestSupport
import Testing

/// The second family: the language part of LLaDA2.0-Uni, made of pico's tensors.
@Suite struct UniTests {
  private func withUni(_ layout: UniLayout = UniLayout(), _ body: (String) throws -> Void) throws {
    try withTemporaryDirectory { directory in
      try layout.write("pico", to: directory + "/uni")
      try body(directory)
    }
  }

  private func pack(_ directory: String, _ recipe: Recipe, drops: [String] = []) throws -> (ConversionPlan, String) {
    var options = ConversionPlan.Options()
    options.recipe = recipe
    options.drops = drops
    let plan = try ConversionPlan(checkpoint: directory + "/uni", options: options)
    let path = directory + "/uni.ingot"
    _ = try Converter(plan, kernels: .best, threads: 2, memoryLimit: 1 << 30)
      .write(to: path, progress: { _ in }, isInterrupted: { false })
    return (plan, path)
  }

  private struct Pass: Equatable {
    var hidden: [[Float]] = []
    var routes: [[Router.Route]] = []
    var logits: [Float] = []
  }

  /// What the model says of some tokens; of the logits, those of the first tokens of the vocabulary.
  private func pass(_ path: String, vocabulary: Int) throws -> Pass {
    let weights = try StoredWeights(path: path)
    let model = try weights.architecture.makeModel(weights, compute: Compute(threads: 2))
    var pass = Pass()
    var taps = TransformerModel.Taps(hidden: { pass.hidden.append($1) })
    taps.routes = { pass.routes.append($1) }
    let tokens = (0..<40).map { 3 + 7 * $0 % 600 }
    let segment = TransformerModel.Segment(tokens: tokens, start: 0, cache: KeyValueCache(weights.configuration))
    let hidden = try model.hiddenStates([segment], blockLength: 32, taps: taps)
    let logits = model.logits(hidden)
    let width = weights.configuration.vocabularySize
    pass.logits = tokens.indices.flatMap { logits[$0 * width..<$0 * width + vocabulary] }
    return pass
  }

  @Test("the same tensors under other names and in stacks give the same numbers, bit for bit")
  func sameNumbers() throws {
    var layout = UniLayout()
    layout.extraRows = 96
    try withUni(layout) { directory in
      let expected = try pass(Trained.checkpoint("pico"), vocabulary: 640)
      #expect(expected.hidden.count == 5 && expected.routes.count == 3)
      #expect(try pass(directory + "/uni", vocabulary: 640) == expected)
      let (_, path) = try pack(directory, Recipe(experts: .keep, rest: .keep))
      #expect(try pass(path, vocabulary: 640) == expected)
    }
  }

  @Test("a pack holds the same codes as that of the published layout, and other parts byte for byte")
  func packs() throws {
    try withUni { directory in
      let (plan, path) = try pack(directory, Recipe())
      #expect(plan.model.architecture == LLaDA2Uni.self && plan.model.layout?.name == "merged")
      let own = try ModelStore(path: path)
      #expect(
        own.architecture == LLaDA2Uni.self && own.passedThrough.map(\.name) == UniLayout().others.map(\.name).sorted())
      #expect(try PackCheck(path: path).run(threads: 2).violations.isEmpty)
      for other in UniLayout().others {
        let tensor = try #require(own.passedThrough.first { $0.name == other.name })
        #expect(tensor.shape.dimensions == other.dimensions && tensor.type == StoredType(other.dtype))
        #expect(tensor.role == nil && tensor.id == nil)
        let bytes = own.files.places(of: [tensor]).flatMap { $0.bytes.array }
        #expect(bytes == UniLayout.numbers(other.name, byteCount: bytes.count))
        #expect(
          plan.decisions[try #require(plan.sources.firstIndex { $0.name == other.name })].decidedBy.contains("passed"))
      }
      var options = ConversionPlan.Options()
      options.recipe = Recipe()
      let published = try ConversionPlan(checkpoint: Trained.checkpoint("pico"), options: options)
      let picoPath = directory + "/pico.ingot"
      _ = try Converter(published, kernels: .best, threads: 1, memoryLimit: 1 << 30)
        .write(to: picoPath, progress: { _ in }, isInterrupted: { false })
      let pico = try ModelStore(path: picoPath)
      #expect(own.items.count == pico.items.count)
      for item in pico.items {
        for tensor in item.tensors {
          let (a, b) = (try #require(own.tensor(tensor.id)), try #require(pico.tensor(tensor.id)))
          #expect(a.name == UniLayout.name(b.name) && a.type == b.type)
          let bytes = [own.files.places(of: [a]), pico.files.places(of: [b])].map { $0.map { $0.bytes.array } }
          #expect(bytes[0] == bytes[1])
        }
      }
      let provenance = try PackFile(path: path).object(named: "provenance.json")
      #expect(provenance["passed_through"]?.array?.count == 2 && provenance["layout"] == "merged")
    }
  }

  @Test("what is of no other part must have a place")
  func unknown() throws {
    var layout = UniLayout()
    layout.others.append(("model.language_model.mtp.weight", .bf16, [2]))
    try withUni(layout) { directory in
      let error = #expect(throws: ModelError.self) { try ModelStore(path: directory + "/uni") }
      guard case .unknownTensors(["model.language_model.mtp.weight"], 1, _)? = error else {
        return #expect(Bool(false), "\(String(describing: error))")
      }
    }
  }

  @Test(
    "what a pack cannot hold of another part is refused by packing alone, with the way out, and can be left out",
    arguments: [
      ("model.vision.proj.weight", DType.bf16, [2, 3, 1, 2, 2]), ("model.vision.scale", .f32, []),
      ("model.vision.position_ids", .i64, [1, 4]),
    ] as [(String, DType, [Int])])
  func unpackable(name: String, dtype: DType, dimensions: [Int]) throws {
    var layout = UniLayout()
    layout.others.append((name, dtype, dimensions))
    try withUni(layout) { directory in
      let store = try ModelStore(path: directory + "/uni")
      #expect(store.passedThrough.contains { $0.name == name })
      let error = #expect(throws: ModelError.self) { try store.requirePackable() }
      guard case .badTensor(name, let detail, _, _)? = error else {
        return #expect(Bool(false), "\(String(describing: error))")
      }
      #expect(detail.contains("--drop"))
      #expect(throws: ConversionError.self) { try pack(directory, Recipe()) }
      let (plan, path) = try pack(directory, Recipe(), drops: ["^model\\.vision\\."])
      #expect(plan.droppedCount == 1)
      #expect(try ModelStore(path: path).passedThrough.count == 2)
    }
  }

  @Test("of a family that passes nothing through, the same tensor is an error")
  func published() throws {
    try withTemporaryDirectory { directory in
      var tiny = TinyCheckpoint()
      tiny.change = {
        $0.append(.init(name: "model.vision_tower.a", dtype: .bf16, dimensions: [2], bytes: [0, 0, 0, 0]))
      }
      try tiny.write(to: directory)
      #expect(throws: ModelError.self) { try ModelStore(path: directory) }
    }
  }
}
