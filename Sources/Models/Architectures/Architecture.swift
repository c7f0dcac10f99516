/// A family of models: what its checkpoints are called and consist of. Each has a folder beside this file and a line in
/// ``Architectures``; names of tensors are made and understood nowhere else.
package protocol Architecture: Sendable {
  /// The values of `model_type` in `config.json` that mean this family.
  static var modelTypes: [String] { get }
  /// The names that published checkpoints, and therefore packs, give their tensors.
  static var names: TensorNames { get }
  /// All tensors of a configuration in the order of the forward pass.
  ///
  /// - Parameter has: whether the source has a tensor; asked for those whose presence the configuration does not tell
  ///   reliably, such as norms of queries and keys, or a head beside tied embeddings.
  static func items(_ configuration: ModelConfiguration, has: (TensorID) -> Bool) -> [ModelItem]
}

/// The families that Ingot knows.
package enum Architectures {
  package static let all: [any Architecture.Type] = [LLaDA2.self]

  /// Every `model_type` that is known.
  package static var modelTypes: [String] { all.flatMap { $0.modelTypes } }

  /// The family of a `model_type`; nil for one that is not known.
  package static func named(_ modelType: String) -> (any Architecture.Type)? {
    all.first { $0.modelTypes.contains(modelType) }
  }

  /// The name of a tensor where the family is not known: that of the first one.
  package static func name(of id: TensorID) -> String { all[0].names.name(of: id) }

  /// Which tensor a name means in the first family that has it; nil where none does.
  package static func identify(_ name: String) -> TensorID? {
    for architecture in all { if let id = architecture.names.identify(name) { return id } }
    return nil
  }
}

extension ModelConfiguration {
  /// The family of the model.
  package var architecture: any Architecture.Type {
    guard let found = Architectures.named(modelType) else {
      preconditionFailure("a configuration is read only where its model type is known")
    }
    return found
  }

  /// All tensors of the model in the order of the forward pass.
  package func items(has: (TensorID) -> Bool) -> [ModelItem] { architecture.items(self, has: has) }

  /// The name that published checkpoints and packs give a tensor.
  package func name(of id: TensorID) -> String { architecture.names.name(of: id) }

  /// Refuses more tensors of experts than there can be, before a configuration from a stranger makes us name billions.
  ///
  /// - Parameters:
  ///   - limit: tensors.
  ///   - path: for the message.
  func requireExperts(atMost limit: Int, in path: String) throws(ModelError) {
    let count = (layerCount - firstDenseLayers) * expertCount * TensorPart.projections.count
    guard count <= limit else {
      throw .layout(
        layer: firstDenseLayers, detail: "config.json asks for \(count) tensors of experts, there can be \(limit)",
        directory: path)
    }
  }
}
