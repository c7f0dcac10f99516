import Kernels
import Models
import Storage
import TestSupport
import Testing

@Suite struct LayerWalkTests {
  private func pico(threads: Int = 2) throws -> (model: TransformerModel, weights: StoredWeights) {
    let weights = try StoredWeights(path: Trained.checkpoint("pico"))
    return (try TransformerModel(weights, compute: Compute(kernels: .best, threads: threads)), weights)
  }

  private func segments(_ sequences: [[Int]], _ model: TransformerModel) -> [TransformerModel.Segment] {
    sequences.map { .init(tokens: $0, start: 0, cache: KeyValueCache(model.configuration)) }
  }

  private func someSequences(_ lengths: [Int]) -> [[Int]] {
    var random = SeededRandom(seed: 7)
    return lengths.map { count in (0..<count).map { _ in Int.random(in: 0..<600, using: &random) } }
  }

  @Test("many sequences together give what each gives alone, and each expert is read at most once a layer")
  func manySequences() throws {
    let (model, weights) = try pico()
    let sequences = someSequences([40, 1, 96, 33])
    var alone: [Float] = []
    for segment in segments(sequences, model) { alone += try model.hiddenStates([segment], blockLength: 32) }
    let before = weights.counters.experts
    var layers: [Int] = []
    let walk = LayerWalk([.init(model)], segments(sequences, model), blockLength: 32, keepsKeys: false)
    var together = try walk.run { layer, _ in
      layers.append(layer)
      return true
    }[0]
    model.normalize(&together)
    #expect(weights.counters.experts - before <= 3 * 16)
    #expect(layers == [0, 1, 2, 3])
    #expect(together.count == alone.count)
    // Sums of more tokens run in another order.
    for (a, b) in zip(together, alone) { #expect(abs(a - b) <= 1e-4 * max(1, abs(b))) }
  }

  @Test("the inputs of products are what the matrices are multiplied with")
  func inputs() throws {
    let (model, weights) = try pico()
    var inputs: [TensorID: [Float]] = [:]
    var hidden: [[Float]] = []
    var lane = LayerWalk.Lane(model)
    lane.taps.inputs = { inputs[$0] = $1 }
    var observer = LayerWalk.Observer()
    observer.hidden = { _, states in hidden.append(states[0]) }
    let rows = 24
    _ = try LayerWalk([lane], segments(someSequences([rows]), model), blockLength: 8, keepsKeys: false).run(observer)
    let c = model.configuration
    for layer in 0..<c.layerCount {
      let columns: [(TensorID, Int)] =
        [(TensorID(.attention, .queryKeyValue, layer: layer), c.hiddenSize)]
        + [(TensorID(.attention, .output, layer: layer), c.headCount * c.headDimension)]
        + (c.isMoE(layer: layer)
          ? [
            (TensorID(.router, .weight, layer: layer), c.hiddenSize),
            (TensorID(.sharedExpert, .gate, layer: layer), c.hiddenSize),
            (TensorID(.sharedExpert, .down, layer: layer), c.sharedIntermediateSize),
          ]
          : [
            (TensorID(.denseMLP, .gate, layer: layer), c.hiddenSize),
            (TensorID(.denseMLP, .down, layer: layer), c.intermediateSize),
          ])
      for (id, width) in columns { #expect(inputs[id]?.count == rows * width, "\(id)") }
    }
    // A dense layer's last product, made by hand, is what its hidden states grew by behind attention.
    let down = TensorID(.denseMLP, .down, layer: 0)
    let attended = TensorID(.attention, .output, layer: 0)
    let (x, y) = (try #require(inputs[down]), try #require(inputs[attended]))
    let grown = model.compute.product(try weights.matrix(down), x, tokens: rows)
    let moved = model.compute.product(try weights.matrix(attended), y, tokens: rows)
    for index in hidden[0].indices {
      #expect(abs(hidden[0][index] + moved[index] + grown[index] - hidden[1][index]) <= 1e-5)
    }
  }

  @Test("a layer can be replaced while the rows are in it")
  func replacement() throws {
    let (model, _) = try pico()
    let tokens = someSequences([20])
    func walk(_ observer: LayerWalk.Observer) throws -> [Float] {
      try LayerWalk([.init(model)], segments(tokens, model), blockLength: 4, keepsKeys: false).run(observer)[0]
    }
    let plain = try walk(.init())
    var asked: [Int] = []
    var observer = LayerWalk.Observer()
    observer.replacement = { layer throws(ModelError) in
      asked.append(layer)
      return layer == 1 ? model : nil
    }
    #expect(try walk(observer) == plain)  // by itself
    #expect(asked == [0, 1, 2, 3])
    // Layer 1 as if it stood in a model whose experts answer with their neighbours' weights.
    let swapped = try TransformerModel(NeighbourWeights(base: model.weights), compute: model.compute)
    var states: [[Float]] = []
    observer.replacement = { layer in layer == 1 ? swapped : nil }
    observer.hidden = { states.append($1[0]) }
    let other = try walk(observer)
    var unchanged: [[Float]] = []
    observer.replacement = nil
    observer.hidden = { unchanged.append($1[0]) }
    _ = try walk(observer)
    #expect(states[..<2] == unchanged[..<2] && states[2] != unchanged[2] && other != plain)
  }

  @Test("a walk that begins behind a layer goes on as the whole one", arguments: 1..<4)
  func goingOn(layer: Int) throws {
    let (model, _) = try pico(threads: 1)
    let tiles = [segments([[1, 2, 3], [4, 5]], model), segments([[6, 7, 8, 9]], model)]
    func hidden(from entered: (layer: Int, hidden: [[Float]])?) throws -> [Int: [[Float]]] {
      var states: [Int: [[Float]]] = [:]
      var observer = LayerWalk.Observer()
      observer.hidden = { states[$0, default: []].append($1[0]) }
      let walk = LayerWalk([.init(model)], tiles: tiles, blockLength: 4, keepsKeys: false)
      try walk.watch(observer, from: entered) { _, _ in true }
      return states
    }
    let whole = try hidden(from: nil)
    let rest = try hidden(from: (layer, try #require(whole[layer - 1])))
    #expect(rest == whole.filter { $0.key >= layer } && rest.count == model.configuration.layerCount - layer)
  }

  @Test func stopping() throws {
    let (model, _) = try pico(threads: 1)
    let walk = LayerWalk([.init(model)], segments([[1, 2, 3]], model), blockLength: 32, keepsKeys: false)
    #expect(throws: ModelError.interrupted) { _ = try walk.run { layer, _ in layer < 2 } }
  }
}

/// Weights whose expert e is the base's e + 1.
private struct NeighbourWeights: WeightSource {
  let base: any WeightSource
  var configuration: ModelConfiguration { base.configuration }
  var architecture: any Architecture.Type { base.architecture }
  var items: [ModelItem] { base.items }
  var path: String { base.path }
  var counters: WeightCounters { base.counters }
  var notes: [SourceNote] { base.notes }
  func requireUnchanged() throws(ModelError) { try base.requireUnchanged() }
  func hasTensor(_ id: TensorID) -> Bool { base.hasTensor(id) }
  func matrix(_ id: TensorID) throws(ModelError) -> Matrix { try base.matrix(id) }
  func expert(layer: Int, expert: Int) throws(ModelError) -> ExpertWeights {
    try base.expert(layer: layer, expert: (expert + 1) % configuration.expertCount)
  }
  func willNeed(layer: Int, experts: [Int]) {}
  func places(of item: ModelItem) -> [SharedBytes] { base.places(of: item) }
  func file(named name: String) throws(ModelError) -> [UInt8]? { try base.file(named: name) }
}
