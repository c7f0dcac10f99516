/// A family of models: what its checkpoints are called and consist of, and how it is run. Each has a folder beside this file and a
/// line in ``Architectures``; names of tensors are made and understood nowhere else.
package protocol Architecture: Sendable {
  /// The values of `model_type` in `config.json` that may mean this family.
  static var modelTypes: [String] { get }
  /// The names that published checkpoints, and therefore packs, give their tensors.
  static var names: TensorNames { get }
  /// How checkpoints store the experts of a layer; the first is by these names, and the one of packs.
  static var layouts: [ExpertLayout] { get }
  /// What holds for all models of the family, whatever `config.json` says. Families with a `model_type` in common share them.
  static var conventions: Conventions { get }
  /// What another format calls the tensors; nil where no engine that reads it has the family.
  static func names(in dialect: NameDialect) -> TensorNames?
  /// How engines call the modules that are quantized and those that are not.
  static func modulePatterns(_ configuration: ModelConfiguration) -> ModulePatterns
  /// All tensors of a configuration in the order of the forward pass.
  ///
  /// - Parameter has: whether the source has a tensor; asked for those whose presence the configuration does not tell
  ///   reliably, such as norms of queries and keys, or a head beside tied embeddings.
  static func items(_ configuration: ModelConfiguration, has: (TensorID) -> Bool) -> [ModelItem]
  /// What stays in the source's precision whatever a recipe says.
  static var protectedRoles: Set<TensorRole> { get }
  /// Whether a tensor that the model does not use belongs to another part of what was published together, and is kept as it is.
  ///
  /// - Parameter further: the numbers of layers after the model's own, as ``ModelConfiguration/furtherLayers``.
  static func passesThrough(_ name: String, further: Range<Int>) -> Bool
  /// What such tensors are of, in words.
  static var otherParts: String { get }
  /// The model ready to run.
  ///
  /// - Throws: ``ModelError`` when a tensor is missing or broken.
  static func makeModel(_ weights: any WeightSource, compute: Compute) throws(ModelError) -> TransformerModel
  /// The decoder (`Formats/run.md`) for a model where a person asks for none.
  static func decoder(_ configuration: ModelConfiguration) -> String
}

extension Architecture {
  /// Norms, biases and everything that decides which experts a token sees: a router at 4 bits keeps only 78 % of the selections and
  /// saves 0.06 % of the bytes.
  package static var protectedRoles: Set<TensorRole> { [.norm, .bias, .router] }
  package static func passesThrough(_ name: String, further: Range<Int>) -> Bool { false }
  package static var otherParts: String { "other parts than the language model" }
  package static func makeModel(_ weights: any WeightSource, compute: Compute) throws(ModelError) -> TransformerModel {
    try TransformerModel(weights, compute: compute)
  }
  package static func decoder(_ configuration: ModelConfiguration) -> String { "2.0" }

  /// The names of other formats that it has.
  static var dialects: [(dialect: NameDialect, names: TensorNames)] {
    NameDialect.allCases.compactMap { dialect in names(in: dialect).map { (dialect, $0) } }
  }

  /// Which tensor a name means, as published or in another format; of a stack of experts no expert is told.
  static func identify(_ name: String) -> TensorID? { names.identify(name) ?? identifyForeign(name) }

  /// The same of a name in another format alone.
  static func identifyForeign(_ name: String) -> TensorID? {
    dialects.lazy.compactMap { $0.names.identify(name) }.first
  }
}

/// The families that Ingot knows.
package enum Architectures {
  package static let all: [any Architecture.Type] = [LLaDA2.self, LLaDA2Uni.self, SDAR.self, Ling.self]

  /// Every `model_type` that is known.
  package static var modelTypes: [String] {
    all.flatMap { $0.modelTypes }.reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
  }

  /// What the families with a known `model_type` have in common.
  static func conventions(of modelType: String) -> Conventions {
    guard let family = all.first(where: { $0.modelTypes.contains(modelType) }) else {
      preconditionFailure("asked for types that are known")
    }
    return family.conventions
  }

  /// The family of a model: of those with its `model_type` the one whose embedding is there, or else the first. Nil where none has
  /// the type.
  ///
  /// - Parameter hasTensor: whether the files have a tensor of this name.
  package static func family(of modelType: String?, hasTensor: (String) -> Bool) -> (any Architecture.Type)? {
    let candidates = all.filter { family in modelType.map(family.modelTypes.contains) ?? false }
    return candidates.first { hasTensor($0.names.name(of: TensorID(.embedding, .weight))) } ?? candidates.first
  }

  /// The name of a tensor where the family is not known: that of the first one.
  package static func name(of id: TensorID) -> String { all[0].names.name(of: id) }

  /// Which tensor a name means in the first family that has it; nil where none does.
  package static func identify(_ name: String) -> TensorID? {
    for architecture in all { if let id = architecture.identify(name) { return id } }
    return nil
  }
}

extension ModelConfiguration {
  /// The family of the model.
  ///
  /// - Parameter hasTensor: whether its files have a tensor of this name.
  package func architecture(hasTensor: (String) -> Bool) -> any Architecture.Type {
    guard let found = Architectures.family(of: modelType, hasTensor: hasTensor) else {
      preconditionFailure("a configuration is read only where its model type is known")
    }
    return found
  }

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
