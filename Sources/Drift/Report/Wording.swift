import Text

/// Numbers of a drift report as people read them.
package enum Wording {
  /// Divergences and losses: three digits that count.
  package static func nats(_ value: Double) -> String { Format.significant(value, digits: 3) }

  package static func signed(_ value: Double) -> String { (value > 0 ? "+" : "") + nats(value) }

  /// A share as a percentage: `94.1 %`; with more digits where one would show nothing of it: `0.0034 %`.
  package static func percent(_ share: Double) -> String { percentDigits(share) + " %" }

  package static func signedPercent(_ share: Double) -> String { (share > 0 ? "+" : "") + percent(share) }

  private static func percentDigits(_ share: Double) -> String {
    let value = share * 100
    return value != 0 && abs(value) < 0.1 ? Format.significant(value, digits: 2) : Format.fixed(value, 1)
  }

  /// A multiple: `5.1×`, `140×`.
  package static func times(_ value: Double) -> String { Format.fixed(value, value < 20 ? 1 : 0) + "×" }

  /// A quotient of two like numbers: `0.31`, `1.02`.
  package static func ratio(_ value: Double) -> String { Format.significant(value, digits: value < 0.1 ? 2 : 3) }

  package static func p(_ value: Double) -> String { value < 0.001 ? "p < 0.001" : "p = \(Format.fixed(value, 3))" }

  /// `ci95` of a mean or distribution: `0.0190 to 0.0241`; nil where there is none.
  package static func interval(_ estimate: Estimate?, _ write: (Double) -> String = nats) -> String? {
    guard let interval = estimate?.ci95 else { return nil }
    return "\(write(interval.lowerBound)) to \(write(interval.upperBound))"
  }

  /// An interval of shares, with one sign of percent: `91.0 to 93.2 %`.
  package static func percentInterval(_ estimate: Estimate?) -> String? {
    guard let interval = estimate?.ci95 else { return nil }
    return "\(percentDigits(interval.lowerBound)) to \(percent(interval.upperBound))"
  }
}

extension DriftReport {
  /// Whether the models predict the next token, rather than what masks stand for.
  package var predictsNext: Bool { data.decoder == "next-token" }

  /// What the scored positions are, in words.
  package var scoredKind: String { predictsNext ? "next-token" : "masked" }
}
