package import Decoding
package import Models

/// A model, or a mixture of two, on its way through the layers.
package struct Lane: Sendable {
  package let model: TransformerModel
  /// The first layer that differs from lane 0, which it follows up to there. 0 means the embeddings are its own, too; the
  /// number of layers, that only norm and head differ.
  package var fork = 0
  /// Standard deviation of the relative noise put on each layer's output.
  package var noise = 0.0
  /// A lower lane, whose routes are taken in place of its own.
  package var replays: Int?

  package init(_ model: TransformerModel, fork: Int = 0, noise: Double = 0, replays: Int? = nil) {
    self.model = model
    self.fork = fork
    self.noise = noise
    self.replays = replays
  }
}

/// Why drift could not be measured.
package enum DriftError: Error, Sendable, Equatable {
  case model(ModelError)
  case decoding(DecodingError)
  case interrupted
}

/// Advances models through the same states, all of them one layer before any goes to the next, so that each weight is read
/// once however many texts there are, and states of one layer can be compared without being kept.
///
/// The earlier blocks of a text go through the model once; the states, in descending order of their blocks, read their keys
/// and values. A state writes its own over those of its block, which no later state of that text sees. Of a model that predicts
/// the next token all states are rows of the text itself, each before the position that counts.
package struct Lockstep {
  /// A row of the hidden states that counts.
  package struct Row: Sendable {
    package let row: Int
    package let state: Int
    /// Which of the state's counted positions.
    package let place: Int
  }

  /// What watches. Rows are those of one batch of texts.
  package struct Observer {
    /// Layer (−1: embeddings), hidden states (T, H) by lane (empty before its fork), rows that count.
    package var hidden: ((Int, [[Float]], [Row]) -> Void)?
    /// Layer, routes and router logits (T, experts) by lane (empty before its fork), rows that count.
    package var routing: ((Int, [[Router.Route]], [[Float]], [Row]) -> Void)?
    /// State, and by lane the logits (counted rows of the state, vocabulary).
    package var logits: (Int, [ArraySlice<Float>]) -> Void
    package init(logits: @escaping (Int, [ArraySlice<Float>]) -> Void) { self.logits = logits }
  }

  /// Rows whose logits are held at once; for these the head is read once.
  private static let logitRows = 64

  /// Up to so many lanes, all runs have the same batches.
  private static let usualLanes = 8

  private let lanes: [Lane]
  private let blockLength: Int
  private let seed: UInt64
  private let memory: Int

  /// - Parameters:
  ///   - lanes: the first one is what others follow up to their fork; none forks behind a lane that it replays.
  ///   - memory: bytes for hidden states; more texts than fit are scored in turns, each of which reads the weights again.
  package init(_ lanes: [Lane], blockLength: Int, seed: UInt64, memory: Int) {
    precondition(!lanes.isEmpty && lanes[0].fork == 0)
    self.lanes = lanes
    self.blockLength = blockLength
    self.seed = seed
    self.memory = memory
  }

  /// - Parameter progress: called with a share of the work done; false stops the run.
  /// - Returns: how often each weight was read.
  @discardableResult
  package func run(
    texts: [[Int]], states: [MaskedState], observer: Observer, progress: (Double) -> Bool = { _ in true }
  ) throws(DriftError) -> Int {
    let batches = batches(texts: texts, states: states)
    for (index, batch) in batches.enumerated() {
      try run(batch, isOnly: batches.count == 1, observer) { progress((Double(index) + $0) / Double(batches.count)) }
    }
    return batches.count
  }

  /// How often a run reads each weight.
  func passes(texts: [[Int]], states: [MaskedState]) -> Int { batches(texts: texts, states: states).count }

  /// Texts whose states go through the layers in one pass.
  private struct Batch {
    var tiles: [Tile] = []
    var rowCount = 0
  }

  /// Texts that go through a layer together: what it takes beside the hidden states is little memory then, which is used again.
  private struct Tile {
    var segments: [TransformerModel.Segment] = []
    /// By segment, a number of its text and its place there, whatever else is scored: noise is drawn from it.
    var identities: [UInt64] = []
    var rows: [Row] = []
    var rowCount = 0
  }

  private func batches(texts: [[Int]], states: [MaskedState]) -> [Batch] {
    let byText = Dictionary(grouping: states.indices) { states[$0].text }
    let configuration = lanes[0].model.configuration
    // Hidden states of all lanes, and about eight more for one lane's norms, queries, keys and products. Fewer lanes count as
    // the usual number: products of many rows round in their own way, so what a candidate says may not depend on who runs
    // beside it, a reference or none.
    let lead = configuration.conventions.prediction.lead
    let rowBytes = (max(lanes.count, Self.usualLanes) + 8) * configuration.hiddenSize * MemoryLayout<Float>.size
    let limit = max(1, memory / rowBytes)
    var batches: [Batch] = []
    for (text, tokens) in texts.enumerated() {
      let own = (byText[text] ?? []).sorted { (states[$1].start, $0) < (states[$0].start, $1) }
      guard let last = own.first else { continue }
      let cleanCount = states[last].start + (lead == 0 ? 0 : (states[last].counted.last ?? 0) + 1 - lead)
      let count = lead == 0 ? own.reduce(cleanCount) { $0 + states[$1].tokens.count } : cleanCount
      if batches.isEmpty || batches[batches.count - 1].rowCount + count > limit { batches.append(Batch()) }
      let batch = batches.count - 1
      batches[batch].rowCount += count
      let fits = batches[batch].tiles.last.map { $0.rowCount + count <= configuration.rowsReadingOnce } ?? false
      if !fits { batches[batch].tiles.append(Tile()) }
      let tile = batches[batch].tiles.count - 1
      let cache = KeyValueCache(configuration)
      // 0 is what comes before the last state; those of a text follow each other.
      let firstState = own.reduce(last, min)
      func add(_ tokens: [Int], start: Int, _ place: Int) {
        batches[batch].tiles[tile].segments.append(.init(tokens: tokens, start: start, cache: cache))
        batches[batch].tiles[tile].identities.append(UInt64(text) << 32 | UInt64(place))
        batches[batch].tiles[tile].rowCount += tokens.count
      }
      let textStart = batches[batch].tiles[tile].rowCount
      if cleanCount > 0 { add(Array(tokens[..<cleanCount]), start: 0, 0) }
      for index in own {
        let state = states[index]
        let first = lead == 0 ? batches[batch].tiles[tile].rowCount : textStart + state.start - lead
        batches[batch].tiles[tile].rows += state.counted.enumerated().map {
          Row(row: first + $1, state: index, place: $0)
        }
        guard lead == 0 else { continue }
        add(state.tokens, start: state.start, index - firstState + 1)
      }
    }
    return batches
  }

  private func run(_ batch: Batch, isOnly: Bool, _ observer: Observer, progress: (Double) -> Bool) throws(DriftError) {
    let layerCount = lanes[0].model.configuration.layerCount
    let readAhead = readAhead(rows: batch.rowCount, isOnly: isOnly)
    let walk = LayerWalk(
      zip(lanes, readAhead).map { .init($0.model, fork: $0.fork, replays: $0.replays, readAhead: $1) },
      tiles: batch.tiles.map(\.segments), blockLength: blockLength, keepsKeys: false)
    let tiles = batch.tiles
    // Which of them is told of. Its hidden states come last.
    var current = 0
    var watcher = LayerWalk.Observer()
    watcher.hidden = { layer, hidden in
      observer.hidden?(layer, hidden, tiles[current].rows)
      current = (current + 1) % tiles.count
    }
    if let routing = observer.routing { watcher.routing = { routing($0, $1, $2, tiles[current].rows) } }
    watcher.disturb = { layer, lane, hidden in
      if lanes[lane].noise > 0 { addNoise(lanes[lane].noise, layer, tiles[current], to: &hidden) }
    }
    let hidden: [[[Float]]]
    do throws(ModelError) {
      hidden = try walk.runTiles(watcher) { layer, lane in
        let done = (Double(current) + Double(lane) / Double(lanes.count)) / Double(tiles.count)
        return progress((Double(layer) + done) / Double(layerCount + 1))
      }
    } catch { throw error == .interrupted ? .interrupted : .model(error) }
    for (index, (tile, hidden)) in zip(tiles, hidden).enumerated() {
      try score(hidden, tile, observer) {
        progress((Double(layerCount) + (Double(index) + $0) / Double(tiles.count)) / Double(layerCount + 1))
      }
    }
  }

  /// By lane. Lanes with the same weights come to them one after the other: the first of them reads ahead.
  ///
  /// - Parameter isOnly: whether no other batch comes to the weights.
  private func readAhead(rows: Int, isOnly: Bool) -> [ReadAhead?] {
    // Mixtures take weights of others.
    let areApart =
      isOnly && Set(lanes.map { ObjectIdentifier($0.model) }).count == lanes.count
      && lanes.allSatisfy { $0.fork == 0 && !($0.model.weights is MixedWeights) }
    return lanes.indices.map { index in
      let model = lanes[index].model
      guard !lanes[..<index].contains(where: { $0.model === model }) else { return nil }
      return ReadAhead(
        model.weights, rows: rows, isOnly: areApart, memory: memory / 4, threads: model.compute.threads)
    }
  }

  /// Norm, head and the observer, for some states at a time.
  private func score(
    _ hidden: [[Float]], _ tile: Tile, _ observer: Observer, progress: (Double) -> Bool
  ) throws(DriftError) {
    let width = lanes[0].model.configuration.hiddenSize
    let vocabulary = lanes[0].model.configuration.vocabularySize
    var first = 0
    while first < tile.rows.count {
      var end = first
      var ends: [Int] = []
      while end < tile.rows.count {
        let state = tile.rows[end].state
        let next = tile.rows[end...].firstIndex { $0.state != state } ?? tile.rows.count
        if !ends.isEmpty, next - first > Self.logitRows { break }
        ends.append(next)
        end = next
      }
      let logits = lanes.indices.map { index in
        var rows: [Float] = []
        rows.reserveCapacity((end - first) * width)
        for row in tile.rows[first..<end] { rows += hidden[index][row.row * width..<(row.row + 1) * width] }
        lanes[index].model.normalize(&rows)
        return lanes[index].model.logits(rows)
      }
      var start = first
      for next in ends {
        let range = (start - first) * vocabulary..<(next - first) * vocabulary
        observer.logits(tile.rows[start].state, logits.map { $0[range] })
        start = next
      }
      first = end
      guard progress(Double(first) / Double(tile.rows.count)) else { throw .interrupted }
    }
  }

  /// h · (1 + σ z), z uniform with mean 0 and variance 1, as rounding errors are.
  private func addNoise(_ deviation: Double, _ layer: Int, _ tile: Tile, to hidden: inout [Float]) {
    let width = lanes[0].model.configuration.hiddenSize
    let scale = deviation * 12.0.squareRoot()
    var index = 0
    for (segment, identity) in zip(tile.segments, tile.identities) {
      var random = SplitMix64(seed: seed ^ (identity &* 0x9E37_79B9_7F4A_7C15) ^ (UInt64(layer) << 48))
      for _ in 0..<segment.tokens.count * width {
        hidden[index] *= Float(1 + scale * (random.uniform() - 0.5))
        index += 1
      }
    }
  }
}
