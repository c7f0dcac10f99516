/// Names that other formats give the tensors of a model. The experts of a layer are one stack there for each projection:
/// (experts, rows, columns).
package enum NameDialect: String, Sendable, CaseIterable {
  /// Those of llama.cpp, in GGUF.
  case ggml
  /// Those that LLaDA-Image is published with.
  case image
  /// Modules of mlx-vlm.
  case mlx
}

/// Regular expressions for the names that engines give the linear modules of a model, as Python's `re.match` reads them. Engines
/// join matrices that are multiplied with the same input, and test the name of the joined one.
package struct ModulePatterns: Sendable {
  /// Each linear module that is no routed expert is matched by one of these, and no routed expert by any.
  package let rest: [String]
  /// Matches the routed experts of some layers.
  package let experts: @Sendable ([Int]) -> String
}

extension TensorNames {
  /// The name of the module that has a tensor as its `weight`.
  package static func module(of name: String) -> String {
    name.hasSuffix(".weight") ? String(name.dropLast(".weight".count)) : name
  }
}
