package import Calibration
import Models
import Pack
import Quantization
import Safetensors
import Storage
package import Tensors

/// How large the result may be; each matrix of a routed expert then gets the encoding that makes the most of the bytes.
package enum PrecisionTarget: Sendable, Equatable, CustomStringConvertible {
  /// Bits a weight of the routed experts, all that is stored of them counted.
  case bitsPerWeight(Double)
  /// Bytes of the pack.
  case bytes(Int)

  package var description: String {
    switch self {
    case .bitsPerWeight(let bits): "\(bits == bits.rounded() ? "\(Int(bits))" : "\(bits)")bpw"
    case .bytes(let count): "\(count)B"
    }
  }

  /// What a matrix can get, by ascending size.
  package static let levels: [Encoding] = [
    "int4-g128s8", "int4-g64s8", "int4-g32s8", "int4-g16s8", "int8-g64s8",
  ].compactMap { Encoding(name: $0) }
}

/// The level of each matrix of the routed experts that no rule decides.
package struct PrecisionChoice: Sendable {
  /// By name of the tensor.
  package let encodings: [String: Encoding]
  /// By level and projection (gate, up, down), how many matrices have it.
  package let counts: [[Int]]
  /// Damage of all, as chosen, and at the least level.
  package let damage: (chosen: Double, least: Double)
}

extension ConversionPlan {
  /// Chunks of experts with matrices whose levels are to be chosen.
  var openChunks: [Int] {
    pack.chunks.indices.filter { pack.chunks[$0].kind == .expert && pack.chunks[$0].tensors.contains(where: isOpen) }
  }

  func isOpen(_ tensor: Int) -> Bool { decisions[tensor].isByTarget }

  /// Spends the target's bytes where they save the most damage.
  ///
  /// - Parameter damage: by chunk of ``openChunks``.
  /// - Throws: ``ConversionError/target(wanted:least:)`` where the least levels are too large already.
  package func choose(
    _ target: PrecisionTarget, damage: [Int: LevelDamage]
  ) throws(ConversionError) -> PrecisionChoice {
    let levels = PrecisionTarget.levels
    var choices: [Allocation.Choice] = []
    var places: [(chunk: Int, projection: Int)] = []
    for chunk in openChunks {
      for (projection, tensor) in pack.chunks[chunk].tensors.enumerated() where isOpen(tensor) {
        let shape = pack.tensors[tensor].shape
        let bytes = levels.map { level in
          level.divides(columns: shape.columns)
            ? level.byteCount(elements: shape.elementCount, columns: shape.columns) : Int.max
        }
        choices.append(.init(bytes: bytes, damage: damage[chunk]?.damage[projection] ?? []))
        places.append((chunk, projection))
      }
    }
    let allocation = Allocation(choices)
    // What is over the target by the exact size of the file is taken back and tried again.
    var over = 0
    while true {
      var spending = Spending(self, target, reserve: over)
      for (matrix, level) in allocation.base.enumerated() {
        spending.set(places[matrix].chunk, places[matrix].projection, levels[level])
      }
      guard spending.isWithin else {
        throw .target(wanted: "\(target)", least: spending.text)
      }
      let chosen = allocation.levels { matrix, level in
        spending.take(places[matrix].chunk, places[matrix].projection, levels[level])
      }
      var counts = levels.map { _ in [0, 0, 0] }
      var encodings: [String: Encoding] = [:]
      var sums = (chosen: 0.0, least: 0.0)
      for (matrix, level) in chosen.enumerated() {
        let place = places[matrix]
        encodings[pack.tensors[pack.chunks[place.chunk].tensors.lowerBound + place.projection].name] = levels[level]
        counts[level][place.projection] += 1
        sums.chosen += choices[matrix].damage[level]
        sums.least += choices[matrix].damage[allocation.base[matrix]]
      }
      guard case .bytes(let limit) = target else {
        return PrecisionChoice(encodings: encodings, counts: counts, damage: sums)
      }
      let found = try with(encodings).rawByteCount
      if found <= limit { return PrecisionChoice(encodings: encodings, counts: counts, damage: sums) }
      over += found - limit
    }
  }

  /// The plan with these encodings.
  package func with(_ encodings: [String: Encoding]) throws(ConversionError) -> ConversionPlan {
    var options = options
    options.chosen = encodings
    return try ConversionPlan(checkpoint: checkpoint.directory, options: options)
  }
}

