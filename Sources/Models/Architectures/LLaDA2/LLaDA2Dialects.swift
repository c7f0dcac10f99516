// What other formats and engines call the tensors of LLaDA2 (`Formats/export.md` §4).

extension LLaDA2 {
  package static func names(in dialect: NameDialect) -> TensorNames? {
    switch dialect {
    case .ggml: ggmlNames
    case .mlx: mlxNames
    case .image: nil
    }
  }

  private static let mlxNames = makeNames(
    body: "language_model.model.", head: "language_model.lm_head.", experts: "mlp.switch_mlp")

  static let ggmlNames: TensorNames = {
    let outside: [(TensorRole, TensorPart, String)] = [
      (.embedding, .weight, "token_embd.weight"), (.norm, .final, "output_norm.weight"),
      (.head, .weight, "output.weight"),
    ]
    let inside: [(TensorRole, TensorPart, String)] = [
      (.norm, .input, "attn_norm.weight"), (.norm, .postAttention, "ffn_norm.weight"),
      (.norm, .query, "attn_q_norm.weight"), (.norm, .key, "attn_k_norm.weight"),
      (.attention, .queryKeyValue, "attn_qkv.weight"), (.attention, .output, "attn_output.weight"),
      (.bias, .queryKeyValue, "attn_qkv.bias"), (.bias, .output, "attn_output.bias"),
      (.router, .weight, "ffn_gate_inp.weight"), (.router, .bias, "exp_probs_b.bias"),
    ]
    let perceptrons: [(TensorRole, String)] = [(.denseMLP, ""), (.sharedExpert, "_shexp"), (.expert, "_exps")]
    let matrices = perceptrons.flatMap { role, suffix in
      zip(TensorPart.projections, ["gate", "up", "down"]).map { (role, $0, "ffn_\($1)\(suffix).weight") }
    }
    return TensorNames(outside + (inside + matrices).map { ($0, $1, "blk.{layer}.\($2)") })
  }()

  package static func modulePatterns(_ configuration: ModelConfiguration) -> ModulePatterns {
    @Sendable func layers(_ indices: [Int]) -> String {
      #".*\.layers\.("# + indices.map(String.init).joined(separator: "|") + ")"
    }
    let dense = Array(0..<configuration.firstDenseLayers)
    return ModulePatterns(
      rest: [#"(.*\.)?lm_head$"#, #".*\.attention\..*"#, #".*\.shared_experts\..*"#, #".*\.mlp\.gate$"#]
        + (dense.isEmpty ? [] : [layers(dense) + #"\.mlp\..*"#]),
      experts: { layers($0) + #"\.mlp\.experts\..*"# })
  }
}

extension LLaDA2Uni {
  /// mlx-vlm has no such module tree.
  package static func names(in dialect: NameDialect) -> TensorNames? {
    switch dialect {
    case .ggml: LLaDA2.ggmlNames
    case .mlx: nil
    case .image: imageNames
    }
  }

  private static let imageNames = LLaDA2.makeNames(body: body, head: head, experts: "mlp.experts", "")

  package static func modulePatterns(_ configuration: ModelConfiguration) -> ModulePatterns {
    LLaDA2.modulePatterns(configuration)
  }
}
