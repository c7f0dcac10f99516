/// The one loop over layers: rows of many sequences, through one model or several side by side, all of them through one layer
/// before any goes on to the next.
///
/// Each weight is read once however many sequences there are, models can be compared layer by layer without keeping what they
/// said, and a layer can be looked at, or replaced, while the rows are in it.
package struct LayerWalk {
  /// A model on its way through the layers.
  package struct Lane {
    package let model: TransformerModel
    /// The first layer that differs from lane 0, which it follows up to there. 0 means the embeddings are its own, too; the
    /// number of layers, that only norm and head differ.
    package var fork = 0
    /// A lower lane, whose routes are taken in place of its own.
    package var replays: Int?
    /// Reads its weights ahead; nil where they are asked for when they are needed.
    package var readAhead: ReadAhead?
    /// What the passes of this lane tell beside; ``TransformerModel/Taps/hidden`` is the observer's.
    package var taps: TransformerModel.Taps

    package init(
      _ model: TransformerModel, fork: Int = 0, replays: Int? = nil, readAhead: ReadAhead? = nil,
      taps: TransformerModel.Taps = .init()
    ) {
      self.model = model
      self.fork = fork
      self.replays = replays
      self.readAhead = readAhead
      self.taps = taps
    }
  }

  /// What watches a walk. Arrays by lane are empty before a lane's fork.
  package struct Observer {
    /// Layer (−1: the embeddings), hidden states (T, H) by lane.
    package var hidden: ((Int, [[Float]]) -> Void)?
    /// Layer, routes and router logits (T, experts) by lane.
    package var routing: ((Int, [[Router.Route]], [[Float]]) -> Void)?
    /// Layer, lane, and the hidden states (T, H) that leave the layer, to be changed.
    package var disturb: ((Int, Int, inout [Float]) -> Void)?
    /// Asked after lane 0 went through a layer: a model in whose layer the rows shall go instead, once more from where they
    /// entered it, such as one whose layer was just quantized with what was seen; nil where there is none.
    package var replacement: ((Int) throws(ModelError) -> TransformerModel?)?
    package init() {}
  }

  private let lanes: [Lane]
  private let tiles: [[TransformerModel.Segment]]
  private let blockLength: Int
  private let keepsKeys: Bool

  /// - Parameters:
  ///   - lanes: the first is what others follow up to their fork; none forks behind a lane that it replays.
  ///   - segments: sequences, or parts of them; each sees only itself, and those before it that share its cache.
  ///   - blockLength: of the block-causal mask.
  ///   - keepsKeys: whether keys and values stay in the caches. Otherwise a layer's are dropped when a lane is through it, so that
  ///     a model far larger than memory runs with 4 · hidden size bytes a row.
  package init(_ lanes: [Lane], _ segments: [TransformerModel.Segment], blockLength: Int, keepsKeys: Bool) {
    self.init(lanes, tiles: [segments], blockLength: blockLength, keepsKeys: keepsKeys)
  }

  /// Many rows, some of them at a time: all tiles go through a layer before any goes on to the next, so that weights are read
  /// once, and what a layer takes beside the hidden states is that of one tile. What watches is told of one tile after the other.
  ///
  /// - Parameter tiles: segments that share a cache are in one tile.
  package init(_ lanes: [Lane], tiles: [[TransformerModel.Segment]], blockLength: Int, keepsKeys: Bool) {
    precondition(!lanes.isEmpty && lanes[0].fork == 0 && !tiles.isEmpty)
    self.lanes = lanes
    self.tiles = tiles
    self.blockLength = blockLength
    self.keepsKeys = keepsKeys
  }

  /// Takes the rows of one tile through the layers.
  ///
  /// - Returns: by lane the hidden states (T, H) after all layers, before the final norm.
  /// - Throws: as ``watch(_:goesOn:)``.
  package func run(
    _ observer: Observer = Observer(), goesOn: (_ layer: Int, _ lane: Int) -> Bool = { _, _ in true }
  ) throws(ModelError) -> [[Float]] {
    precondition(tiles.count == 1)
    return try walk(observer, goesOn)[0]
  }

  /// The same for all tiles: by tile and lane the hidden states after all layers.
  package func runTiles(
    _ observer: Observer, goesOn: (_ layer: Int, _ lane: Int) -> Bool
  ) throws(ModelError) -> [[[Float]]] {
    try walk(observer, goesOn)
  }

  /// Takes all tiles through the layers for what the observers and taps are told.
  ///
  /// - Parameters:
  ///   - entered: where the walk begins in place of the embeddings: a layer, and by tile the hidden states (T, H) of the one lane
  ///     that go into it, as the observer was told them behind the layer before.
  ///   - goesOn: asked before a lane goes through a layer, with layer and lane; false stops the walk.
  /// - Throws: ``ModelError/interrupted``, or what reading a weight throws. What a layer wrote of keys and values is then
  ///   incomplete.
  package func watch(
    _ observer: Observer = Observer(), from entered: (layer: Int, hidden: [[Float]])? = nil,
    goesOn: (_ layer: Int, _ lane: Int) -> Bool
  ) throws(ModelError) {
    precondition(entered == nil || lanes.count == 1)
    _ = try walk(observer, from: entered, goesOn)
  }

  /// By tile and lane, the hidden states.
  private func walk(
    _ observer: Observer, from entered: (layer: Int, hidden: [[Float]])? = nil,
    _ goesOn: (_ layer: Int, _ lane: Int) -> Bool
  ) throws(ModelError) -> [[[Float]]] {
    let layerCount = lanes[0].model.configuration.layerCount
    let room = ExpertRoom()
    var states: [[[Float]]]
    if let entered {
      states = entered.hidden.map { [$0] }
    } else {
      states = tiles.map { tile in lanes.map { $0.fork == 0 ? $0.model.embed(tile) : [] } }
      for hidden in states { observer.hidden?(-1, hidden) }
    }
    for layer in (entered?.layer ?? 0)..<layerCount {
      for tile in tiles.indices { try advance(&states[tile], through: layer, tiles[tile], observer, room, goesOn) }
    }
    for tile in states.indices {
      for (index, lane) in lanes.enumerated() where lane.fork == layerCount { states[tile][index] = states[tile][0] }
    }
    return states
  }

  /// One tile through one layer, lane by lane.
  private func advance(
    _ hidden: inout [[Float]], through layer: Int, _ segments: [TransformerModel.Segment], _ observer: Observer,
    _ room: ExpertRoom, _ goesOn: (_ layer: Int, _ lane: Int) -> Bool
  ) throws(ModelError) {
    let trunk = layer > 0 && lanes.contains { $0.fork == layer } ? hidden[0] : []
    var routes = [[Router.Route]](repeating: [], count: lanes.count)
    var logits = [[Float]](repeating: [], count: lanes.count)
    for (index, lane) in lanes.enumerated() where lane.fork <= layer {
      guard goesOn(layer, index) else { throw .interrupted }
      if layer > 0, lane.fork == layer { hidden[index] = trunk }
      let entering = index == 0 && observer.replacement != nil ? hidden[0] : []
      var taps = lane.taps
      taps.routes = {
        routes[index] = $1
        lane.taps.routes?($0, $1)
      }
      if observer.routing != nil {
        taps.routerLogits = {
          logits[index] = $1
          lane.taps.routerLogits?($0, $1)
        }
      }
      let replayed = lane.replays.flatMap { routes[$0].isEmpty ? nil : routes[$0] }
      try lane.model.advance(
        &hidden[index], through: layer, segments, blockLength: blockLength, taps: taps, replaying: replayed,
        readAhead: lane.readAhead, room: room)
      if index == 0, let other = try observer.replacement?(layer) {
        hidden[0] = entering
        try other.advance(&hidden[0], through: layer, segments, blockLength: blockLength, room: room)
      }
      if !keepsKeys { for segment in segments { segment.cache.drop(layer: layer) } }
      observer.disturb?(layer, index, &hidden[index])
    }
    if !routes[0].isEmpty { observer.routing?(layer, routes, logits) }
    observer.hidden?(layer, hidden)
  }
}

