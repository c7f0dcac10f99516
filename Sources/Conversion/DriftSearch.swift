import Glibc

/// Looks for the smallest model that drifts no further than it may: drift is predicted from damage, checked, and corrected.
///
/// Damage tells the order of models and not their drift, which a few checks add: drift is taken to be proportional to damage at
/// first, then to be the power of it that the two checks nearest the target show (`Formats/solver.md`, section 10).
package struct DriftSearch: Sendable {
  package struct Check: Sendable, Equatable {
    /// Steps from the least levels that the model is made with.
    package let steps: Int
    /// Mean KL divergence, in nats.
    package let divergence: Double
  }

  /// Checks at most.
  package static let most = 4
  /// Drift that is close enough to the target: at least this share of it.
  package static let enough = 0.9

  package let target: Double
  /// Damage after each number of steps, descending.
  private let ladder: [Double]
  package private(set) var checks: [Check] = []

  /// - Parameter ladder: damage with the least levels, and after each step; not empty.
  package init(target: Double, ladder: [Double]) {
    precondition(!ladder.isEmpty)
    self.target = target
    self.ladder = ladder
  }

  package mutating func add(steps: Int, divergence: Double) {
    checks.append(Check(steps: steps, divergence: divergence))
  }

  /// The check with the fewest steps that is within the target; nil while there is none.
  package var best: Check? { checks.filter { $0.divergence <= target }.min { $0.steps < $1.steps } }

  /// Whether a smaller model within the target may be there, which more checks would find.
  package var endedEarly: Bool {
    guard let best else { return false }
    return best.divergence < Self.enough * target && !open.isEmpty
  }

  /// Steps between the last model that drifts too far and the first that does not.
  private var open: Range<Int> {
    let over = checks.filter { $0.divergence > target }.map(\.steps).max() ?? -1
    let within = best?.steps ?? ladder.count
    return over + 1..<max(over + 1, within)
  }

  /// Steps to be tried next; nil where another check would bring nothing, or there have been enough.
  ///
  /// - Parameter first: what to begin with.
  package func next(first: Int) -> Int? {
    if let best, best.divergence >= Self.enough * target { return nil }
    guard checks.count < Self.most, !open.isEmpty else { return nil }
    func clamped(_ steps: Int) -> Int { min(max(steps, open.lowerBound), open.upperBound - 1) }
    guard !checks.isEmpty else { return clamped(first) }
    // If anything is good enough, the best levels are.
    if checks.count == Self.most - 1, best == nil { return open.upperBound - 1 }
    let near = checks.filter { $0.divergence > 0 && ladder[$0.steps] > 0 }
      .sorted { abs(log($0.divergence / target)) < abs(log($1.divergence / target)) }
    guard let nearest = near.first else { return open.lowerBound }
    var power = 1.0
    if near.count > 1 {
      let slope =
        log(nearest.divergence / near[1].divergence) / log(ladder[nearest.steps] / ladder[near[1].steps])
      // Noise of few texts can say anything.
      if slope.isFinite { power = min(4, max(0.25, slope)) }
    }
    // The middle of what is close enough.
    let wanted = ladder[nearest.steps] * pow(0.95 * target / nearest.divergence, 1 / power)
    return clamped(ladder.firstIndex { $0 <= wanted } ?? ladder.count - 1)
  }
}
