package import Tensors

/// The tensors of a LLaDA2 mixture-of-experts model, by their published names.
package enum LLaDA2MoE {
  package static let projections = ["gate_proj", "up_proj", "down_proj"]

  package static func expertName(layer: Int, expert: Int, _ projection: String) -> String {
    "model.layers.\(layer).mlp.experts.\(expert).\(projection).weight"
  }

  /// Shape of one expert's projection: gate and up widen, down narrows.
  package static func expertShape(_ projection: String, _ configuration: ModelConfiguration) -> Shape {
    mlpShape(projection, hidden: configuration.hiddenSize, width: configuration.expertIntermediateSize)
  }

  private static func mlpShape(_ projection: String, hidden: Int, width: Int) -> Shape {
    projection == "down_proj" ? Shape(rows: hidden, columns: width) : Shape(rows: width, columns: hidden)
  }

  /// Refuses more tensors of experts than there can be, before a configuration from a stranger makes us name billions.
  ///
  /// - Parameters:
  ///   - limit: tensors.
  ///   - path: for the message.
  static func requireExperts(_ c: ModelConfiguration, atMost limit: Int, in path: String) throws(ModelError) {
    let count = (c.layerCount - c.firstDenseLayers) * c.expertCount * projections.count
    guard count <= limit else {
      throw .layout(
        layer: c.firstDenseLayers, detail: "config.json asks for \(count) tensors of experts, there can be \(limit)",
        directory: path)
    }
  }

  /// All tensors in the order of the forward pass.
  ///
  /// - Parameter has: whether the source has a tensor; asked for those whose presence the configuration does not tell
  ///   reliably (q/k norms, a head beside tied embeddings).
  package static func items(_ c: ModelConfiguration, has: (String) -> Bool) -> [ModelItem] {
    var items: [ModelItem] = []
    func add(_ name: String, _ shape: Shape, _ role: TensorRole) {
      items.append(.tensor(ModelTensor(name: name, shape: shape, role: role)))
    }
    func vector(_ count: Int) -> Shape { Shape([count])! }  // a configured size, so not negative

    add("model.word_embeddings.weight", Shape(rows: c.vocabularySize, columns: c.hiddenSize), .embedding)
    for layer in 0..<c.layerCount {
      let prefix = "model.layers.\(layer)."
      let queryRows = c.headCount * c.headDimension
      let rows = queryRows + 2 * c.keyValueHeadCount * c.headDimension
      add(prefix + "input_layernorm.weight", vector(c.hiddenSize), .norm)
      add(prefix + "attention.query_key_value.weight", Shape(rows: rows, columns: c.hiddenSize), .attention)
      if c.usesQKVBias { add(prefix + "attention.query_key_value.bias", vector(rows), .bias) }
      // Absent in 2.0-mini's config although the model has them: the tensors decide.
      if has(prefix + "attention.query_layernorm.weight") {
        add(prefix + "attention.query_layernorm.weight", vector(c.headDimension), .norm)
        add(prefix + "attention.key_layernorm.weight", vector(c.headDimension), .norm)
      }
      add(prefix + "attention.dense.weight", Shape(rows: c.hiddenSize, columns: queryRows), .attention)
      if c.usesBias { add(prefix + "attention.dense.bias", vector(c.hiddenSize), .bias) }
      add(prefix + "post_attention_layernorm.weight", vector(c.hiddenSize), .norm)
      if c.isMoE(layer: layer) {
        addMoE(layer, c, to: &items)
      } else {
        for projection in projections {
          let shape = mlpShape(projection, hidden: c.hiddenSize, width: c.intermediateSize)
          add(prefix + "mlp.\(projection).weight", shape, .denseMLP)
        }
      }
    }
    add("model.norm.weight", vector(c.hiddenSize), .norm)
    if !c.tiesWordEmbeddings || has("lm_head.weight") {
      add("lm_head.weight", Shape(rows: c.vocabularySize, columns: c.hiddenSize), .head)
    }
    return items
  }

  private static func addMoE(_ layer: Int, _ c: ModelConfiguration, to items: inout [ModelItem]) {
    let prefix = "model.layers.\(layer).mlp."
    func add(_ name: String, _ shape: Shape, _ role: TensorRole) {
      items.append(.tensor(ModelTensor(name: prefix + name, shape: shape, role: role)))
    }
    add("gate.weight", Shape(rows: c.expertCount, columns: c.hiddenSize), .router)
    add("gate.expert_bias", Shape([c.expertCount])!, .router)  // a configured size, so not negative
    for expert in 0..<c.expertCount {
      let projections = projections.map { projection in
        ModelTensor(
          name: expertName(layer: layer, expert: expert, projection), shape: expertShape(projection, c), role: .expert)
      }
      items.append(.expert(layer: layer, expert: expert, projections: projections))
    }
    guard c.sharedIntermediateSize > 0 else { return }
    for projection in projections {
      let shape = mlpShape(projection, hidden: c.hiddenSize, width: c.sharedIntermediateSize)
      add("shared_experts.\(projection).weight", shape, .sharedExpert)
    }
  }
}
