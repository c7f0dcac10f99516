import Tensors

/// LLaDA2 and its relatives with the same tensors: a mixture of experts that is decoded by block diffusion
/// (`Formats/llada2.md` §2).
package enum LLaDA2: Architecture {
  /// dFactory's trainable copy has a type of its own and the same arithmetic.
  package static let modelTypes = ["llada2_moe", "llada2_moe_veomni"]

  package static let names = makeNames(body: "model.", head: "lm_head.")
  package static let layouts = makeLayouts(body: "model.")

  package static func makeModel(_ weights: any WeightSource, compute: Compute) throws(ModelError) -> TransformerModel {
    try TransformerModel(weights, compute: compute)
  }

  /// Block routing came with 2.2; 2.0 and 2.1 cannot be told apart.
  package static func decoder(_ configuration: ModelConfiguration) -> String {
    configuration.blockRouting == nil ? "2.0" : "2.2"
  }

  /// The names of all tensors.
  ///
  /// - Parameters:
  ///   - body: what those of embedding, layers and last norm begin with.
  ///   - head: what that of the head begins with.
  ///   - experts: what is put before a projection of the experts, and `suffix` behind it.
  static func makeNames(
    body: String, head: String, experts: String = "mlp.experts.{expert}", _ suffix: String = ".weight"
  ) -> TensorNames {
    let outside: [(TensorRole, TensorPart, String)] = [
      (.embedding, .weight, "\(body)word_embeddings.weight"), (.norm, .final, "\(body)norm.weight"),
      (.head, .weight, "\(head)weight"),
    ]
    let inside: [(TensorRole, TensorPart, String)] = [
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
    ]
    let perceptrons: [(TensorRole, String)] = [
      (.denseMLP, "mlp"), (.sharedExpert, "mlp.shared_experts"), (.expert, experts),
    ]
    let matrices = perceptrons.flatMap { role, place in
      TensorPart.projections.map { (role, $0, "\(place).\($0.rawValue)" + (role == .expert ? suffix : ".weight")) }
    }
    return TensorNames(outside + (inside + matrices).map { ($0, $1, "\(body)layers.{layer}.\($2)") })
  }

  /// As published; as dFactory merges experts, with and without `.weight`; as dInfer fuses them on disk and in memory.
  static func makeLayouts(body: String) -> [ExpertLayout] {
    let mlp = "\(body)layers.{layer}.mlp."
    let projections = TensorPart.projections.map(\.rawValue)
    return [
      ExpertLayout("per-expert", .single, projections.map { "\(mlp)experts.{expert}.\($0).weight" }),
      ExpertLayout("merged", .stacked, projections.map { "\(mlp)experts.\($0)" }),
      ExpertLayout("merged-weight", .stacked, projections.map { "\(mlp)experts.\($0).weight" }),
      ExpertLayout("fused", .fused, ["w1", "w1", "w2"].map { mlp + $0 }),
      ExpertLayout("w13", .fused, ["w13_weight", "w13_weight", "w2_weight"].map { "\(mlp)experts.\($0)" }),
    ]
  }

  /// Shape of one projection: gate and up widen, down narrows.
  static func shape(_ part: TensorPart, hidden: Int, width: Int) -> Shape {
    part == .down ? Shape(rows: hidden, columns: width) : Shape(rows: width, columns: hidden)
  }

  package static func items(_ configuration: ModelConfiguration, has: (TensorID) -> Bool) -> [ModelItem] {
    items(configuration, names, has: has)
  }

  /// The tensors under the names of a relative.
  static func items(_ c: ModelConfiguration, _ names: TensorNames, has: (TensorID) -> Bool) -> [ModelItem] {
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
