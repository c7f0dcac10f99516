import Safetensors

extension Checkpoint {
  /// Refuses a `config.json` that is not of the model in a GGUF: shapes do not tell how it routes, turns and scales.
  ///
  /// - Throws: ``ModelError/otherModel(key:detail:path:)``.
  func requireMetadata(_ c: ModelConfiguration) throws(ModelError) {
    guard isGGUF, let file = files.first, let family = file.metadata[Self.architectureKey] else { return }
    let known: [(key: String, name: String, value: Double)] = [
      ("block_count", "num_hidden_layers", Double(c.layerCount)),
      ("attention.head_count", "num_attention_heads", Double(c.headCount)),
      ("attention.head_count_kv", "num_key_value_heads", Double(c.keyValueHeadCount)),
      ("attention.layer_norm_rms_epsilon", "rms_norm_eps", c.rmsNormEpsilon),
      ("rope.freq_base", "rope_theta", c.ropeTheta),
      ("rope.dimension_count", "partial_rotary_factor", Double(c.rotaryDimension)),
      ("leading_dense_block_count", "first_k_dense_replace", Double(c.firstDenseLayers)),
      ("expert_used_count", "num_experts_per_tok", Double(c.expertsPerToken)),
      ("expert_weights_scale", "routed_scaling_factor", c.routedScalingFactor),
      ("expert_group_count", "n_group", Double(c.groupCount)),
      ("expert_group_used_count", "topk_group", Double(c.topGroupCount)),
    ]
    for (key, name, value) in known {
      guard let text = file.metadata["\(family).\(key)"] else { continue }
      guard let found = Double(text), abs(found - value) <= abs(value) * 0x1p-20 else {
        throw .otherModel(
          key: name, detail: "gives \(value), but `\(file.name)` says `\(family).\(key)` \(text)",
          path: "\(directory)/config.json")
      }
    }
  }
}
