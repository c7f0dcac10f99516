import JSON
import Models
import Safetensors
import Storage
import Tensors
import TestSupport
import Testing

@Suite struct ModelStoreTests {
  private func open(_ tiny: TinyCheckpoint, in directory: String) throws -> ModelStore {
    try tiny.write(to: directory)
    return try ModelStore(path: directory)
  }

  private func refusal(of change: (inout TinyCheckpoint) -> Void) throws -> ModelError {
    var tiny = TinyCheckpoint()
    change(&tiny)
    return try withTemporaryDirectory { directory in
      do {
        _ = try open(tiny, in: directory)
        throw TestFailure("accepted")
      } catch let error as ModelError { return error }
    }
  }

  private func names(_ model: ModelStore) -> [String] { model.tensors.map(\.name) }

  /// The bytes that a model finds for each published name.
  private func bytes(_ model: ModelStore) -> [String: [UInt8]] {
    var found: [String: [UInt8]] = [:]
    for tensor in model.tensors { found[tensor.name] = model.files.places(of: [tensor]).flatMap { $0.bytes.array } }
    return found
  }

  @Test("every layout gives the same bytes under the published names", arguments: TinyCheckpoint.Layout.allCases)
  func layouts(layout: TinyCheckpoint.Layout) throws {
    for (shards, dtype) in [(TinyCheckpoint.Shards.single, DType.bf16), (.fromZero, .f16), (.fromOne, .f32)] {
      var tiny = TinyCheckpoint()
      (tiny.layout, tiny.shards, tiny.dtype) = (layout, shards, dtype)
      tiny.expertBiasDType = dtype
      try withTemporaryDirectory { directory in
        let model = try open(tiny, in: directory)
        #expect(model.layout?.name == layout.rawValue)
        let published = Dictionary(uniqueKeysWithValues: tiny.published.map { ($0.name, $0.bytes) })
        #expect(bytes(model) == published)
        #expect(names(model).count == published.count)
      }
    }
  }

  @Test func aLayerMayHaveItsOwnLayout() throws {
    // Two mixture layers, the second one stacked.
    var tiny = TinyCheckpoint()
    tiny.configChanges = ["first_k_dense_replace": 0]
    tiny.change = { tensors in
      tensors.removeAll { $0.name.hasPrefix("model.layers.0.mlp.") }
      var merged = TinyCheckpoint()
      merged.layout = .fused
      for var tensor in merged.stored where tensor.name.hasPrefix("model.layers.1.mlp.") {
        tensor.name = tensor.name.replacing("layers.1", with: "layers.0")
        tensors.append(tensor)
      }
    }
    try withTemporaryDirectory { directory in
      let model = try open(tiny, in: directory)
      let found = bytes(model)
      #expect(model.layout?.name == "fused")
      for projection in TinyCheckpoint.projections {
        let suffix = ".mlp.experts.3.\(projection).weight"
        #expect(found["model.layers.0" + suffix] == found["model.layers.1" + suffix])
      }
    }
  }

