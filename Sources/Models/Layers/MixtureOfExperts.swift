import Kernels

/// The routed and shared experts of one layer (llada2.md §3.3).
struct MixtureOfExperts: Sendable {
  let layer: Int
  let gate: Matrix
  let router: Router
  /// Nil where the model has no shared expert.
  let shared: GatedMLP?

  /// Room for the experts' outputs before they are summed, in bytes. Rows beyond it go through the experts in another turn,
  /// which reads the weights again: for mini that is every 4,096 tokens.
  private static let outputByteCount = 256 << 20

  /// What the router says of each row, (rows, experts), before the sigmoid.
  func logits(_ x: [Float], rows: Int, _ compute: Compute) -> [Float] {
    compute.product(inFP32: gate, x, tokens: rows)
  }

  /// - Parameters:
  ///   - logits: (rows, experts)
  ///   - segments: the rows of each sequence and where they start in it.
  func routes(_ logits: [Float], segments: [(rows: Range<Int>, start: Int)]) -> [Router.Route] {
    var routes: [Router.Route] = []
    for segment in segments {
      let width = gate.rows
      let part = logits.span.extracting(segment.rows.lowerBound * width..<segment.rows.upperBound * width)
      routes += router.routes(logits: part, start: segment.start)
    }
    return routes
  }

  /// - Parameters:
  ///   - x: (rows, hidden), normalised.
  ///   - routes: of each row.
  /// - Returns: (rows, hidden).
  func apply(
    to x: [Float], routes: [Router.Route], weights: any WeightSource, compute: Compute
  ) throws(ModelError) -> [Float] {
    let rows = routes.count
    let hidden = x.count / max(rows, 1)
    var output = shared?.apply(to: x, rows: rows, compute) ?? [Float](repeating: 0, count: x.count)
    let slots = routes.first?.experts.count ?? 1
    let tileRows = max(1, Self.outputByteCount / (slots * hidden * MemoryLayout<Float>.size))
    for start in stride(from: 0, to: rows, by: tileRows) {
      let tile = start..<min(rows, start + tileRows)
      try addRouted(x, routes, tile, hidden, weights, compute, to: &output)
    }
    return output
  }

  private func addRouted(
    _ x: [Float], _ routes: [Router.Route], _ tile: Range<Int>, _ hidden: Int, _ weights: any WeightSource,
    _ compute: Compute, to output: inout [Float]
  ) throws(ModelError) {
    var users: [Int: [(row: Int, slot: Int)]] = [:]
    for row in tile {
      for (slot, expert) in routes[row].experts.enumerated() { users[expert, default: []].append((row, slot)) }
    }
    let experts = users.keys.sorted()
    weights.willNeed(layer: layer, experts: experts)
    let slots = routes[tile.lowerBound].experts.count
    var slotOutputs = [Float](repeating: 0, count: tile.count * slots * hidden)
    for expert in experts {
      let places = users[expert] ?? []
      let projections = try weights.expert(layer: layer, expert: expert)
      let mlp = GatedMLP(gate: projections.gate, up: projections.up, down: projections.down)
      var gathered: [Float] = []
      gathered.reserveCapacity(places.count * hidden)
      for place in places { gathered += x[place.row * hidden..<(place.row + 1) * hidden] }
      let y = mlp.apply(to: gathered, rows: places.count, compute)
      for (index, place) in places.enumerated() {
        let target = ((place.row - tile.lowerBound) * slots + place.slot) * hidden
        slotOutputs.replaceSubrange(target..<target + hidden, with: y[index * hidden..<(index + 1) * hidden])
      }
    }
    // Summed in the order of the route, as the reference does, then added to the shared expert's output.
    var sum = [Float](repeating: 0, count: hidden)
    for row in tile {
      for channel in 0..<hidden { sum[channel] = 0 }
      for slot in 0..<slots {
        let weight = routes[row].weights[slot]
        let source = ((row - tile.lowerBound) * slots + slot) * hidden
        for channel in 0..<hidden { sum[channel] += weight * slotOutputs[source + channel] }
      }
      for channel in 0..<hidden { output[row * hidden + channel] += sum[channel] }
    }
  }
}

/// down(silu(gate(x)) * up(x)).
struct GatedMLP: Sendable {
  let gate: Matrix
  let up: Matrix
  let down: Matrix

  func apply(to x: [Float], rows: Int, _ compute: Compute) -> [Float] {
    var inner = compute.products([gate, up], x, tokens: rows)  // gate(x), up(x)
    let up = inner.removeLast()
    var span = inner[0].mutableSpan
    compute.kernels.siluMultiply(&span, up.span)
    return compute.product(down, inner[0], tokens: rows)
  }
}
