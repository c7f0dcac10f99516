import JSON
import Tensors

/// LLaDA2 and its relatives with the same tensors: a mixture of experts that is decoded by block diffusion
/// (`Formats/llada2.md` §2).
package enum LLaDA2: Architecture {
  /// dFactory's trainable copy has a type of its own and the same arithmetic.
  package static let modelTypes = ["llada2_moe", "llada2_moe_veomni"]

  package static let names = makeNames(body: "model.", head: "lm_head.")
  package static let layouts = makeLayouts(body: "model.")

  package static let conventions = Conventions(
    assumptions: [
      ("hidden_act", "silu"), ("score_function", "sigmoid"), ("norm_topk_prob", true), ("router_dtype", "fp32"),
      ("moe_router_enable_expert_bias", true), ("use_sliding_window", false),
      ("norm_head", false), ("norm_softmax", false), ("use_rmsnorm", true),
    ])

  /// Block routing came with 2.2; 2.0 and 2.1 cannot be told apart.
  package static func decoder(_ configuration: ModelConfiguration) -> String {
    configuration.blockRouting == nil ? "2.0" : "2.2"
  }

  /// The names of all tensors.
  ///
  /// - Parameters:
  ///   - body: what those of embedding, layers and last norm begin with.
  ///   - head: what that of the head begins with.
  ///   - experts: what is put before a projection of the experts, and `suffix` behind it.
  static func makeNames(
    body: String, head: String, experts: String = "mlp.experts.{expert}", _ suffix: String = ".weight"
  ) -> TensorNames {
    let outside: [(TensorRole, TensorPart, String)] = [
      (.embedding, .weight, "\(body)word_embeddings.weight"), (.norm, .final, "\(body)norm.weight"),
      (.head, .weight, "\(head)weight"),
    ]
    let inside: [(TensorRole, TensorPart, String)] = [
      (.norm, .input, "input_layernorm.weight"),
      (.norm, .postAttention, "post_attention_layernorm.weight"),
      (.norm, .query, "attention.query_layernorm.weight"),
      (.norm, .key, "attention.key_layernorm.weight"),
      (.attention, .queryKeyValue, "attention.query_key_value.weight"),
      (.attention, .output, "attention.dense.weight"),
      (.bias, .queryKeyValue, "attention.query_key_value.bias"),
      (.bias, .output, "attention.dense.bias"),
      (.router, .weight, "mlp.gate.weight"),
      (.router, .bias, "mlp.gate.expert_bias"),
    ]
    let perceptrons: [(TensorRole, String)] = [
      (.denseMLP, "mlp"), (.sharedExpert, "mlp.shared_experts"), (.expert, experts),
    ]
    let matrices = perceptrons.flatMap { role, place in
      TensorPart.projections.map { (role, $0, "\(place).\($0.rawValue)" + (role == .expert ? suffix : ".weight")) }
    }
    return TensorNames(outside + (inside + matrices).map { ($0, $1, "\(body)layers.{layer}.\($2)") })
  }

  /// As published; as dFactory merges experts, with and without `.weight`; as dInfer fuses them on disk and in memory.
  static func makeLayouts(body: String) -> [ExpertLayout] {
    let mlp = "\(body)layers.{layer}.mlp."
    let projections = TensorPart.projections.map(\.rawValue)
    return [
      ExpertLayout("per-expert", .single, projections.map { "\(mlp)experts.{expert}.\($0).weight" }),
      ExpertLayout("merged", .stacked, projections.map { "\(mlp)experts.\($0)" }),
      ExpertLayout("merged-weight", .stacked, projections.map { "\(mlp)experts.\($0).weight" }),
      ExpertLayout("fused", .fused, ["w1", "w1", "w2"].map { mlp + $0 }),
      ExpertLayout("w13", .fused, ["w13_weight", "w13_weight", "w2_weight"].map { "\(mlp)experts.\($0)" }),
    ]
  }
}
