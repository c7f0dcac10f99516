import JSON
import Pack
import Quantization
import Storage
import Tensors

// Options and a target's choice as documents, and back.

extension PartPlan {
  static func json(_ options: ConversionPlan.Options) -> JSONValue {
    var json: JSONValue = [
      "recipe": options.recipe.json, "drops": .array(options.drops.map { .string($0) }),
      "solver": .string(options.solver.name), "calibrated_solver": .string(options.calibrated.name),
      "compress": .string(options.compression.rawValue),
      "target": options.target.map { .string("\($0)") } ?? .null,
      "servable": options.engine.map { .string($0.name) } ?? .null,
    ]
    if options.requantizes, var object = json.object {
      object.append(.init(key: "requantize", value: true))
      json = .object(object)
    }
    return json
  }

  static func json(_ choice: PrecisionChoice?, of options: ConversionPlan.Options) -> JSONValue {
    guard let choice else { return .null }
    var levels = JSONObject()
    for (name, encoding) in choice.encodings.sorted(by: { $0.key.utf8Precedes($1.key) }) {
      levels.append(.init(key: name, value: .string("\(encoding)")))
    }
    return [
      "damage": JSONValue(choice.damage.chosen), "damage_of_least": JSONValue(choice.damage.least),
      "counts": .array(choice.counts.map { .array($0.map { JSONValue($0) }) }), "levels": .object(levels),
    ]
  }

  /// What a target has led to; nil without one.
  package var choice: PrecisionChoice? {
    guard let object = target.object, let chosen = object["damage"]?.double,
      let least = object["damage_of_least"]?.double, let levels = object["levels"]?.object,
      let counts = object["counts"]?.array?.map({ $0.array?.compactMap(\.int) ?? [] }),
      counts.count == PrecisionTarget.levels.count, counts.allSatisfy({ $0.count == 3 })
    else { return nil }
    var encodings: [String: Encoding] = [:]
    for member in levels.members {
      guard let encoding = member.value.string.flatMap(Encoding.init(name:)) else { return nil }
      encodings[member.key] = encoding
    }
    return PrecisionChoice(encodings: encodings, counts: counts, damage: (chosen, least))
  }

  /// The options that the plan was made with; nil where they are none of this version.
  var conversionOptions: ConversionPlan.Options? {
    guard let object = options.object, let solver = object["solver"]?.string,
      let groupwise = Solvers.groupwise.first(where: { $0.name == solver }),
      let calibrated = Solvers.calibrated.first(where: { $0.name == object["calibrated_solver"]?.string }),
      let compression = object["compress"]?.string.flatMap(Compression.init(rawValue:)),
      let recipe = object["recipe"]?.object, let drops = object["drops"]?.array
    else { return nil }
    var options = ConversionPlan.Options()
    (options.solver, options.compression, options.tool) = (groupwise, compression, versions.tool)
    options.calibrated = calibrated
    options.drops = drops.compactMap(\.string)
    options.requantizes = object["requantize"]?.bool ?? false
    options.target = object["target"]?.string.flatMap(PrecisionTarget.init(text:))
    options.engine = object["servable"]?.string.flatMap(ServingEngine.init(name:))
    options.calibration = states?.document
    options.chosen = choice?.encodings ?? [:]
    // No recipe file can say that a target decides.
    let isByTarget = recipe["experts"]?.string == Recipe.Choice.byTarget.description
    var written = JSONObject()
    for member in recipe.members where !(isByTarget && member.key == "experts") { written.append(member) }
    guard let read = try? Recipe(json: Array(JSONValue.object(written).text().utf8)) else { return nil }
    options.recipe = read
    if isByTarget { options.recipe.experts = .byTarget }
    return options
  }
}

extension PrecisionTarget {
  /// The inverse of ``description`` for targets of a size.
  init?(text: String) {
    if text.hasSuffix("bpw"), let bits = Double(text.dropLast(3)), bits > 0, bits.isFinite {
      self = .bitsPerWeight(bits)
    } else if text.hasSuffix("B"), let count = Int(text.dropLast()), count > 0 {
      self = .bytes(count)
    } else {
      return nil
    }
  }
}
