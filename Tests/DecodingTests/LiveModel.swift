import Models
import TestSupport

/// A tiny model whose attention and experts are far from indifferent.
func withLiveModel(compute: Compute = Compute(threads: 1), _ body: (TransformerModel) throws -> Void) throws {
  var tiny = TinyCheckpoint()
  tiny.change = { tensors in
    for index in tensors.indices {
      let name = tensors[index].name
      let scale: Float = name.contains("embeddings") ? 32 : name.contains("_layernorm.weight") ? 16 : 6
      let offset: Float = name.contains("norm") ? 1 : 0
      let x = floats(tensors[index].bytes, as: tensors[index].dtype)
      tensors[index].bytes = x.flatMap { elementBytes($0 * scale + offset, as: tensors[index].dtype) }
    }
  }
  try withTemporaryDirectory { directory in
    try tiny.write(to: directory)
    let weights = try StoredWeights(path: directory)
    try body(TransformerModel(weights, compute: compute))
  }
}
