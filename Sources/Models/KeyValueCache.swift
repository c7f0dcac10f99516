/// Keys and values of one sequence, by layer, for positions from 0 on.
///
/// Under the block-causal mask a finished block's keys and values never change, so keeping them is exact. A forward pass
/// writes those of its own positions, in place over whatever stood there; what a later pass may rely on is what the last pass
/// over the final tokens wrote.
package final class KeyValueCache {
  /// By key-value head: (positions, head dimension).
  package struct Layer {
    package var keys: [[Float]]
    package var values: [[Float]]

    package init(keys: [[Float]], values: [[Float]]) {
      self.keys = keys
      self.values = values
    }
  }
  private var layers: [Layer]
  private let headDimension: Int
  /// Numbers of a head for which room is kept.
  private let reserved: Int

  /// - Parameter positions: for which room is kept, so that the memory is what they take, and not up to twice as much.
  package init(_ configuration: ModelConfiguration, positions: Int = 0) {
    let empty = Layer(
      keys: Array(repeating: [], count: configuration.keyValueHeadCount),
      values: Array(repeating: [], count: configuration.keyValueHeadCount))
    layers = Array(repeating: empty, count: configuration.layerCount)
    headDimension = configuration.headDimension
    reserved = positions * configuration.headDimension
  }

  /// Gives one layer's keys and values, long enough for `positions`, to be read and written.
  package func update(layer index: Int, positions: Int, _ body: (inout Layer) -> Void) {
    // Moved out and back, so that the arrays are changed in place.
    var layer = Layer(keys: [], values: [])
    swap(&layer, &layers[index])
    let missing = positions * headDimension - (layer.keys.first?.count ?? 0)
    if missing > 0 {
      for head in layer.keys.indices {
        layer.keys[head].reserveCapacity(reserved)
        layer.values[head].reserveCapacity(reserved)
        layer.keys[head].append(contentsOf: repeatElement(0, count: missing))
        layer.values[head].append(contentsOf: repeatElement(0, count: missing))
      }
    }
    body(&layer)
    swap(&layer, &layers[index])
  }

  /// Forgets one layer.
  package func drop(layer index: Int) {
    for head in layers[index].keys.indices {
      layers[index].keys[head] = []
      layers[index].values[head] = []
    }
  }
}
