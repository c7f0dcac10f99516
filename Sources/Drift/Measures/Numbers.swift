extension [Double] {
  /// Nil where there are none.
  var mean: Double? { isEmpty ? nil : reduce(0, +) / Double(count) }
}

extension [Bool] {
  /// The share that is true; nil where there are none.
  var share: Double? { isEmpty ? nil : Double(count { $0 }) / Double(count) }
}

extension ClusterSums {
  /// Counts a value of 1 or 0.
  mutating func add(_ value: Bool, cluster: Int) { add(value ? 1 : 0, cluster: cluster) }
}
