package import Models

extension ScoredRun {
  /// What runs have to do.
  package struct Work: Sendable {
    /// Rows that go through the layers.
    package var rows = 0
    /// Positions that are scored.
    package var positions = 0
    /// How often each weight is read.
    package var passes = 0

    package init() {}

    package static func += (all: inout Self, next: Self) {
      all.rows += next.rows
      all.positions += next.positions
      all.passes += next.passes
    }
  }

  /// - Parameters: those of ``run(reference:lanes:recorded:keepsScores:progress:)``.
  package func work(reference: TransformerModel?, lanes: [(role: Role, lane: Lane)]) -> Work {
    let all = (reference.map { [Lane($0)] } ?? []) + lanes.map(\.lane)
    let lockstep = Lockstep(all, blockLength: scoring.plan.blockLength, seed: scoring.plan.seed, memory: memory)
    var work = Work()
    work.rows = scoring.rowCount
    work.positions = scoring.positionCount
    work.passes = lockstep.passes(texts: scoring.texts.map(\.tokens), states: scoring.states)
    return work
  }

  /// Multiplications that products come to beside attention, norms and what is copied.
  private static let shareOfProducts = 0.85
  /// To sum up the probability of a token, in one lane, on one thread.
  private static let secondsPerScore = 5e-9

  /// Seconds that work will take on this machine: what there is to multiply at the rate of an expert's products, or to read where
  /// that takes longer. Both are tried.
  package static func expectedSeconds(
    _ work: Work, reference: TransformerModel?, lanes: [(role: Role, lane: Lane)]
  ) throws(DriftError) -> Double {
    var rates: [ObjectIdentifier: Double] = [:]
    var (multiplying, reading) = (0.0, 0.0)
    for model in (reference.map { [$0] } ?? []) + lanes.map(\.lane.model) {
      let rate: Double
      if let known = rates[ObjectIdentifier(model)] {
        rate = known
      } else {
        do throws(ModelError) { rate = try model.multiplicationRate() } catch { throw .model(error) }
        rates[ObjectIdentifier(model)] = rate
        reading += Double(work.passes) * model.weights.secondsToRead()
      }
      let products = model.weights.multiplications(rows: work.rows, headRows: work.positions)
      let scores = Double(work.positions * model.configuration.vocabularySize)
      multiplying += products / rate / shareOfProducts + scores * secondsPerScore / Double(model.compute.threads)
    }
    return max(multiplying, reading)
  }
}
