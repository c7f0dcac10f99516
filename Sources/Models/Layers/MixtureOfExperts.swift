import Kernels

/// The routed and shared experts of one layer (llada2.md §3.3, sdar.md §3).
struct MixtureOfExperts: Sendable {
  let layer: Int
  let gate: Matrix
  let router: Router
  /// Nil where the model has no shared expert.
  let shared: GatedMLP?

  /// Room for the experts' outputs before they are summed, in bytes, or more where it is a small part of what so many rows take
  /// anyway. Rows beyond it go through the experts in another turn, which reads the weights again: for mini that is every
  /// 4,096 tokens of up to 16,384, and of more a quarter.
  private static let outputByteCount = 256 << 20
  private static let mostTurns = 4

  private static func tileRows(slots: Int, hidden: Int) -> Int {
    max(1, outputByteCount / (slots * hidden * MemoryLayout<Float>.size))
  }

  /// Rows up to which each expert is read once.
  static func tileRows(_ c: ModelConfiguration) -> Int { tileRows(slots: c.expertsPerToken, hidden: c.hiddenSize) }

  /// What the router says of each row, (rows, experts), before they are made scores.
  func logits(_ x: [Float], rows: Int, _ compute: Compute) -> [Float] {
    compute.product(inFP32: gate, x, tokens: rows)
  }

  /// - Parameters:
  ///   - logits: (rows, experts)
  ///   - segments: the rows of each sequence and where they start in it.
  func routes(_ logits: [Float], segments: [(rows: Range<Int>, start: Int)], _ compute: Compute) -> [Router.Route] {
    let width = gate.rows
    let pieces = segments.flatMap { router.pieces(of: $0.rows, start: $0.start) }
    let routes = Parallel.map(count: pieces.count, threads: compute.threads) { [router] index in
      let (rows, start) = pieces[index]
      return router.routes(
        logits: logits.span.extracting(rows.lowerBound * width..<rows.upperBound * width), start: start)
    }
    return Array(routes.joined())
  }

  /// Adds the answers of the routed experts.
  ///
  /// - Parameters:
  ///   - x: (rows, hidden), normalised.
  ///   - routes: of each row.
  ///   - output: (rows, hidden), such as what the shared expert answers.
  ///   - readAhead: is told where the run is; without one, the experts chosen are asked for.
  func add(
    of x: [Float], _ routes: [Router.Route], to output: inout [Float], weights: any WeightSource,
    readAhead: ReadAhead? = nil, compute: Compute
  ) throws(ModelError) {
    let rows = routes.count
    let hidden = x.count / max(rows, 1)
    let slots = routes.first?.experts.count ?? 1
    let tileRows = max(
      Self.tileRows(slots: slots, hidden: hidden), (rows + Self.mostTurns - 1) / Self.mostTurns)
    for start in stride(from: 0, to: rows, by: tileRows) {
      let tile = start..<min(rows, start + tileRows)
      try addRouted(x, routes, tile, hidden, weights, readAhead, compute, to: &output)
    }
  }

  /// Experts whose weights are held at once: enough for threads to share them evenly, few enough for unpacked chunks.
  static let heldExperts = 32

  private func addRouted(
    _ x: [Float], _ routes: [Router.Route], _ tile: Range<Int>, _ hidden: Int, _ weights: any WeightSource,
    _ readAhead: ReadAhead?, _ compute: Compute, to output: inout [Float]
  ) throws(ModelError) {
    // By expert the rows that go there, and by row and slot where the expert's answer will stand.
    let slots = routes[tile.lowerBound].experts.count
    var users = [[Int]](repeating: [], count: gate.rows)
    var places = [(expert: Int, index: Int)](repeating: (0, 0), count: tile.count * slots)
    for row in tile {
      for (slot, expert) in routes[row].experts.enumerated() {
        places[(row - tile.lowerBound) * slots + slot] = (expert, users[expert].count)
        users[expert].append(row)
      }
    }
    let reader = readAhead?.experts
    // A reader gives all experts, one after the other.
    let experts = reader?.order(layer: layer) ?? users.indices.filter { !users[$0].isEmpty }
    if readAhead == nil { weights.willNeed(layer: layer, experts: experts) }
    let heldCount = reader?.heldCount ?? Self.heldExperts
    var answers = [[Float]](repeating: [], count: gate.rows)
    var next = experts.startIndex
    while next < experts.endIndex {
      readAhead?.reached(layer: layer, expert: experts[next])
      let first = next
      var mlps: [GatedMLP] = []
      var held = 0
      while next < experts.endIndex, held < heldCount {
        let projections =
          if let reader {
            try reader.next(isUsed: !users[experts[next]].isEmpty)
          } else {
            try weights.expert(layer: layer, expert: experts[next])
          }
        mlps.append(GatedMLP(gate: projections.gate, up: projections.up, down: projections.down))
        // What is used where it lies takes no memory, and the more experts there are, the less threads wait for each other.
        if readAhead != nil || !projections.isInPlace { held += 1 }
        next += 1
      }
      let some = experts[first..<next]
      for (expert, answer) in zip(some, Self.answers(mlps, some.map { users[$0] }, x, hidden, compute)) {
        answers[expert] = answer
      }
    }
    // Summed in the order of the route, as the reference does, then added to the shared expert's output.
    let first = tile.lowerBound
    var target = output.mutableSpan
    var own = target._mutatingExtracting(first * hidden..<tile.upperBound * hidden)
    Parallel.pieces(of: &own, length: hidden, threads: compute.threads, minimum: 8) { [places, answers] row, total in
      var sum = [Float](repeating: 0, count: hidden)
      for slot in 0..<slots {
        let weight = routes[first + row].weights[slot]
        let place = places[row * slots + slot]
        let rows = answers[place.expert]
        let answer = rows.span.extracting(place.index * hidden..<(place.index + 1) * hidden)
        for channel in 0..<hidden { sum[channel] += weight * answer[channel] }
      }
      for channel in 0..<hidden { total[channel] += sum[channel] }
    }
  }

  /// Computes each expert's answer to its rows. Threads take whole experts where there are enough of them: each product alone
  /// would make them wait for each other three times an expert.
  private static func answers(
    _ mlps: [GatedMLP], _ users: [[Int]], _ x: [Float], _ hidden: Int, _ compute: Compute
  ) -> [[Float]] {
    let answer = { @Sendable (index: Int) in
      var gathered: [Float] = []
      gathered.reserveCapacity(users[index].count * hidden)
      for row in users[index] { gathered += x[row * hidden..<(row + 1) * hidden] }
      return mlps[index].apply(to: gathered, rows: users[index].count, compute.ofExperts)
    }
    guard mlps.count >= 2 * compute.threads else { return mlps.indices.map(answer) }
    return Parallel.map(count: mlps.count, threads: compute.threads, answer)
  }
}

/// down(silu(gate(x)) * up(x)).
struct GatedMLP: Sendable {
  let gate: Matrix
  let up: Matrix
  let down: Matrix

  /// - Parameter inputOfDown: called with silu(gate(x)) * up(x), (rows, width).
  func apply(
    to x: [Float], rows: Int, _ compute: Compute, inputOfDown: ([Float]) -> Void = { _ in }
  ) -> [Float] {
    var inner = compute.products([gate, up], x, tokens: rows)  // gate(x), up(x)
    let up = inner.removeLast()
    var span = inner[0].mutableSpan
    compute.kernels.siluMultiply(&span, up.span)
    inputOfDown(inner[0])
    return compute.product(down, inner[0], tokens: rows)
  }
}
