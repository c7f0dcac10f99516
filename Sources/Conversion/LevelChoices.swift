package import Calibration
import Models
import Pack
import Safetensors
package import Tensors

/// The level of each matrix of the routed experts that no rule decides.
package struct PrecisionChoice: Sendable {
  /// By name of the tensor.
  package let encodings: [String: Encoding]
  /// By level and projection (gate, up, down), how many matrices have it.
  package let counts: [[Int]]
  /// Damage of all, as chosen, and at the least level.
  package let damage: (chosen: Double, least: Double)
}

/// What the matrices that no rule decides could be, and what each level of each would cost.
package struct LevelChoices: Sendable {
  struct Place: Sendable {
    let chunk: Int
    let projection: Int
  }

  /// What one matrix would be at a level.
  package struct Option: Sendable {
    package let encoding: Encoding
    /// Codes and scales.
    package let byteCount: Int
    /// Infinite where the matrix cannot have the level.
    package let damage: Double
  }

  private let plan: ConversionPlan
  private let damage: [Int: LevelDamage]?
  /// Matrices that have the same level: each alone, or as many as an engine reads as one.
  private let units: [[Place]]
  private let choices: [Allocation.Choice]
  private let allocation: Allocation

  /// - Parameter damage: by chunk of ``ConversionPlan/openChunks``; nil before it is measured, when all levels are alike.
  /// - Throws: ``ConversionError/noLevel(tensor:engine:)``.
  package init(_ plan: ConversionPlan, damage: [Int: LevelDamage]?) throws(ConversionError) {
    self.plan = plan
    self.damage = damage
    let engine = plan.options.engine
    var units: [ServingEngine.Unit: [Place]] = [:]
    var order: [ServingEngine.Unit] = []
    for chunk in plan.openChunks {
      for (projection, tensor) in plan.pack.chunks[chunk].tensors.enumerated() where plan.isOpen(tensor) {
        let unit = ServingEngine.unit(of: plan.pack.chunks[chunk], projection, in: engine)
        if units[unit] == nil { order.append(unit) }
        units[unit, default: []].append(Place(chunk: chunk, projection: projection))
      }
    }
    self.units = order.map { units[$0] ?? [] }
    var choices: [Allocation.Choice] = []
    for places in self.units {
      let options = places.map { Self.options(plan, damage, $0) }
      let levels = PrecisionTarget.levels.indices
      let costs = levels.map { level in options.reduce(0) { $0 + $1[level].damage } }
      guard costs.contains(where: \.isFinite) else {
        throw .noLevel(tensor: plan.tensor(at: places[0]).name, engine: engine?.name)
      }
      let bytes = levels.map { level in options.reduce(0) { $0 + $1[level].byteCount } }
      choices.append(.init(bytes: bytes, damage: costs))
    }
    self.choices = choices
    allocation = Allocation(choices)
  }

  private static func options(_ plan: ConversionPlan, _ damage: [Int: LevelDamage]?, _ place: Place) -> [Option] {
    let shape = plan.tensor(at: place).shape
    return PrecisionTarget.levels.enumerated().map { level, encoding in
      let divides = encoding.divides(columns: shape.columns) && plan.options.engine?.levels.contains(encoding) != false
      let measured = damage.map { $0[place.chunk]?.damage[place.projection][level] ?? .infinity } ?? 0
      return Option(
        encoding: encoding,
        byteCount: divides ? encoding.byteCount(elements: shape.elementCount, columns: shape.columns) : 0,
        damage: divides ? measured : .infinity)
    }
  }

  /// What one matrix could be, by ascending size; nil where nothing is open about it.
  package func options(of tensor: String) -> [Option]? {
    units.joined().first { plan.tensor(at: $0).name == tensor }.map { Self.options(plan, damage, $0) }
  }

  /// Damage with the least levels, and after each step from there to the best.
  package var ladder: [Double] {
    var damage = [zip(choices, allocation.base).reduce(0) { $0 + $1.0.damage[$1.1] }]
    for step in allocation.steps {
      let saved = choices[step.matrix].damage[step.from] - choices[step.matrix].damage[step.to]
      damage.append(max(0, damage[damage.count - 1] - saved))
    }
    return damage
  }

  /// Spends the target's bytes where they save the most damage.
  ///
  /// - Throws: ``ConversionError/target(wanted:least:)`` where the least levels are too large already.
  package func choose(_ target: PrecisionTarget) throws(ConversionError) -> PrecisionChoice {
    var spending = Spending(plan, target)
    for (unit, level) in allocation.base.enumerated() { spending.set(units[unit], PrecisionTarget.levels[level]) }
    let least = choice(allocation.base)
    let isBytes = if case .bytes = target { true } else { false }
    guard isBytes || spending.isWithin else { throw .target(wanted: "\(target)", least: spending.text) }
    var taken: [Allocation.Step] = []
    let levels = allocation.levels { step in
      let takes = spending.take(units[step.matrix], PrecisionTarget.levels[step.to])
      if takes { taken.append(step) }
      return takes
    }
    guard case .bytes(let limit) = target else { return choice(levels) }
    // What was counted is the experts; the whole file, with its tables, is known when it is laid out.
    func byteCount(_ choice: PrecisionChoice) throws(ConversionError) -> Int {
      try plan.with(choice.encodings).rawByteCount
    }
    if try byteCount(choice(levels)) <= limit { return choice(levels) }
    let leastByteCount = try byteCount(least)
    guard leastByteCount <= limit else {
      // What a plan says of states comes on top.
      let more = plan.options.awaitsStates ? "more than " : ""
      throw .target(wanted: "\(target)", least: "\(more)\(leastByteCount)B")
    }
    func first(_ count: Int) -> PrecisionChoice {
      var levels = allocation.base
      for step in taken.prefix(count) { levels[step.matrix] = step.to }
      return choice(levels)
    }
    var (fits, exceeds) = (0, taken.count)
    while exceeds - fits > 1 {
      let middle = (fits + exceeds) / 2
      if try byteCount(first(middle)) <= limit { fits = middle } else { exceeds = middle }
    }
    return first(fits)
  }

  /// Takes the first steps, those that save the most damage for a byte.
  package func choose(steps count: Int) -> PrecisionChoice {
    var levels = allocation.base
    for step in allocation.steps.prefix(count) { levels[step.matrix] = step.to }
    return choice(levels)
  }

  /// Steps that a size has room for.
  package func steps(within target: PrecisionTarget) throws(ConversionError) -> Int {
    let damage = try choose(target).damage.chosen
    return ladder.firstIndex { $0 <= damage } ?? allocation.steps.count
  }

  private func choice(_ chosen: [Int]) -> PrecisionChoice {
    var counts = PrecisionTarget.levels.map { _ in [0, 0, 0] }
    var encodings: [String: Encoding] = [:]
    var sums = (chosen: 0.0, least: 0.0)
    for (unit, level) in chosen.enumerated() {
      for place in units[unit] {
        encodings[plan.tensor(at: place).name] = PrecisionTarget.levels[level]
        counts[level][place.projection] += 1
      }
      sums.chosen += choices[unit].damage[level]
      sums.least += choices[unit].damage[allocation.base[unit]]
    }
    return PrecisionChoice(encodings: encodings, counts: counts, damage: sums)
  }
}

