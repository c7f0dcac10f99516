import Tensors

/// How a checkpoint stores the experts of a layer: each matrix on its own, or those of all experts stacked.
package struct ExpertLayout: Sendable {
  /// As provenance and reports call it.
  package let name: String
  private let tensors: TensorNames
  private let kind: Kind

  package enum Kind: Sendable {
    /// One tensor for each projection of each expert, by the name that the family gives it.
    case single
    /// One for each projection: (experts, rows, columns).
    case stacked
    /// One for gate and up, those of an expert one after the other: (experts, 2 · rows, columns); one for down.
    case fused
  }

  /// - Parameter templates: the names of the tensors that hold gate, up and down.
  init(_ name: String, _ kind: Kind, _ templates: [String]) {
    self.name = name
    self.kind = kind
    tensors = TensorNames(zip(TensorPart.projections, templates).map { (.expert, $0, $1) })
  }

  /// Stacked by names of another format.
  init(_ dialect: NameDialect, _ names: TensorNames) {
    name = dialect.rawValue
    kind = .stacked
    tensors = names
  }

  /// The name of the tensor that holds a projection of an expert.
  func name(of id: TensorID) -> String { tensors.name(of: id) }

  /// Where a projection of an expert is: the tensor's name and shape, and the first row counted over all its rows.
  func place(
    of tensor: ModelTensor, _ configuration: ModelConfiguration
  ) -> (name: String, shape: [Int], firstRow: Int) {
    if case .single = kind { return (tensor.name, tensor.shape.dimensions, 0) }
    let (name, shape, expert) = (name(of: tensor.id), tensor.shape, tensor.id.expert ?? 0)
    switch kind {
    case .fused where tensor.id.part != .down:
      let first = (2 * expert + (tensor.id.part == .up ? 1 : 0)) * shape.rows
      return (name, [configuration.expertCount, 2 * shape.rows, shape.columns], first)
    default:
      return (name, [configuration.expertCount, shape.rows, shape.columns], expert * shape.rows)
    }
  }
}
