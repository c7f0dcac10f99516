import JSON
import Models
import TestSupport
import Testing

/// What `config.json` of SDAR means, and what of it is refused (`Formats/sdar.md` §1). What is computed, the golden runs tell.
@Suite struct SDARTests {
  private func read(_ changes: [(String, JSONValue?)] = []) throws -> ModelConfiguration {
    let text = String(decoding: try contents(of: Trained.checkpoint("sdar") + "/config.json"), as: UTF8.self)
    let config = try #require(try JSONParser.parse(text).object)
    var changed = JSONObject()
    for member in config.members where !changes.contains(where: { $0.0 == member.key }) { changed.append(member) }
    for case (let key, let value?) in changes { changed.append(.init(key: key, value: value)) }
    return try ModelConfiguration(json: Array(JSONValue.object(changed).text().utf8), path: "config.json")
  }

  @Test("every layer has experts, which a softmax chooses, and blocks are of four")
  func conventions() throws {
    let c = try read()
    #expect(c.conventions == SDAR.conventions && c.blockLength == 4 && c.rotaryDimension == c.headDimension)
    #expect((0..<c.layerCount).allSatisfy(c.isMoE) && c.sharedIntermediateSize == 0 && c.groupCount == 1)
    #expect(try read([("block_size", 32)]).blockLength == 32)
    for off in [
      ("sliding_window", 4096), ("num_shared_experts", .null), ("first_k_dense_replace", .null),
      ("mlp_only_layers", .null),
      ("decoder_sparse_step", .number("1.0")), ("use_sliding_window", nil), ("hidden_act", nil),
    ] as [(String, JSONValue?)] {
      #expect(try read([off]) == c, "\(off)")
    }
    #expect(try read([("partial_rotary_factor", .number("0.5"))]).rotaryDimension == c.headDimension / 2)
  }

  @Test(
    "another model under the same type is refused by its key",
    arguments: [
      ("norm_topk_prob", nil), ("norm_topk_prob", false), ("attention_bias", true), ("use_qkv_bias", true),
      ("decoder_sparse_step", 2), ("mlp_only_layers", [0]), ("use_sliding_window", true), ("use_regular_causal", true),
      ("num_shared_experts", 1), ("first_k_dense_replace", 1), ("hidden_act", "gelu"), ("block_size", 0),
    ] as [(String, JSONValue?)])
  func refusals(key: String, value: JSONValue?) throws {
    do {
      _ = try read([(key, value)])
      Issue.record("accepted \(key)")
    } catch let error as ModelError {
      guard case .configuration(let found, _, _, _) = error else { throw error }
      #expect(found == key)
    }
  }
}
