import JSON

extension [Double] {
  /// Nil where there are none.
  var mean: Double? { isEmpty ? nil : reduce(0, +) / Double(count) }
}

extension [Bool] {
  /// Of those that are true; nil where there are none.
  var share: Double? { isEmpty ? nil : Double(count { $0 }) / Double(count) }
}

extension JSONValue {
  /// Null where there is no number.
  init(_ value: Double?) { self = value.map { JSONValue($0) } ?? .null }
  init(_ value: Int?) { self = value.map { JSONValue($0) } ?? .null }

  /// Candidate / reference − 1; null where that is no number.
  static func change(_ reference: Double?, _ candidate: Double?) -> JSONValue {
    guard let reference, let candidate, reference != 0 else { return .null }
    return JSONValue(candidate / reference - 1)
  }
}

extension ClusterSums {
  /// Counts a value of 1 or 0.
  mutating func add(_ value: Bool, cluster: Int) { add(value ? 1 : 0, cluster: cluster) }
}
