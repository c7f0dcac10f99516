import JSON
import Models
import TestSupport
import Testing

/// What `config.json` of Ling means, what of it is refused, and the layers that are not run (`Formats/ling.md` §1, §2). What is
/// computed, the golden runs tell.
@Suite struct LingTests {
  private func config(_ changes: [(String, JSONValue?)] = []) throws -> [UInt8] {
    let text = String(decoding: try contents(of: Trained.checkpoint("ling") + "/config.json"), as: UTF8.self)
    let config = try #require(try JSONParser.parse(text).object)
    var changed = JSONObject()
    for member in config.members where !changes.contains(where: { $0.0 == member.key }) { changed.append(member) }
    for case (let key, let value?) in changes { changed.append(.init(key: key, value: value)) }
    return Array(JSONValue.object(changed).text().utf8)
  }

  private func read(_ changes: [(String, JSONValue?)] = []) throws -> ModelConfiguration {
    try ModelConfiguration(json: config(changes), path: "config.json")
  }

  @Test("it predicts the next token, one after the other, without a mask")
  func conventions() throws {
    let c = try read()
    #expect(c.conventions == Ling.conventions && c.conventions.prediction == .next && c.blockLength == 1)
    #expect(c.maskTokenID == nil && c.blockRouting == nil && c.furtherLayers.count == 1)
    #expect(2 * c.rotaryDimension == c.headDimension && c.groupCount == 4 && c.routedScalingFactor == 2.5)
    #expect(try read([("model_type", "bailing_moe_v2")]).conventions == c.conventions)
    for off in [
      ("block_size", 32), ("expert_capacity", .null), ("score_function", nil), ("norm_head", .null),
      ("use_qk_norm", nil), ("max_window_layers", 7), ("rope_scaling", nil),
    ] as [(String, JSONValue?)] {
      #expect(try read([off]) == c, "\(off)")
    }
    #expect(try read([("num_nextn_predict_layers", .null)]).furtherLayers.isEmpty)
    #expect(try read([("mask_token_id", 3)]).maskTokenID == 3)
  }

  @Test(
    "another model under the same type is refused by its key, such as Ling-lite, which has no groups",
    arguments: [
      ("n_group", nil), ("routed_scaling_factor", nil), ("partial_rotary_factor", nil), ("score_function", "softmax"),
      ("norm_head", true), ("norm_softmax", true), ("norm_topk_prob", false), ("moe_router_enable_expert_bias", false),
      ("use_sliding_window", true), ("hidden_act", "gelu"), ("expert_capacity", 4), ("num_nextn_predict_layers", -1),
      ("num_nextn_predict_layers", 65), ("num_nextn_predict_layers", "1"), ("use_rmsnorm", false),
      ("rope_scaling", ["type": "yarn", "factor": 2]), ("num_experts", nil),
    ] as [(String, JSONValue?)])
  func refusals(key: String, value: JSONValue?) throws {
    do {
      _ = try read([(key, value), ("block_size", 32)])
      Issue.record("accepted \(key)")
    } catch let error as ModelError {
      guard case .configuration(let found, _, _, _) = error else { throw error }
      #expect(found == key)
    }
  }

  @Test("layers that predict further tokens pass through, and those that config.json does not tell are refused")
  func furtherLayers() throws {
    let store = try ModelStore(path: Trained.checkpoint("ling"))
    let isLing = store.architecture == Ling.self
    #expect(isLing)
    #expect(store.passedThrough.count == 39 && store.passedThrough.allSatisfy { $0.name.hasPrefix("model.layers.4.") })
    #expect(!store.tensors.filter { $0.role != nil }.contains { $0.name.hasPrefix("model.layers.4.") })
    let note = store.notes.contains {
      if case .passedThrough(39, _, let parts) = $0 { parts == Ling.otherParts } else { false }
    }
    #expect(note)
    for name in ["model.layers.4", "model.layers.x.enorm.weight", "model.layers.5.enorm.weight", "lm_head.bias"] {
      let passes = Ling.passesThrough(name, further: store.configuration.furtherLayers)
      #expect(!passes, "\(name)")
    }
    try Trained.withVariant(
      of: "ling", files: ["config.json": try config([("num_nextn_predict_layers", 0)])]
    ) { directory in
      do {
        _ = try ModelStore(path: directory)
        Issue.record("accepted tensors of a layer that there is not")
      } catch let error as ModelError {
        guard case .unknownTensors(_, let count, _) = error else { throw error }
        #expect(count == 39)
      }
    }
  }

  @Test("of a name that two families have, the type in config.json decides")
  func type() throws {
    for (type, family) in [("bailing_moe", Ling.self), ("llada2_moe", LLaDA2.self)] as [(String, any Architecture.Type)]
    {
      #expect(Architectures.family(of: type) { _ in true } == family)
    }
  }
}
