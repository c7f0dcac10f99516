/// Keys and values of one sequence, by layer, for positions from 0 on.
///
/// Under the block-causal mask a finished block's keys and values never change, so keeping them is exact. A forward pass
/// writes those of its own positions, in place over whatever stood there; what a later pass may rely on is what the last pass
/// over the final tokens wrote.
package final class KeyValueCache {
  private struct Layer {
    /// (positions, key-value heads × head dimension)
    var keys: [Float] = []
    var values: [Float] = []
  }
  private var layers: [Layer]
  /// Floats of one position in `keys`, and in `values`.
  package let width: Int

  package init(_ configuration: ModelConfiguration) {
    layers = Array(repeating: Layer(), count: configuration.layerCount)
    width = configuration.keyValueHeadCount * configuration.headDimension
  }

  /// Gives one layer's keys and values, long enough for `positions`, to be read and written.
  func update<Result>(layer: Int, positions: Int, _ body: (inout [Float], inout [Float]) -> Result) -> Result {
    let missing = positions * width - layers[layer].keys.count
    if missing > 0 {
      layers[layer].keys.append(contentsOf: repeatElement(0, count: missing))
      layers[layer].values.append(contentsOf: repeatElement(0, count: missing))
    }
    // Moved out and back, so that the arrays are changed in place.
    var taken = Layer()
    swap(&taken, &layers[layer])
    defer { swap(&taken, &layers[layer]) }
    return body(&taken.keys, &taken.values)
  }

  /// Bytes held.
  package var byteCount: Int { layers.reduce(0) { $0 + ($1.keys.count + $1.values.count) * MemoryLayout<Float>.size } }
}
