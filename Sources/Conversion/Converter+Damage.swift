package import Calibration
import Pack
import Quantization
import Storage

extension Converter {
  /// What every level would cost each expert whose levels are open: reads all their weights once.
  package func damage(
    of states: any StateSource, progress: (Int) -> Void, isInterrupted: () -> Bool
  ) throws(ConversionError) -> [Int: LevelDamage] {
    var found: [Int: LevelDamage] = [:]
    var done = 0
    let open = Dictionary(grouping: plan.openChunks) { plan.pack.chunks[$0].layer }
    try eachLayer(of: states) { (layer, solver) throws(ConversionError) in
      guard let solver, let own = open[layer.layer] else { return }
      // Those that take longest first, so that no thread waits long for the last.
      let tokens = own.map { solver.tokenCount(of: plan.pack.chunks[$0].expert) }
      let chunks = own.indices.sorted { (tokens[$1], $0) < (tokens[$0], $1) }.map { own[$0] }
      try inOrder(
        count: chunks.count, threads: threads, window: max(threads, chunks.count), makeWorkspace: {},
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
      damage = try solver.damage(chunk.expert, weights, levels: PrecisionTarget.levels, solver: plan.options.calibrated)
    } catch {
      guard case .statesNotFinite(let column) = error else { preconditionFailure("weights were looked at") }
      throw .statesNotFinite(layer: chunk.layer, expert: chunk.expert, column: column)
    }
    // A weight that no level can hold has a place: solving says where.
    if damage.damage.contains(where: { $0.allSatisfy { !$0.isFinite } }) { _ = try solve(index, solver) }
    return damage
  }
}
