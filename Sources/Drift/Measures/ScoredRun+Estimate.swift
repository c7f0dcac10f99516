package import Models

extension ScoredRun {
  /// Multiplications that products come to beside attention, norms and what is copied: 0.85 where it was measured.
  private static let shareOfProducts = 0.85
  /// To sum up the probability of a token, in one lane, on one thread.
  private static let secondsPerScore = 5e-9

  /// Seconds that some runs will take on this machine: what there is to multiply at the rate of an expert's products, or to read
  /// where that takes longer. Trying it takes some tenths of a second for each model.
  ///
  /// - Parameters: those of ``init(_:rejected:memory:)`` and ``run(reference:lanes:recorded:keepsScores:progress:)``.
  package static func expectedSeconds(
    _ scorings: [Scoring], memory: Int, reference: TransformerModel?, lanes: [(role: Role, lane: Lane)]
  ) throws(DriftError) -> Double {
    let all = (reference.map { [Lane($0)] } ?? []) + lanes.map(\.lane)
    let rows = scorings.reduce(0) { $0 + $1.rowCount }
    let positions = scorings.reduce(0) { $0 + $1.positionCount }
    let passes = scorings.reduce(0) { sum, scoring in
      sum
        + Lockstep(all, blockLength: scoring.plan.blockLength, seed: scoring.plan.seed, memory: memory)
        .passes(texts: scoring.texts.map(\.tokens), states: scoring.states)
    }
    var rates: [ObjectIdentifier: Double] = [:]
    var (multiplying, reading) = (0.0, 0.0)
    for model in all.map(\.model) {
      let rate: Double
      if let known = rates[ObjectIdentifier(model)] {
        rate = known
      } else {
        do throws(ModelError) { rate = try model.multiplicationRate() } catch { throw .model(error) }
        rates[ObjectIdentifier(model)] = rate
        reading += Double(passes) * model.weights.secondsToRead()
      }
      let products = model.weights.multiplications(rows: rows, headRows: positions)
      let scores = Double(positions * model.configuration.vocabularySize)
      multiplying += products / rate / shareOfProducts + scores * secondsPerScore / Double(model.compute.threads)
    }
    return max(multiplying, reading)
  }
}
