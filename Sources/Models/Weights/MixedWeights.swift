package import Storage

/// One model with some of its tensors taken from another of the same architecture: what swapping a part costs.
package struct MixedWeights: WeightSource {
  private let base: any WeightSource
  private let donor: any WeightSource
  private let takes: @Sendable (TensorID) -> Bool

  /// - Parameter takes: whether a tensor comes from the donor.
  package init(_ base: any WeightSource, with donor: any WeightSource, takes: @escaping @Sendable (TensorID) -> Bool) {
    self.base = base
    self.donor = donor
    self.takes = takes
  }

  package var configuration: ModelConfiguration { base.configuration }
  package var architecture: any Architecture.Type { base.architecture }
  package var items: [ModelItem] { base.items }
  package var path: String { base.path }
  package var notes: [SourceNote] { base.notes }
  package func hasTensor(_ id: TensorID) -> Bool { base.hasTensor(id) }

  package func matrix(_ id: TensorID) throws(ModelError) -> Matrix { try (takes(id) ? donor : base).matrix(id) }

  package func expert(layer: Int, expert: Int) throws(ModelError) -> ExpertWeights {
    let taken = TensorPart.projections.map { takes(TensorID(.expert, $0, layer: layer, expert: expert)) }
    guard taken.contains(true) else { return try base.expert(layer: layer, expert: expert) }
    let donated = try donor.expert(layer: layer, expert: expert)
    guard taken.contains(false) else { return donated }
    let kept = try base.expert(layer: layer, expert: expert)
    return ExpertWeights(
      gate: taken[0] ? donated.gate : kept.gate, up: taken[1] ? donated.up : kept.up,
      down: taken[2] ? donated.down : kept.down)
  }

  package func willNeed(layer: Int, experts: [Int]) {
    base.willNeed(layer: layer, experts: experts)
    donor.willNeed(layer: layer, experts: experts)
  }

  package func places(of item: ModelItem) -> [SharedBytes] {
    let taken = item.tensors.map { takes($0.id) }
    return (taken.contains(false) ? base.places(of: item) : []) + (taken.contains(true) ? donor.places(of: item) : [])
  }

  /// The counters of the base; the donor has its own.
  package var counters: WeightCounters { base.counters }
  package func file(named name: String) throws(ModelError) -> [UInt8]? { try base.file(named: name) }

  package func requireUnchanged() throws(ModelError) {
    try base.requireUnchanged()
    try donor.requireUnchanged()
  }
}
