import Kernels
package import Models

/// Scores models against a reference on the same states.
package struct ScoredRun {
  /// What stands beside the reference.
  package enum Role: Sendable, Equatable {
    case candidate
    /// Another candidate, held against the first.
    case rival
    /// The reference with noise.
    case floor
    /// Any mixture, of which only the divergence counts.
    case part
  }

  package struct Result: Sendable {
    /// By lane beside the reference: a comparison of each position.
    package var comparisons: [[Comparison]] = []
    /// What the reference said; nothing where it was recorded before.
    package var scores: ReferenceScores
    package var layers = LayerDrift()
    package var routing = RoutingDrift()
    /// By row of the mixture layers, whether the set of experts of candidate and rival changed; nil without a rival.
    package var routesOfRivals: PairedSums?
    /// Σ KL over all tokens of the vocabulary; nil with a recorded reference.
    package var fullDivergence: Double?
    package var worst = WorstPositions()
    /// Gate mass Σ w² by layer and expert, of the reference.
    package var gateMass: [Int: [Int: Double]] = [:]
    /// How often each weight was read.
    package var passes = 0
    /// By lane, a reference that ran first: rows of mixture layers whose router scores are not finite, and the first layer
    /// with such rows.
    package var routers: [(tally: NonFinite, layer: Int?)] = []

    init(scores: ReferenceScores) { self.scores = scores }

    /// Of no texts.
    ///
    /// - Parameters:
    ///   - roles: of the lanes beside the reference.
    ///   - runsReference: whether the reference is a model, and not recorded.
    package init(_ roles: [Role], runsReference: Bool) {
      comparisons = roles.map { _ in [] }
      scores = ReferenceScores(rows: [], routes: [:])
      if roles.contains(.rival) { routesOfRivals = PairedSums() }
      if runsReference { fullDivergence = 0 }
      routers = Array(repeating: (NonFinite(), nil), count: roles.count + (runsReference ? 1 : 0))
    }

    /// What was found of the texts that come behind, in the same lanes.
    ///
    /// - Parameter stateCount: states before theirs.
    package mutating func add(_ next: Self, after stateCount: Int) {
      for (lane, values) in next.comparisons.enumerated() { comparisons[lane] += values }
      scores += next.scores
      layers += next.layers
      routing += next.routing
      if let other = next.routesOfRivals { routesOfRivals? += other }
      if let other = next.fullDivergence { fullDivergence? += other }
      worst.add(next.worst, after: stateCount)
      for (layer, experts) in next.gateMass {
        gateMass[layer, default: [:]].merge(experts) { $0 + $1 }
      }
      passes += next.passes
      for (lane, other) in next.routers.enumerated() {
        routers[lane].tally += other.tally
        routers[lane].layer = [routers[lane].layer, other.layer].compactMap(\.self).min()
      }
    }
  }

  let scoring: Scoring
  private let rejected: Set<Int>
  let memory: Int

  /// - Parameters:
  ///   - rejected: texts that are compared, but are in no other number of the result.
  ///   - memory: bytes for hidden states.
  package init(_ scoring: Scoring, rejected: Set<Int> = [], memory: Int) {
    self.scoring = scoring
    self.rejected = rejected
    self.memory = memory
  }

  /// Bytes that a run over texts takes beside hidden states: what is known of each state and each masked position.
  ///
  /// - Parameters:
  ///   - lanes: models beside the reference.
  ///   - kept: bytes of what is kept of a position for a record.
  package static func byteCount(_ texts: [ScoredText], _ plan: MaskPlan, lanes: Int, kept: Int = 0) -> Int {
    // An array on its own begins with a header.
    let array = 32
    let state = MemoryLayout<MaskedState>.stride + MemoryLayout<Int>.stride + 2 * array
    // A comparison for each lane, places of two lanes at a time, samples that are sorted.
    let position =
      lanes * MemoryLayout<Comparison>.stride + 2 * MemoryLayout<MaskedDrift.Position>.stride
      + 10 * MemoryLayout<Double>.stride + kept
    let ratios = plan.ratios.reduce(0, +)
    return texts.reduce(0) { sum, text in
      let blocks = text.maskable.count / plan.blockLength + 2
      let states = blocks * plan.ratios.count
      // Its own tokens, those of its states, and of the segments made of them.
      let tokens = text.tokens.count + 2 * states * min(plan.blockLength, text.tokens.count)
      return sum + states * state + tokens * MemoryLayout<Int>.stride
        + Int(ratios * Double(text.maskable.count) + Double(states)) * position
    }
  }

  /// - Parameters:
  ///   - reference: the model, or nil where `recorded` stands for it.
  ///   - lanes: models beside it; at most one candidate, one rival and one floor. Their `replays` counts the reference as lane 0.
  ///   - recorded: what the reference said when it was recorded.
  ///   - keepsScores: whether the result holds what the reference said, a few kilobytes a position.
  package func run(
    reference: TransformerModel?, lanes: [(role: Role, lane: Lane)], recorded: ReferenceScores? = nil,
    keepsScores: Bool = false, progress: (Double) -> Bool = { _ in true }
  ) throws(DriftError) -> Result {
    precondition((reference == nil) == (recorded != nil))
    let own = reference.map { [Lane($0)] } ?? []
    let offset = own.count
    let all = own + lanes.map(\.lane)
    let collector = Collector(
      scoring, rejected: rejected, hiddenSize: all[0].model.configuration.hiddenSize, roles: lanes.map(\.role),
      offset: offset, recorded: recorded, keepsScores: keepsScores,
      routers: all[0].model.configuration.conventions.scores, compute: all[0].model.compute)
    let lockstep = Lockstep(all, blockLength: scoring.plan.blockLength, seed: scoring.plan.seed, memory: memory)
    var observer = Lockstep.Observer { collector.add(state: $0, logits: $1) }
    if lanes.contains(where: { $0.role != .part }) || lanes.isEmpty {
      observer.routing = collector.addRouting
      if reference != nil { observer.hidden = collector.addHidden }
    }
    let passes = try lockstep.run(
      texts: scoring.texts.map(\.tokens), states: scoring.states, observer: observer, progress: progress)
    return collector.result(passes: passes)
  }
}

