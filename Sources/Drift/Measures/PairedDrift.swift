import Glibc

/// Two candidates at the same masked positions (`Formats/drift-report.md` §15.1): the candidate of the report first.
package struct PairedDrift: Sendable {
  private let seed: UInt64
  private var kl = PairedSums()
  private var values: (first: [Double], second: [Double]) = ([], [])
  private var clusters: [Int] = []
  private var agreement = PairedSums()
  private var nonFiniteCount = 0

  /// - Parameters:
  ///   - first, second: by position of the scoring.
  ///   - rejected: texts that do not count.
  package init(_ scoring: Scoring, _ first: [Comparison], _ second: [Comparison], without rejected: Set<Int>) {
    seed = scoring.plan.seed
    for (index, state) in scoring.states.enumerated() where !rejected.contains(state.text) {
      for place in state.counted.indices {
        let (a, b) = (first[scoring.starts[index] + place], second[scoring.starts[index] + place])
        guard a.isFinite, b.isFinite else {
          nonFiniteCount += 1
          continue
        }
        kl.add(a.kl, b.kl, cluster: state.text)
        agreement.add(a.sameTop ? 1 : 0, b.sameTop ? 1 : 0, cluster: state.text)
        values.first.append(a.kl)
        values.second.append(b.kl)
        clusters.append(state.text)
      }
    }
  }

  /// The quotient of two means; nil without rows, or where the second is 0.
  private func ratio(_ sums: PairedSums) -> DriftReport.PairedRatio? {
    guard let means = sums.means, let ratio = sums.ratio(seed: seed) else { return nil }
    return .init(candidate: means.first, versus: means.second, ratio: ratio.mean, ci95: ratio.ci95)
  }

  private func difference(_ sums: PairedSums) -> DriftReport.PairedDifference? {
    guard let means = sums.means, let difference = sums.difference(seed: seed) else { return nil }
    return .init(
      candidate: means.first, versus: means.second, difference: difference.mean, ci95: difference.ci95)
  }

  /// `versus` of the report.
  ///
  /// - Parameters:
  ///   - model: the second.
  ///   - routes: whether the set of experts changed, by row.
  ///   - decisions: whether the decision along the reference's path is the same, by state.
  package func section(
    model: DriftReport.Model, routes: PairedSums?, decisions: PairedSums?
  ) -> DriftReport.Versus {
    let (a, b) = (Tail(values.first, clusters: clusters), Tail(values.second, clusters: clusters))
    func ratio(_ value: (Tail, [Int]) -> Double?) -> DriftReport.PairedRatio? {
      guard let own = value(a, a.once), let other = value(b, b.once),
        let ratio = a.ratio(to: b, seed: seed, value)
      else { return nil }
      return .init(candidate: own, versus: other, ratio: ratio.mean, ci95: ratio.ci95)
    }
    return DriftReport.Versus(
      model: model, positions: values.first.count, nonFinite: nonFiniteCount, kl: self.ratio(kl),
      klGeometric: geometric, klTrimmed: ratio { $0.trimmedMean($1) }, klP99: ratio { $0.quantile(0.99, $1) },
      top1Agreement: difference(agreement), routingChanged: routes.flatMap { self.ratio($0) },
      sameDecision: decisions.flatMap(difference))
  }

  /// exp of the mean over texts of the logarithm of the quotient of their means.
  private var geometric: DriftReport.GeometricRatio? {
    var texts: [Int: (first: Double, second: Double)] = [:]
    for (index, text) in clusters.enumerated() {
      texts[text, default: (0, 0)].first += values.first[index]
      texts[text, default: (0, 0)].second += values.second[index]
    }
    var logs = ClusterSums()
    var smaller = 0
    for (text, sums) in texts.sorted(by: { $0.key < $1.key }) where sums.first > 0 && sums.second > 0 {
      logs.add(Glibc.log(sums.first / sums.second), cluster: text)
      if sums.first < sums.second { smaller += 1 }
    }
    guard let mean = logs.mean else { return nil }
    return .init(
      texts: logs.count, smaller: smaller, ratio: Glibc.exp(mean),
      ci95: logs.interval(seed: seed).map { Glibc.exp($0.lowerBound)...Glibc.exp($0.upperBound) })
  }
}
