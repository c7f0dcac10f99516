import Kernels

/// The routed and shared experts of one layer (llada2.md §3.3, sdar.md §3).
struct MixtureOfExperts: Sendable {
  let layer: Int
  let gate: Matrix
  let router: Router
  /// Nil where the model has no shared expert.
  let shared: GatedMLP?

  /// Room for the experts' answers before they are summed, in bytes.
  private static let answerByteCount = 256 << 20

  private static func rowsInRoom(slots: Int, hidden: Int) -> Int {
    max(1, answerByteCount / (slots * hidden * MemoryLayout<Float>.size))
  }

  /// Rows that go through the experts together; those beyond come in another turn, which reads the weights again. As many as there
  /// is room for, which of mini is for 4,096; of very many rows more, so that their answers take as much as two of the hidden
  /// states of all.
  fileprivate static func rowsTogether(_ rows: Int, slots: Int, hidden: Int) -> Int {
    min(rows, max(rowsInRoom(slots: slots, hidden: hidden), (2 * rows + slots - 1) / slots))
  }

  /// Rows up to which each expert is read once.
  static func tileRows(_ c: ModelConfiguration) -> Int { rowsInRoom(slots: c.expertsPerToken, hidden: c.hiddenSize) }

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
    readAhead: ReadAhead? = nil, room: ExpertRoom, compute: Compute
  ) throws(ModelError) {
    let rows = routes.count
    let hidden = x.count / max(rows, 1)
    let slots = routes.first?.experts.count ?? 1
    let tileRows = Self.rowsTogether(rows, slots: slots, hidden: hidden)
    for start in stride(from: 0, to: rows, by: max(1, tileRows)) {
      let tile = start..<min(rows, start + tileRows)
      try addRouted(x, routes, tile, hidden, weights, readAhead, room, compute, to: &output)
    }
  }

  /// Experts whose weights are held at once: enough for threads to share them evenly, few enough for unpacked chunks.
  static let heldExperts = 32

  private func addRouted(
    _ x: [Float], _ routes: [Router.Route], _ tile: Range<Int>, _ hidden: Int, _ weights: any WeightSource,
    _ readAhead: ReadAhead?, _ room: ExpertRoom, _ compute: Compute, to output: inout [Float]
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
    // By expert, where its answers begin.
    var starts = [0]
    for rows in users { starts.append(starts[starts.count - 1] + rows.count * hidden) }
    // A span of what a class holds cannot be had.
    var answers: [Float] = []
    swap(&answers, &room.answers)
    defer { swap(&answers, &room.answers) }
    if answers.count < starts[users.count] { answers = [Float](repeating: 0, count: starts[users.count]) }
    let reader = readAhead?.experts
    // A reader gives all experts, one after the other.
    let experts = reader?.order(layer: layer) ?? users.indices.filter { !users[$0].isEmpty }
    if readAhead == nil { weights.willNeed(layer: layer, experts: experts) }
    let heldCount = reader?.heldCount ?? Self.heldExperts
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
      var span = answers.mutableSpan
      Self.answer(
        mlps, some.map { users[$0] }, x, hidden, into: &span, at: some.map { starts[$0]..<starts[$0 + 1] }, compute)
    }
    // Summed in the order of the route, as the reference does, then added to the shared expert's output.
    let first = tile.lowerBound
    var target = output.mutableSpan
    var own = target._mutatingExtracting(first * hidden..<tile.upperBound * hidden)
    Parallel.pieces(of: &own, length: hidden, threads: compute.threads, minimum: 8) {
      [places, answers, starts] row, total in
      var sum = [Float](repeating: 0, count: hidden)
      for slot in 0..<slots {
        let weight = routes[first + row].weights[slot]
        let place = places[row * slots + slot]
        let start = starts[place.expert] + place.index * hidden
        let answer = answers.span.extracting(start..<start + hidden)
        for channel in 0..<hidden { sum[channel] += weight * answer[channel] }
      }
      for channel in 0..<hidden { total[channel] += sum[channel] }
    }
  }

  /// Computes each expert's answers to its rows. Threads take whole experts where there are enough of them: each product alone
  /// would make them wait for each other three times an expert.
  ///
  /// - Parameters:
  ///   - users: by expert, which rows of x.
  ///   - ranges: by expert, where its answers stand.
  @_lifetime(answers: copy answers)
  private static func answer(
    _ mlps: [GatedMLP], _ users: [[Int]], _ x: [Float], _ hidden: Int, into answers: inout MutableSpan<Float>,
    at ranges: [Range<Int>], _ compute: Compute
  ) {
    let isShared = mlps.count >= 2 * compute.threads
    Parallel.parts(of: &answers, at: ranges, threads: isShared ? compute.threads : 1) { index, own in
      mlps[index].apply(to: users[index], of: x, hidden: hidden, into: &own, compute.ofExperts)
    }
  }
}

/// Memory for the answers of experts that all layers of a walk use, one after the other: pages that the system gives must be
/// zeroed first, which of many rows takes as long as a tenth of the products.
package final class ExpertRoom {
  fileprivate var answers: [Float] = []
  package init() {}
}

extension ModelConfiguration {
  /// Rows up to which a layer reads each expert once.
  package var rowsReadingOnce: Int { MixtureOfExperts.tileRows(self) }

  /// Bytes of what experts answer to so many rows that go through a layer, as far as these are held at a time.
  package func answerByteCount(rows: Int) -> Int {
    let together = MixtureOfExperts.rowsTogether(rows, slots: expertsPerToken, hidden: hiddenSize)
    return MemoryLayout<Float>.size * together * expertsPerToken * hiddenSize
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

  /// Rows that go through the three products together: what lies between them is little memory, which is used again.
  private static let rowsTogether = 256

  /// The same of some rows of x.
  ///
  /// - Parameter output: (rows.count, hidden).
  @_lifetime(output: copy output)
  func apply(
    to rows: [Int], of x: [Float], hidden: Int, into output: inout MutableSpan<Float>, _ compute: Compute
  ) {
    for start in stride(from: 0, to: rows.count, by: Self.rowsTogether) {
      let some = rows[start..<min(rows.count, start + Self.rowsTogether)]
      var gathered: [Float] = []
      gathered.reserveCapacity(some.count * hidden)
      for row in some { gathered += x[row * hidden..<(row + 1) * hidden] }
      var inner = compute.products([gate, up], gathered, tokens: some.count)  // gate(x), up(x)
      let up = inner.removeLast()
      var span = inner[0].mutableSpan
      compute.kernels.siluMultiply(&span, up.span)
      var own = output._mutatingExtracting(start * hidden..<(start + some.count) * hidden)
      compute.product(down, inner[0], tokens: some.count, into: &own)
    }
  }
}
