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
  private let damage: [Int: LevelDamage]
  /// Matrices that have the same level: each alone, or as many as an engine reads as one.
  private let units: [[Place]]
  private let choices: [Allocation.Choice]
  private let allocation: Allocation

  /// - Parameter damage: by chunk of ``ConversionPlan/openChunks``.
  /// - Throws: ``ConversionError/noLevel(tensor:engine:)``.
  package init(_ plan: ConversionPlan, damage: [Int: LevelDamage]) throws(ConversionError) {
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
      let costs = levels.map { level in
        engine?.levels.contains(PrecisionTarget.levels[level]) == false
          ? .infinity : options.reduce(0) { $0 + $1[level].damage }
      }
      guard costs.contains(where: \.isFinite) else {
        throw .noLevel(tensor: plan.tensor(at: places[0]).name, engine: engine?.name)
      }
      let bytes = levels.map { level in options.reduce(0) { $0 + $1[level].byteCount } }
      choices.append(.init(bytes: bytes, damage: costs))
    }
    self.choices = choices
    allocation = Allocation(choices)
  }

  private static func options(_ plan: ConversionPlan, _ damage: [Int: LevelDamage], _ place: Place) -> [Option] {
    let shape = plan.tensor(at: place).shape
    return PrecisionTarget.levels.enumerated().map { level, encoding in
      let divides = encoding.divides(columns: shape.columns)
      return Option(
        encoding: encoding,
        byteCount: divides ? encoding.byteCount(elements: shape.elementCount, columns: shape.columns) : 0,
        damage: divides ? damage[place.chunk]?.damage[place.projection][level] ?? .infinity : .infinity)
    }
  }

  /// What one matrix could be, by ascending size; nil where nothing is open about it.
  package func options(of tensor: String) -> [Option]? {
    units.joined().first { plan.tensor(at: $0).name == tensor }.map { Self.options(plan, damage, $0) }
  }

  /// Damage with the least levels, and with the best.
  package var damageRange: (least: Double, best: Double) {
    let least = zip(choices, allocation.base).reduce(0) { $0 + $1.0.damage[$1.1] }
    let best = choices.reduce(0) { $0 + ($1.damage.min() ?? 0) }
    return (least, best)
  }

  /// Spends the target's bytes where they save the most damage.
  ///
  /// - Throws: ``ConversionError/target(wanted:least:)`` where the least levels are too large already.
  package func choose(_ target: PrecisionTarget) throws(ConversionError) -> PrecisionChoice {
    // What is over the target by the exact size of the file is taken back and tried again.
    var over = 0
    while true {
      var spending = Spending(plan, target, reserve: over)
      for (unit, level) in allocation.base.enumerated() { spending.set(units[unit], PrecisionTarget.levels[level]) }
      guard spending.isWithin else { throw .target(wanted: "\(target)", least: spending.text) }
      let choice = choice(
        allocation.levels { spending.take(units[$0.matrix], PrecisionTarget.levels[$0.to]) })
      guard case .bytes(let limit) = target else { return choice }
      let found = try plan.with(choice.encodings).rawByteCount
      if found <= limit { return choice }
      over += found - limit
    }
  }

  /// Takes the steps that save the most damage for a byte until there is no more than so much damage, or no step left.
  package func choose(damage limit: Double) -> PrecisionChoice {
    var left = damageRange.least
    return choice(
      allocation.levels { step in
        guard left > limit else { return false }
        left -= choices[step.matrix].damage[step.from] - choices[step.matrix].damage[step.to]
        return true
      })
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

  func tensor(at place: LevelChoices.Place) -> PackPlan.Tensor {
    pack.tensors[pack.chunks[place.chunk].tensors.lowerBound + place.projection]
  }

  /// The plan with these encodings.
  package func with(_ encodings: [String: Encoding]) throws(ConversionError) -> ConversionPlan {
    var options = options
    options.chosen = encodings
    return try ConversionPlan(checkpoint: checkpoint.directory, options: options)
  }
}
