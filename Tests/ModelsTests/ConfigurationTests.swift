import JSON
import Models
import TestSupport
import Testing

@Suite struct ConfigurationTests {
  private func read(_ json: String) throws(ModelError) -> ModelConfiguration {
    try ModelConfiguration(json: Array(json.utf8), path: "config.json")
  }

  private func refusal(_ json: String) -> ModelError? {
    do throws(ModelError) {
      _ = try read(json)
      return nil
    } catch { return error }
  }

  /// The key at fault, where it stands, and what is said.
  private func refusal(of changes: [String: JSONValue?]) throws -> (key: String?, detail: String, byteOffset: Int?) {
    var tiny = TinyCheckpoint()
    tiny.configChanges = changes
    guard case .configuration(let key, let detail, let path, let byteOffset)? = refusal(tiny.config.text()) else {
      throw TestFailure("accepted \(changes)")
    }
    #expect(path == "config.json")
    return (key, detail, byteOffset)
  }

  @Test func allKeysAreRead() throws {
    var tiny = TinyCheckpoint()
    tiny.configChanges = ["eos_token_id": 3, "mask_token_id": 4, "moe_shared_expert_intermediate_size": 96]
    let c = try read(tiny.config.text())
    #expect((c.vocabularySize, c.hiddenSize, c.intermediateSize, c.layerCount) == (48, 64, 96, 2))
    #expect((c.headCount, c.keyValueHeadCount, c.headDimension, c.rotaryDimension) == (2, 1, 32, 16))
    #expect(
      (c.expertCount, c.expertsPerToken, c.expertIntermediateSize, c.groupCount, c.topGroupCount) == (4, 2, 32, 2, 1))
    #expect((c.sharedExpertCount, c.sharedIntermediateSize, c.firstDenseLayers) == (1, 96, 1))
    #expect((c.routedScalingFactor, c.rmsNormEpsilon, c.ropeTheta, c.partialRotaryFactor) == (2.5, 1e-6, 6e5, 0.5))
    #expect((c.padTokenID, c.eosTokenIDs, c.maskTokenID) == (nil, [3], 4))
    #expect(c.blockRouting == nil && !c.isMoE(layer: 0) && c.isMoE(layer: 1))
  }

  @Test func optionalKeysHaveTheirDefaults() throws {
    var tiny = TinyCheckpoint()
    for key in ["num_shared_experts", "head_dim", "tie_word_embeddings", "use_bias", "use_qkv_bias", "hidden_act"] {
      tiny.configChanges[key] = .some(nil)
    }
    let c = try read(tiny.config.text())
    #expect(c.sharedExpertCount == 0 && c.sharedIntermediateSize == 0 && c.headDimension == 32)
    #expect(!c.tiesWordEmbeddings && !c.usesBias && !c.usesQKVBias)
  }

  @Test func blockRoutingNeedsBothKeys() throws {
    var tiny = TinyCheckpoint()
    tiny.configChanges = ["block_size": 32, "expert_capacity": 3]
    let routing = try #require(try read(tiny.config.text()).blockRouting)
    #expect(routing.blockSize == 32 && routing.expertCapacity == 3)
    tiny.configChanges = ["block_size": 32]
    #expect(try read(tiny.config.text()).blockRouting == nil)
    let beyond = try refusal(of: ["block_size": 32, "expert_capacity": 5])
    #expect(beyond.key == "expert_capacity")
  }

  private static let required = [
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "num_experts", "num_experts_per_tok", "moe_intermediate_size", "first_k_dense_replace",
    "n_group", "topk_group", "routed_scaling_factor", "rms_norm_eps", "rope_theta", "partial_rotary_factor",
    "max_position_embeddings", "model_type",
  ]

  @Test("a missing key is not guessed", arguments: required)
  func missingKey(key: String) throws {
    for value in [nil, JSONValue.null] as [JSONValue?] {
      // These two are counts that may be turned off.
      if value != nil, ["first_k_dense_replace", "n_group"].contains(key) { continue }
      let refusal = try refusal(of: [key: value])
      #expect(refusal.key == key && (value != nil || refusal.byteOffset == nil))
    }
  }

  @Test("a value of another kind is refused where it stands", arguments: required)
  func wrongKind(key: String) throws {
    for value in ["12", true, [], ["a": 1]] as [JSONValue] where key != "model_type" || value.string == nil {
      let refusal = try refusal(of: [key: value])
      let place = try #require(refusal.byteOffset)
      #expect(refusal.key == key)
      var tiny = TinyCheckpoint()
      tiny.configChanges = [key: value]
      #expect(tiny.config.text().utf8.dropFirst(place).starts(with: "\"\(key)\"".utf8))
    }
  }

  @Test(
    "a number outside its range is refused",
    arguments: [
      ("vocab_size", "0"), ("vocab_size", "-1"), ("hidden_size", "1e3"), ("hidden_size", "64.0"),
      ("num_hidden_layers", "99999999999999999999"), ("num_hidden_layers", "4097"), ("num_experts", "65536"),
      ("num_experts_per_tok", "5"), ("num_key_value_heads", "3"), ("first_k_dense_replace", "3"),
      ("first_k_dense_replace", "-1"), ("n_group", "-1"), ("topk_group", "3"), ("rms_norm_eps", "0"),
      ("rms_norm_eps", "-1e-6"), ("rope_theta", "1e999"), ("routed_scaling_factor", "0.0"),
      ("partial_rotary_factor", "1.5"), ("partial_rotary_factor", "1e300"), ("partial_rotary_factor", "0.01"),
      ("num_shared_experts", "-1"), ("max_position_embeddings", "0"), ("pad_token_id", "48"), ("mask_token_id", "48"),
      ("head_dim", "0"), ("rope_theta", "1e300"), ("rope_theta", "1e-300"), ("routed_scaling_factor", "1e39"),
      ("rms_norm_eps", "1e-46"), ("rms_norm_eps", "1e-40"),
    ])
  func outOfRange(key: String, number: String) throws {
    #expect(try refusal(of: [key: .number(number)]).key == key)
  }

  @Test(
    "an assumption of the reference code that the file contradicts is refused",
    arguments: [
      ("hidden_act", "gelu"), ("score_function", "softmax"), ("norm_topk_prob", false), ("router_dtype", "bf16"),
      ("moe_router_enable_expert_bias", false), ("use_sliding_window", true), ("rope_scaling", ["factor": 2]),
      ("norm_head", true), ("norm_softmax", true), ("use_rmsnorm", false), ("model_type", "llama"),
    ] as [(String, JSONValue)])
  func contradiction(key: String, value: JSONValue) throws {
    #expect(try refusal(of: [key: value]).key == key)
  }

  @Test(
    "sizes that do not divide are refused",
    arguments: [
      ("num_key_value_heads", ["num_attention_heads": 3, "num_key_value_heads": 2]),
      ("n_group", ["num_experts": 5]), ("topk_group", ["num_experts_per_tok": 3]),
      ("partial_rotary_factor", ["head_dim": 30]),
    ] as [(String, [String: JSONValue])])
  func divisibility(key: String, changes: [String: JSONValue]) throws {
    #expect(try refusal(of: changes.mapValues { .some($0) }).key == key)
  }

  @Test("what is no object is refused", arguments: ["", "[]", "1", "{", "{\"a\":1,\"a\":2}", "{} x", "\u{FEFF}{}"])
  func noObject(text: String) {
    guard case .configuration(nil, let detail, _, let byteOffset)? = refusal(text) else {
      return #expect(Bool(false), "accepted")
    }
    #expect(!detail.isEmpty && byteOffset != nil)
  }
}
