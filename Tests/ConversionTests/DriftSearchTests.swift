import Conversion
import Glibc
import Testing

/// The search for damage that drifts just less than it may, against models whose drift is known.
@Suite struct DriftSearchTests {
  /// Drift is `scale · damage ^ power`, and whatever the search asks for can be had.
  @Test(
    "what is within reach is found within four checks, and never overshot",
    arguments: [0.5, 0.8, 1, 1.3, 2], [1e-3, 0.1, 10])
  func powers(power: Double, scale: Double) {
    let range = (least: 100.0, best: 0.01)
    let drift = { scale * pow($0, power) }
    for target in [drift(60), drift(10), drift(1), drift(0.1)] {
      var search = DriftSearch(target: target, range: range)
      while let damage = search.next(first: 5) {
        #expect(damage <= range.least && damage >= range.best)
        search.add(.init(damage: damage, divergence: drift(damage)))
      }
      #expect(search.checks.count <= DriftSearch.most)
      let found = search.best
      #expect(found != nil, "\(target): \(search.checks)")
      #expect(found?.divergence ?? 9 <= target)
      #expect(found?.divergence ?? 0 >= 0.6 * target, "\(target): \(search.checks)")
    }
  }

  @Test("the least levels end the search where they are good enough, the best where they are not")
  func ends() {
    var loose = DriftSearch(target: 1, range: (least: 10, best: 1))
    while let damage = loose.next(first: 5) { loose.add(.init(damage: damage, divergence: 1e-3 * damage)) }
    #expect(loose.checks.last?.damage == 10 && loose.checks.count == 2 && loose.best == loose.checks.last)

    var strict = DriftSearch(target: 1e-9, range: (least: 10, best: 1))
    while let damage = strict.next(first: 5) { strict.add(.init(damage: damage, divergence: 1e-3 * damage)) }
    #expect(strict.checks.last?.damage == 1 && strict.checks.count == 2 && strict.best == nil)
  }

  @Test("a model without drift, and one whose drift falls with damage, do no harm")
  func oddities() {
    for drift: (Double) -> Double in [{ _ in 0 }, { 1 / $0 }, { _ in 1 }] {
      var search = DriftSearch(target: 0.5, range: (least: 10, best: 0))
      while let damage = search.next(first: 5) {
        #expect(damage.isFinite && damage >= 0 && damage <= 10)
        search.add(.init(damage: damage, divergence: drift(damage)))
      }
      #expect(search.checks.count <= DriftSearch.most)
    }
  }
}