extension TransformerModel {
  /// All layers, then the final norm; keys and values stay in the caches.
  ///
  /// - Parameters:
  ///   - segments: sequences, or parts of them; each sees only itself.
  ///   - blockLength: of the block-causal mask.
  ///   - isInterrupted: asked before each layer.
  /// - Returns: (T, H), in the order of the segments.
  /// - Throws: ``ModelError/interrupted``; what a layer writes of keys and values is then incomplete.
  package func hiddenStates(
    _ segments: [Segment], blockLength: Int, taps: Taps = Taps(), isInterrupted: () -> Bool = { false }
  ) throws(ModelError) -> [Float] {
    let layerCount = configuration.layerCount
    let walk = LayerWalk([.init(self, taps: taps)], segments, blockLength: blockLength, keepsKeys: true)
    var observer = LayerWalk.Observer()
    if let tap = taps.hidden {
      observer.hidden = { layer, hidden in if layer + 1 < layerCount { tap(layer + 1, hidden[0]) } }
    }
    var hidden = try walk.run(observer) { _, _ in !isInterrupted() }[0]
    normalize(&hidden)
    taps.hidden?(layerCount, hidden)
    return hidden
  }

  /// Only writes keys and values of a segment whose tokens are final, some blocks after the other: memory and the time to
  /// an interrupt do not grow with the segment.
  ///
  /// - Parameter rows: that go through the layers at a time, up to whole blocks. With half of mini's experts chosen for each row,
  ///   more than the default would not read the weights much less often.
  /// - Precondition: the segment begins and ends with a block.
  package func writeCache(
    _ segment: Segment, blockLength: Int, rows: Int = 2048, isInterrupted: () -> Bool = { false }
  ) throws(ModelError) {
    let count = max(1, rows / blockLength) * blockLength
    for start in stride(from: 0, to: segment.tokens.count, by: count) {
      let tokens = segment.tokens[start..<min(segment.tokens.count, start + count)]
      let tile = Segment(tokens: Array(tokens), start: segment.start + start, cache: segment.cache)
      let walk = LayerWalk([.init(self)], [tile], blockLength: blockLength, keepsKeys: true)
      _ = try walk.run { _, _ in !isInterrupted() }
    }
  }
}
