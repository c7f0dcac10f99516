package import JSON
import Safetensors
import Storage
package import Tensors

/// A LLaDA2 checkpoint of a few kilobytes, made from a seed. Every layout holds the same numbers.
package struct TinyCheckpoint {
  package enum Layout: String, CaseIterable, Sendable {
    case perExpert = "per-expert"
    case merged
    case mergedWeight = "merged-weight"
    case fused, w13
  }

  package enum Shards: Sendable, CaseIterable { case single, fromZero, fromOne }

  /// A tensor of the checkpoint as it will lie in a file.
  package struct Stored: Equatable {
    package var name: String
    package var dtype: DType
    package var dimensions: [Int]
    package var bytes: [UInt8]
    package init(name: String, dtype: DType, dimensions: [Int], bytes: [UInt8]) {
      self.name = name
      self.dtype = dtype
      self.dimensions = dimensions
      self.bytes = bytes
    }
  }

  package var seed: UInt64 = 1
  package var layout = Layout.perExpert
  package var dtype = DType.bf16
  package var expertBiasDType = DType.f32
  package var shards = Shards.single
  package var hidden = 64
  package var width = 32
  package var denseWidth = 96
  package var vocabulary = 48
  package var heads = 2
  package var keyValueHeads = 1
  /// Of the two layers, those that are no mixtures.
  package var denseLayers = 1
  package var experts = 4
  package var sharedExperts = 1
  package var hasQKNorm = true
  package var isTied = false
  package var hasHead = true
  package var usesBias = false
  package var usesQKVBias = false
  /// Keys of `config.json` that are set, or removed where nil.
  package var configChanges: [String: JSONValue?] = [:]
  /// Changes the tensors before they are written.
  package var change: (inout [Stored]) -> Void = { _ in }
  /// Small files beside `config.json`.
  package var files: [(name: String, bytes: [UInt8])] = [
    ("tokenizer.json", Array(#"{"version":"1.0","model":{"vocab":{}}}"#.utf8)),
    ("tokenizer_config.json", Array("{}".utf8)),
    ("chat_template.jinja", [0x7B, 0x25, 0x0D, 0x0A, 0x00, 0xFF, 0x20]),
  ]

  package init() {}

  package static let projections = ["gate_proj", "up_proj", "down_proj"]

  package var config: JSONValue {
    let standard: JSONValue = [
      "model_type": "llada2_moe", "vocab_size": JSONValue(vocabulary), "hidden_size": JSONValue(hidden),
      "intermediate_size": JSONValue(denseWidth), "num_hidden_layers": 2, "num_attention_heads": JSONValue(heads),
      "num_key_value_heads": JSONValue(keyValueHeads), "head_dim": 32, "hidden_act": "silu",
      "use_qkv_bias": .bool(usesQKVBias),
      "use_bias": .bool(usesBias), "rms_norm_eps": .number("1e-06"), "tie_word_embeddings": .bool(isTied),
      "max_position_embeddings": 128, "rope_theta": 600000, "rope_scaling": .null,
      "partial_rotary_factor": .number("0.5"), "num_experts": JSONValue(experts),
      "num_shared_experts": JSONValue(sharedExperts), "num_experts_per_tok": 2, "n_group": 2, "topk_group": 1,
      "routed_scaling_factor": .number("2.5"), "norm_topk_prob": true, "score_function": "sigmoid",
      "moe_router_enable_expert_bias": true, "moe_intermediate_size": JSONValue(width),
      "first_k_dense_replace": JSONValue(denseLayers),
    ]
    var object = JSONObject()
    for member in standard.object?.members ?? [] {
      switch configChanges[member.key] {
      case nil: object.append(member)
      case .some(nil): break
      case .some(let value?): object.append(.init(key: member.key, value: value))
      }
    }
    for (key, value) in configChanges.sorted(by: { $0.key < $1.key }) {
      if let value { object.append(.init(key: key, value: value)) }
    }
    return .object(object)
  }

  /// The tensors by their published names, whatever the layout.
  package var published: [Stored] {
    var all: [Stored] = []
    func add(_ name: String, _ dimensions: [Int], _ dtype: DType) {
      all.append(Stored(name: name, dtype: dtype, dimensions: dimensions, bytes: numbers(name, dimensions, dtype)))
    }
    func addMLP(_ prefix: String, _ width: Int) {
      for projection in Self.projections {
        add(prefix + projection + ".weight", projection == "down_proj" ? [hidden, width] : [width, hidden], dtype)
      }
    }
    add("model.word_embeddings.weight", [vocabulary, hidden], dtype)
    let rows = (heads + 2 * keyValueHeads) * 32
    for layer in 0..<2 {
      let prefix = "model.layers.\(layer)."
      add(prefix + "input_layernorm.weight", [hidden], dtype)
      add(prefix + "attention.query_key_value.weight", [rows, hidden], dtype)
      if usesQKVBias { add(prefix + "attention.query_key_value.bias", [rows], dtype) }
      if hasQKNorm {
        add(prefix + "attention.query_layernorm.weight", [32], dtype)
        add(prefix + "attention.key_layernorm.weight", [32], dtype)
      }
      add(prefix + "attention.dense.weight", [hidden, heads * 32], dtype)
      if usesBias { add(prefix + "attention.dense.bias", [hidden], dtype) }
      add(prefix + "post_attention_layernorm.weight", [hidden], dtype)
      guard layer >= denseLayers else {
        addMLP(prefix + "mlp.", denseWidth)
        continue
      }
      add(prefix + "mlp.gate.weight", [experts, hidden], dtype)
      add(prefix + "mlp.gate.expert_bias", [experts], expertBiasDType)
      for expert in 0..<experts { addMLP(prefix + "mlp.experts.\(expert).", width) }
      if sharedExperts > 0 { addMLP(prefix + "mlp.shared_experts.", width * sharedExperts) }
    }
    add("model.norm.weight", [hidden], dtype)
    if hasHead { add("lm_head.weight", [vocabulary, hidden], dtype) }
    return all
  }

  /// The tensors as the layout has them.
  package var stored: [Stored] {
    var all = published
    if layout != .perExpert {
      let experts = all.filter { $0.name.contains(".mlp.experts.") }
      all.removeAll { $0.name.contains(".mlp.experts.") }
      all += stack(experts)
    }
    change(&all)
    return all
  }

  private func stack(_ tensors: [Stored]) -> [Stored] {
    let byName = Dictionary(uniqueKeysWithValues: tensors.map { ($0.name, $0) })
    func stacked(_ name: String, _ projections: [String], _ dimensions: [Int]) -> Stored {
      let prefix = "model.layers.1.mlp."
      let bytes = (0..<experts).flatMap { expert in
        projections.flatMap { byName["\(prefix)experts.\(expert).\($0).weight"]?.bytes ?? [] }
      }
      return Stored(name: prefix + name, dtype: dtype, dimensions: dimensions, bytes: bytes)
    }
    switch layout {
    case .perExpert: return tensors
    case .merged, .mergedWeight:
      return Self.projections.map { projection in
        let shape = projection == "down_proj" ? [experts, hidden, width] : [experts, width, hidden]
        return stacked("experts.\(projection)" + (layout == .merged ? "" : ".weight"), [projection], shape)
      }
    case .fused, .w13:
      let names = layout == .fused ? ["w1", "w2"] : ["experts.w13_weight", "experts.w2_weight"]
      return [
        stacked(names[0], ["gate_proj", "up_proj"], [experts, 2 * width, hidden]),
        stacked(names[1], ["down_proj"], [experts, hidden, width]),
      ]
    }
  }

  /// Roughly normal numbers that depend on the seed and the name alone.
  private func numbers(_ name: String, _ dimensions: [Int], _ dtype: DType) -> [UInt8] {
    let hash = name.utf8.reduce(UInt64(0xCBF2_9CE4_8422_2325)) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
    var random = SeededRandom(seed: seed ^ hash)
    let count = dimensions.reduce(1, *)
    var writer = ByteWriter(capacity: count * dtype.byteCount)
    for _ in 0..<count { appendElement(random.normal() / 32, as: dtype, to: &writer) }
    return writer.bytes
  }

  /// Writes the checkpoint into a directory.
  package func write(to directory: String) throws {
    let tensors = stored.map { stored in
      guard let shape = Shape(stored.dimensions) else { fatalError("a test's shape") }
      return SafetensorsWriter.Tensor(name: stored.name, dtype: stored.dtype, shape: shape) { stored.bytes }
    }
    try TestSupport.write(Array(config.text().utf8), to: directory + "/config.json")
    for file in files { try TestSupport.write(file.bytes, to: "\(directory)/\(file.name)") }
    guard shards != .single else { return try SafetensorsWriter.write(tensors, to: directory + "/model.safetensors") }

    var map = JSONObject()
    for shard in 0..<3 {
      let number = shards == .fromZero ? shard : shard + 1
      let name = "model-0000\(number)-of-00003.safetensors"
      let mine = tensors.enumerated().filter { $0.offset % 3 == shard }.map(\.element)
      for tensor in mine { map.append(.init(key: tensor.description.name, value: .string(name))) }
      try SafetensorsWriter.write(mine, to: "\(directory)/\(name)")
    }
    let index: JSONValue = ["weight_map": .object(map)]
    try TestSupport.write(Array(index.text().utf8), to: directory + "/model.safetensors.index.json")
  }
}

/// The little-endian bytes of a number as an element of this type.
package func elementBytes(_ value: Float, as dtype: DType) -> [UInt8] {
  var writer = ByteWriter()
  appendElement(value, as: dtype, to: &writer)
  return writer.bytes
}

private func appendElement(_ value: Float, as dtype: DType, to writer: inout ByteWriter) {
  switch dtype {
  case .bf16: writer.append(BFloat16.narrow(value))
  case .f16: writer.append(Float16(value).bitPattern)
  case .f32: writer.append(value)
  default: writer.zeros(dtype.byteCount)
  }
}

/// The numbers of bytes that hold floats of this type.
package func floats(_ bytes: [UInt8], as dtype: DType) -> [Float] {
  stride(from: 0, to: bytes.count, by: dtype.byteCount).map { start in
    let bits = (0..<dtype.byteCount).reduce(UInt32(0)) { $0 | UInt32(bytes[start + $1]) << UInt32(8 * $1) }
    switch dtype {
    case .bf16: return BFloat16.widen(UInt16(bits))
    case .f16: return Float(Float16(bitPattern: UInt16(bits)))
    default: return Float(bitPattern: bits)
    }
  }
}
