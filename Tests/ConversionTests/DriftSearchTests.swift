import Conversion
import Glibc
import Testing

/// The search for the smallest model that drifts no further than it may, against models whose drift is known.
@Suite struct DriftSearchTests {
  private static let fine = (0...4000).map { 100 * pow(0.998, Double($0)) }
  /// As where an engine makes many matrices share a level.
  private static let coarse = (0...9).map { 100 * pow(0.5, Double($0)) }

  private func run(_ target: Double, _ ladder: [Double], first: Int, _ drift: (Double) -> Double) -> DriftSearch {
    var search = DriftSearch(target: target, ladder: ladder)
    while let steps = search.next(first: first) {
      #expect(ladder.indices.contains(steps) && !search.checks.contains { $0.steps == steps })
      search.add(steps: steps, divergence: drift(ladder[steps]))
    }
    #expect(search.checks.count <= DriftSearch.most)
    return search
  }

  /// Drift is `scale · damage ^ power`.
  @Test(
    "what is within reach is found within four checks, and never overshot",
    arguments: [0.5, 0.8, 1, 1.3, 2], [1e-3, 0.1, 10])
  func powers(power: Double, scale: Double) {
    let drift = { scale * pow($0, power) }
    for target in [drift(60), drift(10), drift(1), drift(0.1)] {
      let search = run(target, Self.fine, first: 1000, drift)
      let found = search.best
      #expect(found?.divergence ?? 9e9 <= target, "\(target): \(search.checks)")
      #expect(found?.divergence ?? 0 >= 0.9 * target && !search.endedEarly, "\(target): \(search.checks)")
    }
  }

  @Test("where few models can be had, none is made twice, and the smallest is found", arguments: 0...9)
  func coarse(first: Int) {
    for wanted in 0...9 {
      let drift = { (damage: Double) in 0.01 * damage }
      let search = run(1.01 * drift(Self.coarse[wanted]), Self.coarse, first: first, drift)
      #expect(search.best?.steps == wanted, "\(search.checks)")
    }
  }

  @Test("the least levels end the search where they are good enough, the best where they are not")
  func ends() {
    let loose = run(1, Self.fine, first: 1000) { 1e-3 * $0 }
    #expect(loose.best?.steps == 0 && loose.checks.count == 2)
    let strict = run(1e-12, Self.fine, first: 1000) { 1e-3 * $0 }
    #expect(strict.best == nil && strict.checks.map(\.steps).max() == 4000 && strict.checks.count == 2)
    let single = run(1, [5], first: 0) { $0 }
    #expect(single.best == nil && single.checks.count == 1)
  }

  @Test("a model without drift, and one whose drift falls with damage, do no harm")
  func oddities() {
    for drift: (Double) -> Double in [{ _ in 0 }, { 1 / $0 }, { _ in 1 }] {
      _ = run(0.5, Self.fine, first: 1000, drift)
      _ = run(0.5, [1, 0, 0, 0], first: 1, drift)
    }
  }

  @Test("where predictions fail, the last check takes the best levels")
  func jumpy() {
    let search = run(0.5, Self.fine, first: 10) { $0 > Self.fine[3990] ? 0.6 : 0.1 }
    #expect(search.best?.steps == 4000)
  }
}
