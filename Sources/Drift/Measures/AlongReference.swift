package import Decoding

/// What the candidate would do at each state of the reference (`Formats/drift-report.md` §12.1): decisions without the
/// drift that earlier decisions bring about. Fed state by state, in any order.
package struct AlongReference: Sendable {
  /// The states whose share of masks is in one quarter.
  struct Quarter {
    var samePositions: [Bool] = []
    var sameTokens: [Bool] = []
  }

  var samePositions = ClusterSums()
  var slots = ClusterSums()
  var sameTokens = ClusterSums()
  var sameDecision = ClusterSums()
  var kl = Sample()
  /// States left out, where a model's scores are not finite.
  var nonFiniteCount = 0
  var quarters = Array(repeating: Quarter(), count: 4)

  package init() {}

  /// The states of other prompts, too.
  package static func += (all: inout Self, others: Self) {
    all.samePositions += others.samePositions
    all.slots += others.slots
    all.sameTokens += others.sameTokens
    all.sameDecision += others.sameDecision
    all.kl += others.kl
    all.nonFiniteCount += others.nonFiniteCount
    for index in all.quarters.indices {
      all.quarters[index].samePositions += others.quarters[index].samePositions
      all.quarters[index].sameTokens += others.quarters[index].sameTokens
    }
  }

  /// - Parameters:
  ///   - prompt: any integer; intervals draw whole prompts.
  ///   - maskRatio: masks before the step / block length.
  ///   - commits: the reference's.
  ///   - decision: the candidate's.
  ///   - kl: KL(reference‖candidate) in nats at the committed positions.
  package mutating func add(
    prompt: Int, maskRatio: Double, commits: [StepRecord.Commit], decision: Decision, kl values: [Double]
  ) {
    let positions = Set(commits.map(\.position))
    let others = Set(decision.commits.map(\.position))
    samePositions.add(positions == others, cluster: prompt)
    if !positions.isEmpty {
      slots.add(Double(positions.intersection(others).count) / Double(positions.count), cluster: prompt)
    }
    for agrees in decision.agrees { sameTokens.add(agrees, cluster: prompt) }
    sameDecision.add(Set(commits.map(\.write)) == Set(decision.commits.map(\.write)), cluster: prompt)
    for value in values { kl.add(value, cluster: prompt) }

    let quarter = min(max(Int((maskRatio * 4).rounded(.up)) - 1, 0), 3)
    quarters[quarter].samePositions.append(positions == others)
    quarters[quarter].sameTokens += decision.agrees
  }

  /// A state that is in no number.
  package mutating func leaveOut() { nonFiniteCount += 1 }

  /// `along_reference`; nil without states.
  ///
  /// - Parameter seed: of the intervals.
  package func section(seed: UInt64) -> DriftReport.AlongReference? {
    guard samePositions.count + nonFiniteCount > 0 else { return nil }
    return DriftReport.AlongReference(
      states: samePositions.count, commits: sameTokens.count, nonFinite: nonFiniteCount,
      samePositions: samePositions.estimate(seed: seed), slots: slots.estimate(seed: seed),
      sameTokens: sameTokens.estimate(seed: seed), sameDecision: sameDecision.estimate(seed: seed),
      kl: kl.distribution(seed: seed),
      byMaskRatio: quarters.enumerated().map { index, quarter in
        .init(
          .init(from: Double(index) / 4, to: Double(index + 1) / 4),
          .init(
            states: quarter.samePositions.count, samePositions: quarter.samePositions.share,
            sameTokens: quarter.sameTokens.share))
      })
  }
}
