import JSON
import Text

/// Numbers of a drift report as people read them.
enum Wording {
  /// Divergences and losses: three digits that count.
  static func nats(_ value: Double) -> String { Format.significant(value, digits: 3) }

  static func signed(_ value: Double) -> String { (value > 0 ? "+" : "") + nats(value) }

  /// A share as a percentage: `94.1 %`; with more digits where one would show nothing of it: `0.0034 %`.
  static func percent(_ share: Double) -> String { percentDigits(share) + " %" }

  static func signedPercent(_ share: Double) -> String { (share > 0 ? "+" : "") + percent(share) }

  private static func percentDigits(_ share: Double) -> String {
    let value = share * 100
    return value != 0 && abs(value) < 0.1 ? Format.significant(value, digits: 2) : Format.fixed(value, 1)
  }

  /// A multiple: `5.1×`, `140×`.
  static func times(_ value: Double) -> String { Format.fixed(value, value < 20 ? 1 : 0) + "×" }

  static func p(_ value: Double) -> String { value < 0.001 ? "p < 0.001" : "p = \(Format.fixed(value, 3))" }

  /// `ci95` of a mean or distribution: `0.0190 to 0.0241`; nil where there is none.
  static func interval(_ estimate: JSONValue?, _ write: (Double) -> String = nats) -> String? {
    guard let interval = Estimate(estimate)?.interval else { return nil }
    return "\(write(interval.lowerBound)) to \(write(interval.upperBound))"
  }

  /// An interval of shares, with one sign of percent: `91.0 to 93.2 %`.
  static func percentInterval(_ estimate: JSONValue?) -> String? {
    guard let interval = Estimate(estimate)?.interval else { return nil }
    return "\(percentDigits(interval.lowerBound)) to \(percent(interval.upperBound))"
  }
}

/// A number with its interval: a *mean*, a *distribution*, or a plain number of `Formats/drift-report.md`.
struct Estimate {
  let mean: Double
  let interval: ClosedRange<Double>?

  /// Nil where the value is missing or has no mean.
  init?(_ value: JSONValue?) {
    guard let value, let mean = value.double ?? value.number(at: "mean") else { return nil }
    self.mean = mean
    let bounds = value.rows(at: "ci95").compactMap(\.double)
    interval = bounds.count == 2 && bounds[0] <= bounds[1] ? bounds[0]...bounds[1] : nil
  }
}
