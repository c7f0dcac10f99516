/// What a tensor is for; recipes and reports go by it.
package enum TensorRole: String, Sendable, CaseIterable {
  case embedding, head, norm, bias, attention
  case denseMLP = "dense MLP"
  case sharedExpert = "shared expert"
  case router
  case expert
}

/// Which of the tensors of a role one is.
package enum TensorPart: String, Sendable, CaseIterable {
  /// The matrix of the embedding, the head or the router.
  case weight
  /// What is added to the router's scores for the choice.
  case bias
  /// Norms, by what they are applied to; `query` and `key` are also matrices of attention.
  case input, postAttention, final
  case query, key, value
  /// Attention, and its biases.
  case queryKeyValue, output
  /// Multi-layer perceptrons: `down(silu(gate(x)) * up(x))`.
  case gate = "gate_proj"
  case up = "up_proj"
  case down = "down_proj"

  /// The three matrices of a perceptron, in the order in which they are packed.
  package static var projections: [TensorPart] { [.gate, .up, .down] }
}

/// Which tensor of a model one is, whatever a checkpoint calls it. Names are made and understood by ``Architecture``.
package struct TensorID: Sendable, Hashable {
  package let role: TensorRole
  package let part: TensorPart
  /// Nil outside the layers.
  package let layer: Int?
  /// Nil for all but the routed experts.
  package let expert: Int?

  package init(_ role: TensorRole, _ part: TensorPart, layer: Int? = nil, expert: Int? = nil) {
    self.role = role
    self.part = part
    self.layer = layer
    self.expert = expert
  }
}