/// Bytes that are spent so far.
private struct Spending {
  private let plan: ConversionPlan
  private let target: PrecisionTarget
  private let limit: Int
  private var encodings: [Int: [Encoding]] = [:]
  private var spent: Int

  /// - Parameter reserve: bytes of the file that must stay free.
  init(_ plan: ConversionPlan, _ target: PrecisionTarget, reserve: Int) {
    self.plan = plan
    self.target = target
    switch target {
    case .bitsPerWeight(let bits):
      limit = Int(bits * Double(plan.parameterCounts.experts) / 8)
      spent = plan.rawExpertByteCount
    case .bytes(let count):
      limit = count - reserve
      spent = plan.rawByteCount
    }
    for chunk in plan.openChunks {
      encodings[chunk] = plan.pack.chunks[chunk].tensors.map { plan.pack.tensors[$0].encoding }
    }
  }

  var isWithin: Bool { spent <= limit }

  var text: String {
    switch target {
    case .bitsPerWeight:
      // Rounded up, so that it can be asked for.
      "\((8e4 * Double(spent) / Double(max(plan.parameterCounts.experts, 1))).rounded(.up) / 1e4)bpw"
    case .bytes: "\(spent)B"
    }
  }

  private func byteCount(_ chunk: Int, _ encodings: [Encoding]) -> Int {
    let parts = zip(plan.pack.chunks[chunk].tensors, encodings).map { tensor, encoding in
      let shape = plan.pack.tensors[tensor].shape
      return ContentLayout.Part(encoding: encoding, elementCount: shape.elementCount, columns: shape.columns)
    }
    let content = ContentLayout(parts).byteCount
    // In the file each expert begins at a page of its own.
    if case .bytes = target { return content.roundedUp(to: PackLimits.expertAlignment) }
    return content
  }

  /// Gives a matrix a level, whatever it costs.
  mutating func set(_ chunk: Int, _ projection: Int, _ encoding: Encoding) {
    guard var own = encodings[chunk] else { return }
    spent -= byteCount(chunk, own)
    own[projection] = encoding
    spent += byteCount(chunk, own)
    encodings[chunk] = own
  }

  /// The same where it stays within the limit.
  mutating func take(_ chunk: Int, _ projection: Int, _ encoding: Encoding) -> Bool {
    let (before, old) = (spent, encodings[chunk])
    set(chunk, projection, encoding)
    if isWithin { return true }
    (spent, encodings[chunk]) = (before, old)
    return false
  }
}

extension Converter {
  /// What every level would cost each expert whose levels are open: reads all their weights once.
  package func damage(
    of states: any StateSource, progress: (Int) -> Void, isInterrupted: () -> Bool
  ) throws(ConversionError) -> [Int: LevelDamage] {
    var found: [Int: LevelDamage] = [:]
    var done = 0
    let open = Dictionary(grouping: plan.openChunks) { plan.pack.chunks[$0].layer }
    try eachLayer(of: states) { (layer, solver) throws(ConversionError) in
      guard let solver, let chunks = open[layer.layer] else { return }
      try inOrder(
        count: chunks.count, threads: threads, window: threads, makeWorkspace: {},
        work: { _, place in
          do throws(ConversionError) { return .success(try damage(of: chunks[place], solver)) } catch {
            return .failure(error)
          }
        },
        consume: { (place, damage: LevelDamage) throws(ConversionError) in
          if isInterrupted() { throw .interrupted }
          found[chunks[place]] = damage
          done += parts(of: chunks[place]).reduce(0) { $0 + $1.range.count }
          progress(done)
        })
    }
    return found
  }

  private func damage(of index: Int, _ solver: LayerSolver) throws(ConversionError) -> LevelDamage {
    let chunk = plan.pack.chunks[index]
    let weights = try weights(of: index)
    let damage: LevelDamage
    do throws(CalibrationError) {
      damage = try solver.damage(chunk.expert, weights, levels: PrecisionTarget.levels)
    } catch {
      guard case .statesNotFinite(let column) = error else { preconditionFailure("weights were looked at") }
      throw .statesNotFinite(layer: chunk.layer, expert: chunk.expert, column: column)
    }
    // A weight that no level can hold has a place: solving says where.
    if damage.damage.contains(where: { $0.allSatisfy { !$0.isFinite } }) { _ = try solve(index, solver) }
    return damage
  }
}
