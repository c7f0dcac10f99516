/// Advances many sequences through one layer at a time, so that each weight is read once however many sequences there are.
///
/// Only hidden states are kept from layer to layer: keys and values of a layer are dropped when it is done. A model far
/// larger than memory is thus run in full precision at the speed of reading it, with 4 · hidden size bytes a token.
package struct LayerwiseRunner {
  private let model: LLaDA2Model
  private let blockLength: Int

  package init(_ model: LLaDA2Model, blockLength: Int) {
    self.model = model
    self.blockLength = blockLength
  }

  /// Runs whole sequences, each from position 0 and seeing only itself.
  ///
  /// - Parameters:
  ///   - taps: see hidden states and routes of all rows, in the order of the sequences.
  ///   - progress: called after each layer with the number of layers done; false stops the run.
  /// - Returns: (tokens of all sequences, hidden size) after the final norm; nil if stopped.
  /// - Throws: ``ModelError`` when a weight cannot be read.
  package func hiddenStates(
    _ sequences: [[Int]], taps: LLaDA2Model.Taps = .init(), progress: (Int) -> Bool = { _ in true }
  ) throws(ModelError) -> [Float]? {
    let segments = sequences.map {
      LLaDA2Model.Segment(tokens: $0, start: 0, cache: KeyValueCache(model.configuration))
    }
    var hidden = model.embed(segments)
    taps.hidden?(0, hidden)
    let layerCount = model.configuration.layerCount
    let readAhead = ReadAhead(model.weights, rows: segments.reduce(0) { $0 + $1.tokens.count })
    for layer in 0..<layerCount {
      try model.advance(&hidden, through: layer, segments, blockLength: blockLength, taps: taps, readAhead: readAhead)
      for segment in segments { segment.cache.drop(layer: layer) }
      if layer < layerCount - 1 { taps.hidden?(layer + 1, hidden) }
      guard progress(layer + 1) else { return nil }
    }
    model.normalize(&hidden)
    taps.hidden?(layerCount, hidden)
    return hidden
  }
}
