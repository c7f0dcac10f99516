import Tensors

extension Architecture {
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

    add(.embedding, .weight, Shape(rows: c.vocabularySize, columns: c.hiddenSize))
    for layer in 0..<c.layerCount {
      add(.norm, .input, layer: layer, vector(c.hiddenSize))
      for (part, rows) in c.projections {
        add(.attention, part, layer: layer, Shape(rows: rows, columns: c.hiddenSize))
        if c.usesQKVBias { add(.bias, part, layer: layer, vector(rows)) }
      }
      // Absent in 2.0-mini's config although the model has them: the tensors decide.
      if has(TensorID(.norm, .query, layer: layer)) {
        add(.norm, .query, layer: layer, vector(c.headDimension))
        add(.norm, .key, layer: layer, vector(c.headDimension))
      }
      add(.attention, .output, layer: layer, Shape(rows: c.hiddenSize, columns: c.headCount * c.headDimension))
      if c.usesBias { add(.bias, .output, layer: layer, vector(c.hiddenSize)) }
      add(.norm, .postAttention, layer: layer, vector(c.hiddenSize))
      guard c.isMoE(layer: layer) else {
        for part in TensorPart.projections {
          add(.denseMLP, part, layer: layer, shape(part, hidden: c.hiddenSize, width: c.intermediateSize))
        }
        continue
      }
      add(.router, .weight, layer: layer, Shape(rows: c.expertCount, columns: c.hiddenSize))
      if c.conventions.hasRouterBias { add(.router, .bias, layer: layer, vector(c.expertCount)) }
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

  /// Shape of one projection: gate and up widen, down narrows.
  private static func shape(_ part: TensorPart, hidden: Int, width: Int) -> Shape {
    part == .down ? Shape(rows: hidden, columns: width) : Shape(rows: width, columns: hidden)
  }
}

extension ModelConfiguration {
  /// The matrices that queries, keys and values come from, and their rows.
  var projections: [(part: TensorPart, rows: Int)] {
    let (queries, keys) = (headCount * headDimension, keyValueHeadCount * headDimension)
    return conventions.joinsQueryKeyValue
      ? [(.queryKeyValue, queries + 2 * keys)] : [(.query, queries), (.key, keys), (.value, keys)]
  }
}
