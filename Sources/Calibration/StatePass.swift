import Kernels
package import Models
import Storage
import Tensors

/// One full-precision pass over noisy copies, layer by layer, all rows through a layer before any goes on to the next.
package struct StatePass {
  private let model: TransformerModel
  private let copies: NoisyCopies
  /// Those whose states are taken.
  private let rows: Range<Int>

  /// - Parameter rows: of a part, whole tiles; nil for all.
  package init(_ model: TransformerModel, _ copies: NoisyCopies, rows: Range<Int>? = nil) {
    self.model = model
    self.copies = copies
    self.rows = rows ?? 0..<copies.rowCount
  }

  /// Bytes that a pass holds: hidden states of all its rows, and what one tile takes on its way through a layer.
  package static func workingByteCount(
    _ copies: NoisyCopies, _ configuration: ModelConfiguration, rows: Int? = nil
  ) -> Int {
    let c = configuration
    let rowCount = rows ?? copies.rowCount
    let largest = copies.tiles(c).map(\.rows.count).max() ?? 0
    let heads = c.headCount * c.headDimension
    let attention = 2 * c.hiddenSize + 2 * heads + 2 * heads + 2 * c.keyValueHeadCount * c.headDimension
    let dense = 3 * c.hiddenSize + 2 * c.intermediateSize
    // Rows that are gathered for the experts that are multiplied at a time, an eighth of them, and what these answer.
    let held = c.expertsPerToken * (2 * c.hiddenSize + 3 * c.expertIntermediateSize) / 8
    let mixture = 4 * c.hiddenSize + 2 * c.expertCount + 3 * c.sharedIntermediateSize + held
    let answers = c.answerByteCount(rows: largest)
    let tile = 4 * largest * max(attention, dense, mixture + c.hiddenSize)
    return 4 * rowCount * c.hiddenSize + 24 * copies.rowCount + tile + answers
  }

  /// The next rows of a layer.
  package struct Rows {
    package let layer: Int
    package let range: Range<Int>
    /// (range.count, columns) bf16.
    package var states: [UInt8]
    /// (range.count, slots).
    package var experts: [Int32]
    package var weights: [Float]
  }

  /// What a pass needs to go on behind a layer, told as it is made.
  package struct Checkpoints {
    /// Takes the hidden states (T, H) of a tile behind a layer, one tile after the other.
    package var hidden: (_ layer: Int, _ states: [Float]) -> Void
    /// Called when all of a layer is told, its rows among it; false stops.
    package var ended: (_ layer: Int) -> Bool

    package init(hidden: @escaping (Int, [Float]) -> Void, ended: @escaping (Int) -> Bool) {
      self.hidden = hidden
      self.ended = ended
    }
  }

  /// - Parameters:
  ///   - entered: the layer to begin with, and by tile the hidden states that go into it; nil for the first.
  ///   - checkpoints: told behind each layer but the last.
  ///   - add: takes rows, those of a layer ascending; false stops.
  ///   - finished: called when a layer with experts has given all its rows and has not gone on to the next; false stops.
  ///   - progress: called with a share of the layers; false stops.
  package func run(
    from entered: (layer: Int, hidden: [[Float]])? = nil, checkpoints: Checkpoints? = nil,
    add: @escaping (Rows) -> Bool, finished: (Int) -> Bool, progress: (Double) -> Bool
  ) throws(StateError) {
    let configuration = model.configuration
    let tiles = tiles
    guard !tiles.isEmpty else {
      for layer in 0..<configuration.layerCount where configuration.isMoE(layer: layer) {
        guard finished(layer) else { throw .interrupted }
      }
      return
    }
    let collector = Collector(model, copies, tiles, add)
    var lane = LayerWalk.Lane(
      model, readAhead: ReadAhead(model.weights, rows: rows.count, threads: model.compute.threads))
    lane.taps.inputs = { id, x in if id.role == .router { collector.states = x } }
    lane.taps.routes = { collector.add(layer: $0, $1) }
    let walk = LayerWalk(
      [lane], tiles: tiles.map(\.segments), blockLength: copies.blockLength, keepsKeys: false)
    var observer = LayerWalk.Observer()
    if let checkpoints {
      observer.hidden = { layer, hidden in
        if layer >= 0, layer + 1 < configuration.layerCount { checkpoints.hidden(layer, hidden[0]) }
      }
    }
    let count = Double(configuration.layerCount * tiles.count)
    var done = (entered?.layer ?? 0) * tiles.count
    var last = -1
    func end(_ layer: Int) -> Bool {
      guard collector.problem == nil, !collector.isStopped else { return false }
      return !configuration.isMoE(layer: layer) || finished(layer)
    }
    do throws(ModelError) {
      try walk.watch(observer, from: entered) { layer, _ in
        if layer != last, last >= 0 {
          guard end(last), checkpoints?.ended(last) ?? true else { return false }
        }
        last = layer
        defer { done += 1 }
        return progress(Double(done) / count) && collector.problem == nil && !collector.isStopped
      }
    } catch {
      if let problem = collector.problem { throw problem }
      throw error == .interrupted ? .interrupted : .model(error)
    }
    if let problem = collector.problem { throw problem }
    guard last < 0 || end(last) else { throw .interrupted }
  }

  /// Those of its rows.
  private var tiles: [NoisyCopies.Tile] {
    copies.tiles(model.configuration).filter { rows.contains($0.rows.lowerBound) }
  }

  /// By tile, how many rows it has.
  package var tileRowCounts: [Int] { tiles.map(\.rows.count) }
}