/// Takes in what a run tells, in any order of states.
private final class Collector {
  private let scoring: Scoring
  private let rejected: Set<Int>
  private let hiddenSize: Int
  private let roles: [ScoredRun.Role]
  /// Lanes before the first of `roles`: 1 with a reference that runs, else 0.
  private let offset: Int
  private let recorded: ReferenceScores?
  private let keepsScores: Bool
  private var rows: [ReferenceRow?]
  private var routes: [Int: [Router.Route]] = [:]
  private var comparisons: [[Comparison?]]
  private var layers = LayerDrift()
  private var routing: RoutingDrift
  private var routesOfRivals = PairedSums()
  private var fullDivergence = 0.0
  private var worst = WorstPositions()
  private var gateMass: [Int: [Int: Double]] = [:]
  private var routers: [(tally: NonFinite, layer: Int?)]
  private let compute: Compute

  init(
    _ scoring: Scoring, rejected: Set<Int>, hiddenSize: Int, roles: [ScoredRun.Role], offset: Int,
    recorded: ReferenceScores?, keepsScores: Bool, routers: Conventions.Scores, compute: Compute
  ) {
    self.compute = compute
    routing = RoutingDrift(routers)
    self.routers = Array(repeating: (NonFinite(), nil), count: offset + roles.count)
    self.scoring = scoring
    self.rejected = rejected
    self.hiddenSize = hiddenSize
    self.roles = roles
    self.offset = offset
    self.recorded = recorded
    self.keepsScores = keepsScores
    rows = recorded?.rows ?? (keepsScores ? Array(repeating: nil, count: scoring.positionCount) : [])
    comparisons = roles.map { _ in Array(repeating: nil, count: scoring.positionCount) }
  }

  func add(state: Int, logits: [ArraySlice<Float>]) {
    let mask = scoring.plan.mask
    let count = scoring.states[state].counted.count
    // Summing up a large vocabulary takes long beside the products of a position, as do comparisons.
    let softmaxes = Parallel.map(count: count * logits.count, threads: compute.threads) { [compute] index in
      let (place, lane) = (index / logits.count, logits[index % logits.count])
      let width = lane.count / count
      return LogSoftmax(
        lane[lane.startIndex + place * width..<lane.startIndex + (place + 1) * width], kernels: compute.kernels)
    }
    let first = scoring.starts[state]
    let isRejected = rejected.contains(scoring.states[state].text)
    let candidate = isRejected ? nil : roles.firstIndex(of: .candidate)
    let recorded = offset == 1 ? [] : rows[first..<first + count].compactMap(\.self)
    precondition(recorded.count == (offset == 1 ? 0 : count), "a record holds every position")
    let truths = (0..<count).map { scoring.truth(state, $0) }
    let found = Parallel.map(count: count, threads: compute.threads) { place in
      ScoredPosition(
        softmaxes[place * logits.count..<(place + 1) * logits.count],
        recorded: recorded.isEmpty ? nil : recorded[place], truth: truths[place], mask: mask, whole: candidate)
    }
    for (place, position) in found.enumerated() {
      if keepsScores { rows[first + place] = position.reference }
      for (lane, comparison) in position.comparisons.enumerated() { comparisons[lane][first + place] = comparison }
      guard let candidate else { continue }
      worst.add(
        state: state, place: place, position.comparisons[candidate], position.reference,
        softmaxes[place * logits.count + offset + candidate])
      fullDivergence += position.fullDivergence
    }
  }

