import Glibc

/// Looks for the damage at which a model drifts just less than it may: drift is predicted from damage, checked, and corrected.
///
/// Damage tells the order of models and not their drift, which a few checks add: drift is taken to be proportional to damage at
/// first, then to be the power of it that the two checks next to the target show.
package struct DriftSearch: Sendable {
  package struct Check: Sendable, Equatable {
    package let damage: Double
    /// Mean KL divergence, in nats.
    package let divergence: Double

    package init(damage: Double, divergence: Double) {
      self.damage = damage
      self.divergence = divergence
    }
  }

  /// Checks at most.
  package static let most = 4
  /// Drift that is close enough to the target: at least this share of it.
  package static let enough = 0.9

  package let target: Double
  /// Damage with the least levels, and with the best.
  private let range: (least: Double, best: Double)
  package private(set) var checks: [Check] = []

  package init(target: Double, range: (least: Double, best: Double)) {
    self.target = target
    self.range = range
  }

  package mutating func add(_ check: Check) { checks.append(check) }

  /// The check with the most damage that is within the target; nil while there is none.
  package var best: Check? { checks.filter { $0.divergence <= target }.max { $0.damage < $1.damage } }

  /// Damage to be tried next; nil where another check would bring nothing, or there have been enough.
  ///
  /// - Parameter first: what to begin with.
  package func next(first: Double) -> Double? {
    guard let last = checks.last else { return clamped(first) }
    guard checks.count < Self.most else { return nil }
    if let best, best.divergence >= Self.enough * target || best.damage >= range.least { return nil }
    // Not even the best levels are good enough.
    if checks.contains(where: { $0.divergence > target && $0.damage <= range.best }) { return nil }
    // The middle of what is close enough; the last check must hit, and aims lower.
    let aim = (checks.count == Self.most - 1 && best == nil ? 0.8 : 0.95) * target
    let near = checks.filter { $0.divergence > 0 && $0.damage > 0 }
      .sorted { abs(log($0.divergence / target)) < abs(log($1.divergence / target)) }
    guard let nearest = near.first else { return clamped(range.least) }
    var power = 1.0
    if near.count > 1 {
      let slope = log(nearest.divergence / near[1].divergence) / log(nearest.damage / near[1].damage)
      // Noise of few texts can say anything.
      if slope.isFinite { power = min(4, max(0.25, slope)) }
    }
    return clamped(nearest.damage * pow(aim / nearest.divergence, 1 / power))
  }

  private func clamped(_ damage: Double) -> Double { min(range.least, max(range.best, damage)) }
}
