import JSON
import Tensors

/// Ling 2.0 (`Formats/ling.md`): BailingMoeV2, of which LLaDA2 was made. The tensors are the same; a position sees what is before it,
/// and its scores are of the next token.
package enum Ling: Architecture {
  /// Published files have the first, which Ling-lite has, too: its files lack groups of experts and are refused by that.
  package static let modelTypes = ["bailing_moe", "bailing_moe_v2"]

  package static let names = LLaDA2.names
  package static let layouts = LLaDA2.layouts

  package static let conventions = Conventions(
    prediction: .next, blockLength: 1,
    assumptions: [
      ("hidden_act", "silu"), ("score_function", "sigmoid"), ("norm_topk_prob", true), ("router_dtype", "fp32"),
      ("moe_router_enable_expert_bias", true), ("use_sliding_window", false),
      ("norm_head", false), ("norm_softmax", false), ("use_rmsnorm", true), ("expert_capacity", 0),
    ])

  /// Layers that predict further tokens are numbered after those of the model, under names of the same kind.
  package static func passesThrough(_ name: String, further: Range<Int>) -> Bool {
    let words = name.split(separator: ".", maxSplits: 3, omittingEmptySubsequences: false)
    guard words.count == 4, words[0] == "model", words[1] == "layers", let layer = Int(words[2]) else { return false }
    return further.contains(layer)
  }

  package static let otherParts = "layers that predict further tokens"

  /// llama.cpp has the family under LLaDA2's names; mlx-vlm does not have it.
  package static func names(in dialect: NameDialect) -> TensorNames? {
    dialect == .ggml ? LLaDA2.names(in: dialect) : nil
  }

  package static func modulePatterns(_ configuration: ModelConfiguration) -> ModulePatterns {
    LLaDA2.modulePatterns(configuration)
  }

  package static func decoder(_ configuration: ModelConfiguration) -> String { "next-token" }
}
