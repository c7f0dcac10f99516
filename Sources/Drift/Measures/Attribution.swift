package import Models

/// Which parts of the candidate cost how much (`Formats/drift-report.md` §14): each stands alone in the reference.
package struct Attribution {
  package enum Subject: String, CaseIterable, Sendable {
    case layers, experts, projections
  }

  /// Tensors that are swapped together.
  package struct Part: Sendable {
    package let name: String
    /// First layer that the swap changes.
    let fork: Int
    let takes: @Sendable (TensorID) -> Bool
  }

  package let subject: Subject
  package let parts: [Part]
  /// Parts that are not measured.
  package let leftOut: Int

  /// Experts that are measured: those with the largest Σ w² · (relative error of the weights)², w the gate weights that
  /// the reference gave them.
  package static let expertLimit = 64

  /// - Parameters:
  ///   - gateMass: Σ w² by layer and expert.
  ///   - errors: relative RMSE by layer and expert; experts without one hold the same numbers.
  package init(
    _ subject: Subject, _ configuration: ModelConfiguration, gateMass: [Int: [Int: Double]],
    errors: [Int: [Int: Double]]
  ) {
    self.subject = subject
    switch subject {
    case .layers:
      parts = (0..<configuration.layerCount).map { layer in
        Part(name: "layer \(layer)", fork: layer) { $0.layer == layer }
      }
      leftOut = 0
    case .experts:
      var ranked: [(layer: Int, expert: Int, score: Double)] = []
      for (layer, experts) in errors {
        for (expert, error) in experts {
          ranked.append((layer, expert, error * error * (gateMass[layer]?[expert] ?? 0)))
        }
      }
      ranked.sort { ($1.score, $0.layer, $0.expert) < ($0.score, $1.layer, $1.expert) }
      leftOut = max(0, ranked.count - Self.expertLimit)
      parts = ranked.prefix(Self.expertLimit).map { part in
        Part(name: "layer \(part.layer) expert \(part.expert)", fork: part.layer) { id in
          id.layer == part.layer && id.expert == part.expert
        }
      }
    case .projections:
      let firstMixture = (0..<configuration.layerCount).first(where: configuration.isMoE) ?? 0
      let experts = TensorPart.projections.map { projection in
        Part(name: "experts.\(projection.rawValue)", fork: firstMixture) {
          $0.role == .expert && $0.part == projection
        }
      }
      let isOfHead = { @Sendable (id: TensorID) in id.role == .norm && (id.part == .query || id.part == .key) }
      let others: [(String, Int, @Sendable (TensorID) -> Bool)] = [
        ("shared experts", firstMixture, { $0.role == .sharedExpert }),
        ("router", firstMixture, { $0.role == .router }),
        ("dense MLP", 0, { $0.role == .denseMLP }),
        ("attention", 0, { $0.role == .attention || $0.role == .bias || isOfHead($0) }),
        ("norms", 0, { $0.role == .norm && !isOfHead($0) }),
        ("embeddings", 0, { $0.role == .embedding }),
        ("head", configuration.layerCount, { $0.role == .head }),
      ]
      parts = experts + others.map { Part(name: $0.0, fork: $0.1, takes: $0.2) }
      leftOut = 0
    }
  }

  /// What one part alone does on some texts.
  package struct Measured: Sendable {
    package var kl = Sample()
    /// Positions that are not finite.
    package var nonFinite = NonFinite()

    package init(kl: Sample = Sample(), nonFinite: NonFinite = NonFinite()) {
      self.kl = kl
      self.nonFinite = nonFinite
    }
  }

  package struct Result: Sendable {
    package let section: DriftReport.Attribution
    /// The part whose mixture has the most positions that are not finite; nil where all are.
    package let nonFinite: (part: String, tally: NonFinite)?
  }

  /// Measures all parts, some at a time where their hidden states do not fit.
  ///
  /// - Parameters:
  ///   - isCounted: which texts count.
  ///   - memory: bytes for hidden states.
  /// - Returns: in the order of ``parts``.
  package func measure(
    _ scoring: Scoring, reference: TransformerModel, candidate: any WeightSource, threshold: Float,
    without rejected: Set<Int>, memory: Int, progress: (Double) -> Bool
  ) throws(DriftError) -> [Measured] {
    var measured: [Measured] = []
    let laneBytes = max(1, scoring.rowCount * reference.configuration.hiddenSize * MemoryLayout<Float>.size)
    let wave = max(1, min(parts.count, memory / laneBytes - 9))
    for start in stride(from: 0, to: parts.count, by: wave) {
      let some = parts[start..<min(parts.count, start + wave)]
      let lanes = try some.map { part throws(DriftError) in
        let mixed = MixedWeights(reference.weights, with: candidate, takes: part.takes)
        do throws(ModelError) {
          return (
            role: ScoredRun.Role.part,
            lane: Lane(try TransformerModel(mixed, compute: reference.compute), fork: part.fork)
          )
        } catch { throw .model(error) }
      }
      let run = ScoredRun(scoring, memory: memory)
      let result = try run.run(reference: reference, lanes: lanes) {
        progress((Double(start) + $0 * Double(some.count)) / Double(parts.count))
      }
      for comparisons in result.comparisons {
        let masked = ScoredDrift.masked(scoring, comparisons, threshold, without: rejected)
        measured.append(
          Measured(
            kl: masked.kl, nonFinite: scoring.tally(of: { !rejected.contains($0) }) { comparisons[$0].isFinite }))
      }
    }
    return measured
  }

  /// `attribution` of the report.
  ///
  /// - Parameters:
  ///   - measured: of all texts, in the order of ``parts``.
  ///   - whole: mean KL of the whole candidate on the same states.
  ///   - seed: of the intervals.
  package func result(_ measured: [Measured], whole: Double?, seed: UInt64) -> Result {
    let named = zip(parts, measured).map { (name: $0.name, kl: $1.kl, nonFinite: $1.nonFinite) }
    let worst = named.reduce(nil as (part: String, tally: NonFinite)?) { worst, part in
      part.nonFinite.count > worst?.tally.count ?? 0 ? (part.name, part.nonFinite) : worst
    }
    let sum = named.reduce(0) { $0 + ($1.kl.mean ?? 0) }
    let order = named.sorted { ($1.kl.mean ?? 0) < ($0.kl.mean ?? 0) }
    let section = DriftReport.Attribution(
      by: subject.rawValue, nonFinite: named.map(\.nonFinite.count).max() ?? 0,
      parts: order.map {
        .init(
          part: $0.name, nonFinite: $0.nonFinite.count, kl: $0.kl.estimate(seed: seed),
          share: sum > 0 ? ($0.kl.mean ?? 0) / sum : nil)
      }, sum: sum, whole: whole, additivity: whole.flatMap { $0 > 0 ? sum / $0 : nil }, leftOut: leftOut)
    return Result(section: section, nonFinite: worst)
  }
}
