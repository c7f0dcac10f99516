import Drift

/// How many positions have which divergence: both axes logarithmic, with the quantiles marked.
struct HistogramFigure {
  private let bars: [DriftReport.Bar]
  private let kl: Distribution?

  init(_ masked: DriftReport.Masked) {
    kl = masked.kl
    let all = masked.histogram
    // Empty bars at both ends show nothing.
    let first = all.firstIndex { $0.count > 0 } ?? all.endIndex
    let last = all.lastIndex { $0.count > 0 } ?? all.startIndex
    bars = first <= last && first < all.endIndex ? Array(all[first...last]) : []
  }

  /// Nil where nothing was counted.
  var figure: Figure? {
    guard let low = bars.first, let high = bars.last else { return nil }
    let y = Scale.logarithmic([1, Double(bars.map(\.count).max() ?? 1)], from: Plot.bottom, to: Plot.top)
    var plot = Plot(y: y, xLabel: "KL (nats, log scale)", yLabel: "positions (log scale)")
    let width = (Plot.right - Plot.left) / Double(bars.count)
    for (index, bar) in bars.enumerated() {
      let x = Plot.left + Double(index) * width
      let title = "\(PageNumber.nats(bar.from)) to \(PageNumber.nats(bar.to)): \(PageNumber.count(bar.count))"
      // One position should still be seen on an axis that begins at one.
      let value = bar.count == 0 ? 0 : max(1.3, Double(bar.count))
      plot.bar(from: x + 0.5, to: x + width - 0.5, value: value, title: title)
    }
    plot.xTicks(decades(width))
    let marks = [(kl?.mean, "mean"), (kl?.p99, "99 %"), (kl?.max, "max")]
    for (row, mark) in marks.enumerated() {
      guard let value = mark.0, value > 0 else { continue }
      plot.marker(x: place(value, width), label: mark.1, row: row)
    }
    return Figure(
      id: "kl-histogram", title: "How divergences are spread",
      description: "Counts of positions by KL, from \(PageNumber.nats(low.from)) to \(PageNumber.nats(high.to)) nats.",
      caption: "Most positions hardly move; the right tail is where answers change. Both scales are logarithmic.",
      drawing: plot.content, table: table)
  }

  /// Bars are equally wide in the logarithm; the first, from zero, is as wide as the rest.
  private func place(_ value: Double, _ width: Double) -> Double {
    guard let index = bars.firstIndex(where: { value < $0.to }) else { return Plot.right }
    let bar = bars[index]
    let inside = bar.from > 0 ? (value - bar.from) / (bar.to - bar.from) : 0.5
    return Plot.left + (Double(index) + min(1, max(0, inside))) * width
  }

  private func decades(_ width: Double) -> [(place: Double, label: String)] {
    var ticks: [(place: Double, label: String)] = []
    for (exponent, value) in zip(-7...2, [1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 10, 100]) {
      guard let index = bars.firstIndex(where: { abs($0.to / value - 1) < 0.01 }) else { continue }
      ticks.append((Plot.left + Double(index + 1) * width, PageNumber.decade(exponent, percent: false)))
    }
    return ticks
  }

  private var table: PageTable {
    PageTable(
      columns: ["from", "to", "positions"], rows: bars.map { [.nats($0.from), .nats($0.to), .count($0.count)] },
      caption: "Positions by KL")
  }
}
