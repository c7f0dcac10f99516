/// What keys and values are kept as.
package enum KeyValueType: String, Sendable, CaseIterable {
  case fp32
  /// Each number rounded to the nearest bf16, ties to even, when it is kept: half of the memory, and less exact.
  case bf16

  package var byteCount: Int {
    switch self {
    case .fp32: MemoryLayout<Float>.size
    case .bf16: MemoryLayout<UInt16>.size
    }
  }
}

/// Keys and values of one sequence, by layer, for positions from 0 on.
///
/// Under the block-causal mask a finished block's keys and values never change, so keeping them is exact. A forward pass
/// writes those of its own positions, in place over whatever stood there; what a later pass may rely on is what the last pass
/// over the final tokens wrote.
package final class KeyValueCache {
  /// By key-value head: (positions, head dimension).
  package struct Layer {
    package var keys: [KeyValueRows]
    package var values: [KeyValueRows]

    package init(keys: [KeyValueRows], values: [KeyValueRows]) {
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
    let nothing = Array(repeating: KeyValueRows(.fp32), count: configuration.keyValueHeadCount)
    layers = Array(repeating: Layer(keys: nothing, values: nothing), count: configuration.layerCount)
    headDimension = configuration.headDimension
    reserved = positions * configuration.headDimension
  }

  /// Gives one layer's keys and values, long enough for `positions`, to be read and written.
  ///
  /// - Parameter type: of all numbers of a layer, until it is dropped.
  package func update(layer index: Int, positions: Int, as type: KeyValueType, _ body: (inout Layer) -> Void) {
    // Moved out and back, so that the arrays are changed in place.
    var layer = Layer(keys: [], values: [])
    swap(&layer, &layers[index])
    for head in layer.keys.indices {
      layer.keys[head].grow(to: positions * headDimension, as: type, reserving: reserved)
      layer.values[head].grow(to: positions * headDimension, as: type, reserving: reserved)
    }
    body(&layer)
    swap(&layer, &layers[index])
  }

  /// Forgets one layer.
  package func drop(layer index: Int) {
    for head in layers[index].keys.indices {
      layers[index].keys[head] = KeyValueRows(.fp32)
      layers[index].values[head] = KeyValueRows(.fp32)
    }
  }
}
