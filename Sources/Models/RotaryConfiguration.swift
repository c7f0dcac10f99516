import JSON

/// What a `config.json` says of rotary positions.
///
/// transformers 5 says it in the object `rope_parameters`, which has priority over the keys of the same name beside it; older
/// files have `rope_theta` and, for scaling, `rope_scaling`. Positions that are scaled are another model's, and refused.
struct RotaryConfiguration {
  let theta: Double
  let partialFactor: Double

  /// - Parameter partialFactor: where the file has none; nil makes it required.
  init(
    _ reader: ConfigurationReader, partialFactor: Double?, note: (SourceNote) -> Void
  ) throws(ModelError) {
    try Self.requireNoScaling("rope_scaling", reader)
    try Self.requireNoScaling("rope_parameters", reader)
    theta = try Self.number("rope_theta", default: nil, reader, note)
    self.partialFactor = try Self.number("partial_rotary_factor", default: partialFactor, reader, note)
  }

  private static let types = ["rope_type", "type"]
  private static let numbers = ["rope_theta", "partial_rotary_factor"]

  private static func requireNoScaling(_ key: String, _ reader: ConfigurationReader) throws(ModelError) {
    guard !reader.isOff(key), let value = reader.object[key] else { return }
    let shown = value.text(indented: false)
    guard let object = value.object else { throw reader.error(key, "is \(shown), must be an object or null") }
    for member in object.members where !member.value.isNull {
      if numbers.contains(member.key) { continue }
      if types.contains(member.key), member.value == "default" { continue }
      if member.key == "factor", member.value.double == 1 { continue }
      if member.value.object != nil {
        throw reader.error(
          key, "is \(shown): rotary positions that differ from layer to layer (`\(member.key)`) are not supported")
      }
      // Where nothing is scaled, the length that scaling would start from says nothing.
      if member.key == "original_max_position_embeddings", isDefault(object) { continue }
      throw reader.error(
        key, "is \(shown): `\(member.key)` scales or changes rotary positions, which is not supported")
    }
  }

  private static func isDefault(_ object: JSONObject) -> Bool {
    types.allSatisfy { object[$0] == nil || object[$0] == .null || object[$0] == "default" }
  }

  /// A number of `rope_parameters`, or else beside it.
  private static func number(
    _ key: String, default fallback: Double?, _ reader: ConfigurationReader, _ note: (SourceNote) -> Void
  ) throws(ModelError) -> Double {
    for outer in ["rope_parameters", "rope_scaling"] {
      guard let object = reader.object[outer]?.object, let value = object[key], !value.isNull else { continue }
      let number = try reader.inside(outer, object).readDouble(key)
      if let beside = reader.object[key], !beside.isNull, beside.double != number {
        note(.contradiction(used: "\(outer).\(key)", unused: key, value: beside.text(indented: false)))
      }
      return number
    }
    return try reader.readDouble(key, default: fallback)
  }
}
