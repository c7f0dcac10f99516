import Pack
import Storage
import Tensors

/// Bytes that are spent so far.
struct Spending {
  private let plan: ConversionPlan
  private let target: PrecisionTarget
  private let limit: Int
  private var encodings: [Int: [Encoding]] = [:]
  private var spent: Int

  init(_ plan: ConversionPlan, _ target: PrecisionTarget) {
    self.plan = plan
    self.target = target
    switch target {
    case .bitsPerWeight(let bits):
      limit = Int(bits * Double(plan.parameterCounts.experts) / 8)
      spent = plan.rawExpertByteCount
    case .bytes(let count):
      limit = count
      spent = plan.rawByteCount
    case .divergence: preconditionFailure("drift is not counted in bytes")
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
    case .bytes, .divergence: "\(spent)B"
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

  /// Gives matrices a level, whatever it costs.
  mutating func set(_ places: [LevelChoices.Place], _ encoding: Encoding) {
    for place in places {
      guard var own = encodings[place.chunk] else { continue }
      spent -= byteCount(place.chunk, own)
      own[place.projection] = encoding
      spent += byteCount(place.chunk, own)
      encodings[place.chunk] = own
    }
  }

  /// The same where it stays within the limit.
  mutating func take(_ places: [LevelChoices.Place], _ encoding: Encoding) -> Bool {
    let (before, old) = (spent, places.map { encodings[$0.chunk] })
    set(places, encoding)
    if isWithin { return true }
    spent = before
    for (place, own) in zip(places, old) { encodings[place.chunk] = own }
    return false
  }
}
