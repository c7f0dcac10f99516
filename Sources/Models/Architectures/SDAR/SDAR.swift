import JSON
import Tensors

/// SDAR with a mixture of experts (`Formats/sdar.md`): Qwen3-MoE, of which the positions of a block see each other, so that it is
/// decoded by block diffusion.
package enum SDAR: Architecture {
  package static let modelTypes = ["sdar_moe"]

  package static let names: TensorNames = {
    let outside: [(TensorRole, TensorPart, String)] = [
      (.embedding, .weight, "model.embed_tokens.weight"), (.norm, .final, "model.norm.weight"),
      (.head, .weight, "lm_head.weight"),
    ]
    let inside: [(TensorRole, TensorPart, String)] = [
      (.norm, .input, "input_layernorm.weight"),
      (.norm, .postAttention, "post_attention_layernorm.weight"),
      (.norm, .query, "self_attn.q_norm.weight"),
      (.norm, .key, "self_attn.k_norm.weight"),
      (.attention, .query, "self_attn.q_proj.weight"),
      (.attention, .key, "self_attn.k_proj.weight"),
      (.attention, .value, "self_attn.v_proj.weight"),
      (.attention, .output, "self_attn.o_proj.weight"),
      (.router, .weight, "mlp.gate.weight"),
    ]
    let matrices = TensorPart.projections.map {
      (TensorRole.expert, $0, "mlp.experts.{expert}.\($0.rawValue).weight")
    }
    return TensorNames(outside + (inside + matrices).map { ($0, $1, "model.layers.{layer}.\($2)") })
  }()

  package static let layouts = [
    ExpertLayout(
      "per-expert", .single,
      TensorPart.projections.map { "model.layers.{layer}.mlp.experts.{expert}.\($0.rawValue).weight" })
  ]

  package static let conventions = Conventions(
    scores: .softmax, hasRouterBias: false, hasRoutingKeys: false, joinsQueryKeyValue: false, partialRotaryFactor: 1,
    blockLength: 4, blockLengthKey: "block_size", commitThreshold: 0.85,
    assumptions: [
      ("hidden_act", "silu"), ("attention_bias", false), ("use_sliding_window", false), ("use_regular_causal", false),
      ("decoder_sparse_step", 1), ("mlp_only_layers", []), ("use_qkv_bias", false), ("use_bias", false),
      ("num_shared_experts", 0), ("first_k_dense_replace", 0),
    ],
    demands: [("norm_topk_prob", true)])

  /// llama.cpp, mlx-vlm and what reads LLaDA-Image do not have the family; SGLang does, by the names of the checkpoint.
  package static func names(in dialect: NameDialect) -> TensorNames? { nil }

  package static func modulePatterns(_ configuration: ModelConfiguration) -> ModulePatterns {
    ModulePatterns(
      rest: [#"(.*\.)?lm_head$"#, #".*\.self_attn\..*"#, #".*\.mlp\.gate$"#],
      experts: { layers in
        #".*\.layers\.("# + layers.map(String.init).joined(separator: "|") + #")\.mlp\.experts\..*"#
      })
  }
}
