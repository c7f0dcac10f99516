import Drift
import Glibc
import Kernels
import Testing

/// Two candidates at the same positions, and means that a few positions do not lead.
@Suite struct PairedTests {
  private func sums(_ rows: [(Double, Double, Int)]) -> PairedSums {
    var sums = PairedSums()
    for row in rows { sums.add(row.0, row.1, cluster: row.2) }
    return sums
  }

  @Test func ratiosAndDifferencesArePaired() throws {
    // Texts differ a hundredfold, candidates by a half in each: no doubt is left.
    let even = sums((0..<40).map { (0.5 * Double(1 + $0 * $0), Double(1 + $0 * $0), $0) })
    #expect(even.ratio(seed: 3) == Estimate(mean: 0.5, ci95: 0.5...0.5))
    let shifted = sums((0..<40).map { (Double($0) + 2, Double($0), $0 / 2) })
    #expect(shifted.difference(seed: 3) == Estimate(mean: 2, ci95: 2...2))
    #expect(shifted.count == 40 && shifted.means?.second == 19.5)
    #expect(sums([(1, 0, 0), (2, 0, 1)]).ratio(seed: 1) == nil)
    #expect(sums([(1, 2, 0), (2, 4, 0)]).ratio(seed: 1) == Estimate(mean: 0.5))
    #expect(PairedSums().means == nil && PairedSums().difference(seed: 1) == nil)
  }

  /// Of independent ratios around 1 the interval is about ± 1.96 · sd / sqrt(n).
  @Test func intervalsAreAsWideAsTheory() throws {
    let rows = (0..<400).map { (index: Int) in (1 + 0.2 * (Double(index % 20) - 9.5) / 5.766, 1.0, index) }
    let interval = try #require(sums(rows).ratio(seed: 5)?.ci95)
    let half = 1.96 * 0.2 / 20
    #expect(abs(interval.lowerBound - (1 - half)) < 0.15 * half && abs(interval.upperBound - (1 + half)) < 0.15 * half)
  }

  private func comparison(_ shift: Float) -> Comparison {
    let row = { (last: Float) in LogSoftmax([0, 1, last, -9][...], kernels: .best) }
    return Comparison(ReferenceRow(row(2), truth: 0, mask: 3), row(2 + shift), truth: 0, mask: 3)
  }

  /// One text a state, one position each.
  private func scoring(_ count: Int) -> Scoring {
    Scoring(
      (0..<count).map { _ in ScoredText(tokens: [0, 0], scored: 0..<1, blockLength: 2, fill: nil) },
      plan: MaskPlan(ratios: [1], blockLength: 2, mask: 3, seed: 1),
      states: (0..<count).map { MaskedState(text: $0, start: 0, tokens: [3, 0], counted: [0]) })
  }

  private let model = DriftReport.Model(
    path: "b", kind: "pack", hash: "0", bytes: 1, bitsPerWeight: nil, experts: [], activations: "fp32")

  @Test func aCandidateBesideItselfHasARatioOfOne() throws {
    let rows = (0..<50).map { comparison(0.01 * Float(1 + $0 % 7)) }
    let versus = PairedDrift(scoring(50), rows, rows, without: [])
      .section(model: model, routes: sums([(1, 1, 0), (0, 1, 1)]), decisions: sums([(1, 0, 0), (1, 1, 1)]))
    for ratio in [versus.kl, versus.klTrimmed, versus.klP99] {
      #expect(ratio?.estimate == Estimate(mean: 1, ci95: 1...1))
    }
    #expect(versus.klGeometric?.ratio == 1 && versus.klGeometric?.texts == 50 && versus.klGeometric?.smaller == 0)
    #expect(versus.top1Agreement?.difference == 0 && versus.positions == 50 && versus.nonFinite == 0)
    #expect(versus.routingChanged?.ratio == 0.5 && versus.sameDecision?.difference == 0.5)
  }

  @Test func numbersAreThoseOfTheCandidates() throws {
    // KL grows with the shift; one position of the second is far off, one has no numbers, one text is rejected.
    var (first, second) = (
      (0..<1000).map { comparison(0.001 * Float($0)) }, (0..<1000).map { comparison(0.002 * Float($0)) }
    )
    second[10] = comparison(9)
    first[20] = comparison(.infinity)
    second[999] = comparison(30)
    let versus = PairedDrift(scoring(1000), first, second, without: [999]).section(
      model: model, routes: nil, decisions: nil)
    #expect(versus.positions == 998 && versus.nonFinite == 1)
    let kept = (0..<999).filter { $0 != 20 }
    let (a, b) = (kept.map { first[$0].kl }.sorted(), kept.map { second[$0].kl }.sorted())
    let near = { (x: Double?, y: Double) in abs((x ?? .nan) - y) <= 1e-12 * abs(y) }
    #expect(near(versus.kl?.candidate, a.reduce(0, +) / 998) && near(versus.kl?.versus, b.reduce(0, +) / 998))
    #expect(near(versus.kl?.ratio, a.reduce(0, +) / b.reduce(0, +)))
    // One in a thousand, and one at least, is left out.
    #expect(near(versus.klTrimmed?.versus, b.dropLast().reduce(0, +) / 997))
    // Rank 989 of 998.
    #expect(versus.klP99?.candidate == a[988] && versus.klP99?.versus == b[988])
    // Text 0 does not drift.
    let logs = kept.dropFirst().map { log(first[$0].kl / second[$0].kl) }
    #expect(
      versus.klGeometric?.texts == 997 && abs((versus.klGeometric?.ratio ?? 0) - exp(logs.reduce(0, +) / 997)) < 1e-9)
    #expect(versus.klGeometric?.smaller == 997)
    let interval = try #require(versus.klP99?.ci95)
    #expect(interval.lowerBound < versus.klP99?.ratio ?? 0 && interval.upperBound > versus.klP99?.ratio ?? 9)
  }

  @Test func robustMeansAreNotLedByAFewPositions() throws {
    let states = scoring(2000).states
    let shift = { (text: Int) -> Float in text < 3 ? 12 : text == 3 ? 0 : 0.02 }
    let positions = states.indices.map {
      MaskedDrift.Position(state: $0, position: 0, comparison: comparison(shift($0)))
    }
    let drift = MaskedDrift(
      plan: MaskPlan(ratios: [1], blockLength: 2, mask: 3, seed: 1), states: states, positions: positions,
      threshold: 0.95)
    let robust = try #require(drift.section(tokenCounts: [:], klFullMean: nil, routingChanged: [:], worst: []).robust)
    let (far, near) = (positions[0].comparison.kl, positions[9].comparison.kl)
    let total = 3 * far + 1996 * near
    #expect(abs((robust.tenWorstShare ?? 0) - (3 * far + 7 * near) / total) < 1e-12 && far > 1000 * near)
    // Two of the three are left out.
    #expect(abs((robust.trimmed?.mean ?? 0) - (far + 1996 * near) / 1998) < 1e-12)
    #expect(abs((robust.geometric?.mean ?? 0) - exp((3 * log(far) + 1996 * log(near)) / 1999)) < 1e-9)
    #expect(robust.textsWithoutDrift == 1)
    let interval = try #require(robust.trimmed?.ci95)
    #expect(interval.lowerBound >= near * 0.99 && interval.upperBound < 6 * far / 1998 + near)
  }
}
