import Glibc

/// From numbers to places on an axis, and the numbers written beside it.
struct Scale {
  struct Tick {
    let value: Double
    let label: String
  }

  private let low: Double
  private let high: Double
  /// Places of `low` and `high`; the second may be the smaller, as on an upright axis.
  private let from: Double
  private let to: Double
  let isLogarithmic: Bool
  let ticks: [Tick]

  /// From zero, or below where values are, to a round number above all.
  static func linear(_ values: [Double], from: Double, to: Double, percent: Bool = false, zero: Bool = true) -> Scale {
    var low = values.min() ?? 0
    var high = values.max() ?? 1
    if zero { (low, high) = (min(0, low), max(0, high)) }
    if high <= low { high = low + (low == 0 ? 1 : abs(low)) }
    let step = roundStep((high - low) / 4)
    low = (low / step + 1e-9).rounded(.down) * step
    high = (high / step - 1e-9).rounded(.up) * step
    let count = Int(((high - low) / step).rounded())
    let ticks = (0...max(1, count)).map { (index: Int) -> Tick in
      let value = low + Double(index) * step
      return Tick(value: value, label: PageNumber.tick(value, step: step, percent: percent))
    }
    return Scale(low: low, high: high, from: from, to: to, isLogarithmic: false, ticks: ticks)
  }

  /// Whole decades around all positive values.
  static func logarithmic(_ values: [Double], from: Double, to: Double, percent: Bool = false) -> Scale {
    let positive = values.filter { $0 > 0 }
    let low = Int((Glibc.log10(positive.min() ?? 0.1) + 1e-9).rounded(.down))
    let high = max(low + 1, Int((Glibc.log10(positive.max() ?? 1) - 1e-9).rounded(.up)))
    let stride = (high - low + 5) / 6
    let ticks = Swift.stride(from: low, through: high, by: stride).map { (exponent: Int) -> Tick in
      let value = Glibc.pow(10, Double(exponent))
      return Tick(value: value, label: PageNumber.decade(exponent, percent: percent))
    }
    return Scale(
      low: Double(low), high: Double(high), from: from, to: to, isLogarithmic: true, ticks: ticks)
  }

  /// The place of a value; what lies outside is put on the edge.
  func place(_ value: Double) -> Double {
    let position = isLogarithmic ? (value > 0 ? Glibc.log10(value) : low) : value
    let share = min(1, max(0, (position - low) / (high - low)))
    return from + share * (to - from)
  }

  /// 1, 2 or 5 times a power of ten, at least `rough`.
  private static func roundStep(_ rough: Double) -> Double {
    let power = Glibc.pow(10, Glibc.log10(rough).rounded(.down))
    let step = [1.0, 2, 5, 10].first { $0 * power >= rough * 0.999 } ?? 10
    return step * power
  }
}
