package import Tensors

/// A tensor that an architecture has: which one it is, the name published checkpoints and packs give it, and its shape.
package struct ModelTensor: Sendable, Equatable {
  package let id: TensorID
  package let name: String
  package let shape: Shape

  package var role: TensorRole { id.role }
}

/// What is stored and read together: one tensor, or the three projections of one routed expert.
package struct ModelItem: Sendable, Equatable {
  package let tensors: [ModelTensor]

  /// All tensors of an item are of one role, layer and expert.
  package var id: TensorID { tensors[0].id }
  package var isExpert: Bool { id.role == .expert }
}
