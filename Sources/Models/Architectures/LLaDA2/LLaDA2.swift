import Tensors

/// LLaDA2 and its relatives with the same tensors: a mixture of experts that is decoded by block diffusion
/// (`Formats/llada2.md` §2).
package enum LLaDA2: Architecture {
  /// dFactory's trainable copy has a type of its own and the same arithmetic.
  package static let modelTypes = ["llada2_moe", "llada2_moe_veomni"]

  package static let names = TensorNames(
    [
      (.embedding, .weight, "model.word_embeddings.weight"),
      (.norm, .final, "model.norm.weight"),
      (.head, .weight, "lm_head.weight"),
    ]
      + [
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
      ].map { (role: TensorRole, part: TensorPart, name: String) in (role, part, "model.layers.{layer}.\(name)") }
      + TensorPart.projections.flatMap { part in
        [
          (TensorRole.denseMLP, "mlp"), (.sharedExpert, "mlp.shared_experts"), (.expert, "mlp.experts.{expert}"),
        ].map { role, place in (role, part, "model.layers.{layer}.\(place).\(part.rawValue).weight") }
      })

  /// Shape of one projection: gate and up widen, down narrows.
  static func shape(_ part: TensorPart, hidden: Int, width: Int) -> Shape {
    part == .down ? Shape(rows: hidden, columns: width) : Shape(rows: width, columns: hidden)
  }

  package static func items(_ c: ModelConfiguration, has: (TensorID) -> Bool) -> [ModelItem] {
    var items: [ModelItem] = []
    func tensor(_ id: TensorID, _ shape: Shape) -> ModelTensor {
      ModelTensor(id: id, name: names.name(of: id), shape: shape)
    }
    func add(_ role: TensorRole, _ part: TensorPart, layer: Int? = nil, _ shape: Shape) {
      items.append(ModelItem(tensors: [tensor(TensorID(role, part, layer: layer), shape)]))
    }
    func vector(_ count: Int) -> Shape { Shape([count])! }  // a configured size, so not negative
    let head = TensorID(.head, .weight)
    let queryRows = c.headCount * c.headDimension
    let rows = queryRows + 2 * c.keyValueHeadCount * c.headDimension

    add(.embedding, .weight, Shape(rows: c.vocabularySize, columns: c.hiddenSize))
    for layer in 0..<c.layerCount {
      add(.norm, .input, layer: layer, vector(c.hiddenSize))
      add(.attention, .queryKeyValue, layer: layer, Shape(rows: rows, columns: c.hiddenSize))
      if c.usesQKVBias { add(.bias, .queryKeyValue, layer: layer, vector(rows)) }
      // Absent in 2.0-mini's config although the model has them: the tensors decide.
      if has(TensorID(.norm, .query, layer: layer)) {
        add(.norm, .query, layer: layer, vector(c.headDimension))
        add(.norm, .key, layer: layer, vector(c.headDimension))
      }
      add(.attention, .output, layer: layer, Shape(rows: c.hiddenSize, columns: queryRows))
      if c.usesBias { add(.bias, .output, layer: layer, vector(c.hiddenSize)) }
      add(.norm, .postAttention, layer: layer, vector(c.hiddenSize))
      guard c.isMoE(layer: layer) else {
        for part in TensorPart.projections {
          add(.denseMLP, part, layer: layer, shape(part, hidden: c.hiddenSize, width: c.intermediateSize))
        }
        continue
      }
      add(.router, .weight, layer: layer, Shape(rows: c.expertCount, columns: c.hiddenSize))
      add(.router, .bias, layer: layer, vector(c.expertCount))
      for expert in 0..<c.expertCount {
        items.append(
          ModelItem(
            tensors: TensorPart.projections.map { part in
              tensor(
                TensorID(.expert, part, layer: layer, expert: expert),
                shape(part, hidden: c.hiddenSize, width: c.expertIntermediateSize))
            }))
      }
      guard c.sharedIntermediateSize > 0 else { continue }
      for part in TensorPart.projections {
        add(.sharedExpert, part, layer: layer, shape(part, hidden: c.hiddenSize, width: c.sharedIntermediateSize))
      }
    }
    add(.norm, .final, vector(c.hiddenSize))
    if !c.tiesWordEmbeddings || has(head) { add(.head, .weight, Shape(rows: c.vocabularySize, columns: c.hiddenSize)) }
    return items
  }
}