  func addHidden(_ layer: Int, _ hidden: [[Float]], _ rows: [Lockstep.Row]) {
    let candidate = roles.firstIndex(of: .candidate).map { hidden[offset + $0] }
    let floor = roles.firstIndex(of: .floor).map { hidden[offset + $0] }
    guard let first = hidden.first, candidate != nil || floor != nil else { return }
    let counted = rows.filter { !rejected.contains(scoring.states[$0.state].text) }
    layers.add(layer: layer, first, candidate, floor: floor, rows: counted.map(\.row), width: hiddenSize)
  }

  func addRouting(_ layer: Int, _ lanes: [[Router.Route]], _ logits: [[Float]], _ rows: [Lockstep.Row]) {
    let candidate = roles.firstIndex(of: .candidate).map { offset + $0 }
    let floor = roles.firstIndex(of: .floor).map { offset + $0 }
    var areFinite: [Bool] = []
    for all in logits { areFinite.append(unsafe compute.kernels.firstNotFinite(all.span.bytes, source: .f32) == nil) }
    for row in rows {
      let position = scoring.starts[row.state] + row.place
      let state = scoring.states[row.state]
      let isFinite = lanes.indices.map { lane in
        areFinite[lane] || slice(logits[lane], row.row, lanes[0]).allSatisfy(\.isFinite)
      }
      let place = NonFinite.Place(text: state.text, position: state.start + state.counted[row.place])
      for lane in lanes.indices where !logits[lane].isEmpty {
        routers[lane].tally.add(isFinite: isFinite[lane], at: place)
        if !isFinite[lane] { routers[lane].layer = min(routers[lane].layer ?? layer, layer) }
      }
      let own: Router.Route
      if offset == 1 {
        own = lanes[0][row.row]
        if keepsScores {
          routes[layer, default: Array(repeating: Router.Route(), count: scoring.positionCount)][position] = own
        }
        for (expert, weight) in zip(own.experts, own.weights) where isFinite[0] && !rejected.contains(state.text) {
          gateMass[layer, default: [:]][expert, default: 0] += Double(weight) * Double(weight)
        }
      } else if let known = recorded?.routes[layer] {
        own = known[position]
      } else {
        continue
      }
      if rejected.contains(state.text) { continue }
      let referenceIsFinite = offset == 0 || isFinite[0]
      if let candidate, !referenceIsFinite || !isFinite[candidate] {
        routing.leaveOut()
      } else if let candidate {
        let pair =
          offset == 1 ? (slice(logits[0], row.row, lanes[0]), slice(logits[candidate], row.row, lanes[0])) : nil
        routing.add(
          layer: layer, ratio: state.ratio, text: state.text, own, lanes[candidate][row.row], logits: pair)
      }
      if let rival = roles.firstIndex(of: .rival).map({ offset + $0 }), let candidate, referenceIsFinite,
        isFinite[candidate], isFinite[rival]
      {
        let hasChanged = { (lane: Int) in Set(lanes[lane][row.row].experts) == Set(own.experts) ? 0.0 : 1 }
        routesOfRivals.add(hasChanged(candidate), hasChanged(rival), cluster: state.text)
      }
      if let floor, referenceIsFinite, isFinite[floor] {
        routing.addFloor(layer: layer, text: state.text, own, lanes[floor][row.row])
      }
    }
  }

  private func slice(_ logits: [Float], _ row: Int, _ lane: [Router.Route]) -> ArraySlice<Float> {
    let width = logits.count / lane.count
    return logits[row * width..<(row + 1) * width]
  }

  func result(passes: Int) -> ScoredRun.Result {
    var result = ScoredRun.Result(
      scores: ReferenceScores(rows: recorded == nil ? rows.compactMap(\.self) : [], routes: routes))
    result.comparisons = comparisons.map { $0.compactMap { $0 } }
    result.layers = layers
    result.routing = routing
    if roles.contains(.rival) { result.routesOfRivals = routesOfRivals }
    result.fullDivergence = offset == 1 ? fullDivergence : nil
    result.worst = worst
    result.gateMass = gateMass
    result.passes = passes
    result.routers = routers
    return result
  }
}