  @Test func theOrderIsThatOfTheForwardPass() throws {
    try withTemporaryDirectory { directory in
      let found = names(try open(TinyCheckpoint(), in: directory))
      #expect(
        found.first == "model.word_embeddings.weight" && found.suffix(2) == ["model.norm.weight", "lm_head.weight"])
      let prefix = "model.layers.1.mlp.experts.2."
      let gate = try #require(found.firstIndex(of: prefix + "gate_proj.weight"))
      #expect(found[gate + 1] == prefix + "up_proj.weight" && found[gate + 2] == prefix + "down_proj.weight")
    }
  }

  @Test func optionalTensorsAreFoundByTheirPresence() throws {
    var tiny = TinyCheckpoint()
    (tiny.hasQKNorm, tiny.isTied, tiny.hasHead, tiny.sharedExperts) = (false, true, false, 0)
    (tiny.usesBias, tiny.usesQKVBias) = (true, true)
    try withTemporaryDirectory { directory in
      let model = try open(tiny, in: directory)
      let found = Set(names(model))
      #expect(!found.contains("model.layers.0.attention.query_layernorm.weight"))
      #expect(!found.contains("lm_head.weight") && !found.contains { $0.contains("shared_experts") })
      #expect(found.contains("model.layers.1.attention.dense.bias"))
      #expect(found.contains("model.layers.1.attention.query_key_value.bias"))
      let roles = Dictionary(grouping: model.tensors) { $0.role }
      #expect(roles[.bias]?.count == 4 && roles[.router]?.count == 2 && roles[.expert]?.count == 12)
      #expect(model.architecture.protectedRoles.isSuperset(of: [.bias, .router, .norm]))
    }
  }

  @Test func tiedEmbeddingsMayComeWithAHead() throws {
    var tiny = TinyCheckpoint()
    tiny.isTied = true
    try withTemporaryDirectory { directory in
      let found = names(try open(tiny, in: directory))
      #expect(found.contains("lm_head.weight"))
    }
  }

  @Test(
    "a tensor that is not there is named",
    arguments: [
      "model.norm.weight", "lm_head.weight", "model.word_embeddings.weight", "model.layers.1.mlp.gate.expert_bias",
      "model.layers.1.attention.key_layernorm.weight", "model.layers.1.mlp.experts.3.up_proj.weight",
      "model.layers.1.mlp.experts.0.down_proj.weight", "model.layers.0.mlp.gate_proj.weight",
    ])
  func missingTensor(name: String) throws {
    let error = try refusal { $0.change = { tensors in tensors.removeAll { $0.name == name } } }
    guard case .missingTensor(name, _) = error else { return #expect(Bool(false), "\(error)") }
  }

  @Test func aStackWithoutItsPartnerIsNamed() throws {
    let error = try refusal {
      $0.layout = .w13
      $0.change = { tensors in tensors.removeAll { $0.name.hasSuffix("w13_weight") } }
    }
    guard case .missingTensor("model.layers.1.mlp.experts.w13_weight", _) = error else {
      return #expect(Bool(false), "\(error)")
    }
  }

  @Test func tensorsWithoutAPlaceAreNamedAndCounted() throws {
    let error = try refusal {
      $0.change = { tensors in
        for index in 0..<7 {
          tensors.append(.init(name: "extra.\(index)", dtype: .bf16, dimensions: [1], bytes: [0, 0]))
        }
      }
    }
    guard case .unknownTensors(let names, 7, _) = error else { return #expect(Bool(false), "\(error)") }
    #expect(names == (0..<5).map { "extra.\($0)" })
  }

  @Test(
    "a tensor of another shape is refused",
    arguments: [
      ("model.norm.weight", [8, 8]), ("lm_head.weight", [64, 48]), ("model.layers.1.mlp.gate.weight", [2, 128]),
      ("model.layers.1.mlp.experts.1.down_proj.weight", [32, 64]), ("model.norm.weight", [1, 64]),
    ])
  func wrongShape(name: String, dimensions: [Int]) throws {
    let error = try refusal {
      $0.change = { tensors in
        for index in tensors.indices where tensors[index].name == name { tensors[index].dimensions = dimensions }
      }
    }
    guard case .badTensor(name, let detail, let path, let byteOffset) = error else {
      return #expect(Bool(false), "\(error)")
    }
    #expect(detail.contains("\(dimensions)") && path.hasSuffix("model.safetensors") && byteOffset > 8)
  }

  @Test(
    "types we cannot keep are refused by name", arguments: [DType.f8e4m3, .f8e5m2, .i8, .f64, .bool])
  func unsupportedType(dtype: DType) throws {
    let name = "model.layers.1.mlp.experts.1.up_proj.weight"
    let error = try refusal {
      $0.change = { tensors in
        for index in tensors.indices where tensors[index].name == name {
          tensors[index].dtype = dtype
          tensors[index].bytes = [UInt8](repeating: 0, count: 32 * 64 * dtype.byteCount)
        }
      }
    }
    guard case .badTensor(name, let detail, _, _) = error else { return #expect(Bool(false), "\(error)") }
    #expect(detail.contains(dtype.name) && detail.contains("scales are missing") == dtype.name.hasPrefix("F8"))
  }

  @Test("what lies beside the weights is told and left alone")
  func besideTheWeights() throws {
    var tiny = TinyCheckpoint()
    tiny.shards = .fromOne
    let adapters = [
      "Style.LORA", "adapter_config.json", "adapter_model.bin", "adapter_model.safetensors",
      "pytorch_lora_weights.safetensors",
    ]
    let others = [
      "consolidated.00.pth", "consolidated.safetensors.index.json", "global_step500",
      "model-00001-of-00009.safetensors",
      "model.gguf", "optimizer.pt", "original", "pytorch_model.bin.index.json", "rng_state_0.pth", "scheduler.pt",
      "trainer_state.json", "training_args.bin",
    ]
    try withTemporaryDirectory { directory in
      try tiny.write(to: directory)
      try makeDirectory(directory + "/original")
      try makeDirectory(directory + "/global_step500")
      let ordinary = ["README.md", "modeling_llada2_moe.py", ".gitattributes", "merges.txt"]
      for name in adapters + others + ordinary where !exists("\(directory)/\(name)") {
        try write([], to: "\(directory)/\(name)")
      }
      #expect(try ModelStore(path: directory).notes == [.adapter(adapters), .leftAlone(others)])
    }
  }

  @Test("a number of a GGUF is one, and is that of config.json", arguments: [2, 3, nil], [4, 8, 9] as [UInt32])
  func numbersOfAGGUF(value: UInt32?, type: UInt32) throws {
    var header = ByteWriter()
    func append(_ text: String) {
      header.append(UInt64(text.utf8.count))
      header.append(Array(text.utf8))
    }
    header.append(Array("GGUF".utf8))
    header.append(UInt32(3))
    header.append(UInt64(0))
    header.append(UInt64(value == nil ? 1 : 2))
    append("general.architecture")
    header.append(UInt32(8))
    append("x")
    if let value {
      append("x.block_count")
      header.append(type)
      switch type {
      case 4: header.append(value)
      case 8: append("layers: \(value)")
      default:
        header.append(UInt32(4))
        header.append(UInt64(1))
        header.append(value)
      }
    }
    let bytes = header.bytes
    try withTemporaryDirectory { directory in
      try write(Array(TinyCheckpoint().config.text().utf8), to: directory + "/config.json")
      try write(bytes, to: directory + "/x.gguf")
      do throws(ModelError) { _ = try ModelStore(path: directory) } catch {
        switch error {
        case .missingTensor: #expect(value == nil || value == 2 && type == 4)
        case .otherModel(let key, _, _): #expect(key == "num_hidden_layers" && (value == 3 || type != 4))
        default: throw error
        }
        return
      }
      throw TestFailure("accepted")
    }
  }

  @Test func whatGPTQLeftBesidePlainFloatsSaysNothing() throws {
    var tiny = TinyCheckpoint()
    tiny.files.append(("quantize_config.json", Array(#"{"bits":99}"#.utf8)))
    try withTemporaryDirectory { directory in
      try tiny.write(to: directory)
      #expect(try !ModelStore(path: directory).tensors.isEmpty)
    }
  }

  @Test("experts that are there twice are refused", arguments: TinyCheckpoint.Layout.allCases.dropFirst())
  func twoLayouts(layout: TinyCheckpoint.Layout) throws {
    let error = try refusal {
      $0.layout = layout
      $0.change = { tensors in
        tensors += TinyCheckpoint().published.filter { $0.name.contains(".experts.") }
      }
    }
    guard case .layout(1, let detail, _) = error else { return #expect(Bool(false), "\(error)") }
    #expect(detail.contains("per-expert and \(layout.rawValue)"))
  }
}