/// Takes what the taps of a pass tell and puts it into the order of the rows.
private final class Collector {
  var states: [Float] = []
  private(set) var problem: StateError?
  private(set) var isStopped = false
  private let columns: Int
  private let kernels: KernelSet
  private let copies: NoisyCopies
  private let tiles: [NoisyCopies.Tile]
  private let sink: (StatePass.Rows) -> Bool
  private var layer = -1
  private var tile = 0

  init(
    _ model: TransformerModel, _ copies: NoisyCopies, _ tiles: [NoisyCopies.Tile],
    _ sink: @escaping (StatePass.Rows) -> Bool
  ) {
    columns = model.configuration.hiddenSize
    kernels = model.compute.kernels
    self.copies = copies
    self.tiles = tiles
    self.sink = sink
  }

  func add(layer: Int, _ routes: [Router.Route]) {
    if layer != self.layer { (self.layer, tile) = (layer, 0) }
    defer { tile += 1 }
    let own = tiles[tile]
    let slots = routes.first?.experts.count ?? 0
    var rows = StatePass.Rows(
      layer: layer, range: own.rows, states: [UInt8](repeating: 0, count: 2 * states.count),
      experts: [Int32](repeating: 0, count: routes.count * slots),
      weights: [Float](repeating: 0, count: routes.count * slots))
    for (row, place) in own.order.enumerated() {
      for column in 0..<columns {
        let bits = BFloat16.narrow(states[row * columns + column])
        rows.states[2 * (place * columns + column)] = UInt8(truncatingIfNeeded: bits)
        rows.states[2 * (place * columns + column) + 1] = UInt8(truncatingIfNeeded: bits >> 8)
      }
      for slot in 0..<slots {
        rows.experts[place * slots + slot] = Int32(routes[row].experts[slot])
        rows.weights[place * slots + slot] = routes[row].weights[slot]
      }
    }
    states = []
    if let element = unsafe kernels.firstNotFinite(rows.states.span.bytes, source: .bf16) {
      return refuse(own.rows.lowerBound + element / columns)
    }
    if let element = unsafe kernels.firstNotFinite(rows.weights.span.bytes, source: .f32) {
      return refuse(own.rows.lowerBound + element / slots)
    }
    if !sink(rows) { isStopped = true }
  }

  private func refuse(_ row: Int) {
    problem =
      problem
      ?? .notFinite(
        layer: layer, text: Int(copies.places[3 * row]), position: Int(copies.places[3 * row + 2]))
  }
}