extension ConversionPlan {
  /// Chunks of experts with matrices whose levels are to be chosen.
  var openChunks: [Int] {
    pack.chunks.indices.filter { pack.chunks[$0].kind == .expert && pack.chunks[$0].tensors.contains(where: isOpen) }
  }

  func isOpen(_ tensor: Int) -> Bool { decisions[tensor].isByTarget }

  /// Refuses rules that leave nothing to a target, and a target that even the least levels exceed.
  func requireReachable(_ target: PrecisionTarget) throws(ConversionError) {
    if openChunks.isEmpty { throw .targetWithoutUse }
    let choices = try LevelChoices(self, damage: nil)
    if case .divergence = target { return }
    _ = try choices.choose(target)
  }

  /// Refuses what rules decide where an engine could not serve it, whatever a target does with the others.
  func requireDecidedServable(by engine: ServingEngine) throws(ConversionError) {
    if let dialect = engine.dialect, model.architecture.names(in: dialect) == nil {
      throw .engineWithoutFamily(engine.name, modelType: model.configuration.modelType)
    }
    var units: [ServingEngine.Unit: (encoding: Encoding?, name: String)] = [:]
    for chunk in pack.chunks {
      for (projection, index) in chunk.tensors.enumerated() {
        let tensor = pack.tensors[index]
        guard chunk.kind == .expert else {
          guard engine.holdsQuantizedRest || !tensor.encoding.isGrouped else {
            throw .notServable(engine: engine.name, tensor: tensor.name, beside: nil)
          }
          continue
        }
        let own = isOpen(index) ? nil : tensor.encoding
        if let own, own.isGrouped, own.groupSize < ServingEngine.leastGroupSize {
          throw .notServable(engine: engine.name, tensor: tensor.name, beside: nil)
        }
        let unit = ServingEngine.unit(of: chunk, projection, in: engine)
        if let other = units[unit], other.encoding != own {
          throw .notServable(engine: engine.name, tensor: tensor.name, beside: other.name)
        }
        units[unit] = (own, tensor.name)
      }
    }
  }

  func tensor(at place: LevelChoices.Place) -> PackPlan.Tensor {
    pack.tensors[pack.chunks[place.chunk].tensors.lowerBound + place.projection]
  }

  /// The plan with these encodings.
  package func with(_ encodings: [String: Encoding]) throws(ConversionError) -> ConversionPlan {
    var options = options
    options.chosen = encodings
    return try ConversionPlan(checkpoint, options: options)
  }
}
