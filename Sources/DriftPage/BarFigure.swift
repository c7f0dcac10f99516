import Drift

/// Lying bars, the largest first, each with its name, interval and a remark at the end.
struct BarFigure {
  struct Bar {
    let name: String
    let estimate: Estimate
    let note: String?
  }

  let id: String
  let title: String
  let bars: [Bar]
  /// Over the bars: what they measure, with its unit.
  let unit: String
  let column: String
  let noteColumn: String
  let caption: String
  var isPercent = false

  /// More would be a page of their own; the table has all.
  private static var shownCount: Int { 16 }

  var figure: Figure? {
    let shown = bars.prefix(Self.shownCount)
    guard !shown.isEmpty else { return nil }
    let rowHeight = 19.0
    let top = 38.0
    let left = min(150, Double(shown.map(\.name.count).max() ?? 0) * 6.4 + 10)
    let right = Plot.right - 48
    let ends = shown.map { max($0.estimate.mean, $0.estimate.ci95?.upperBound ?? 0) }
    let scale = Scale.linear(ends, from: left, to: right, percent: isPercent)
    let bottom = top + Double(shown.count) * rowHeight
    var content = Plot.text(unit, x: left, y: 11, anchor: "start", kind: "label")
    for tick in scale.ticks {
      let x = scale.place(tick.value)
      content += Plot.line(x, top - 4, x, bottom, "grid")
      content += Plot.text(tick.label, x: x, y: top - 8, anchor: "middle", kind: "tick")
    }
    for (index, bar) in shown.enumerated() { content += draw(bar, index, scale, y: top + Double(index) * rowHeight) }
    content += Plot.line(left, top - 4, left, bottom, "axis")
    let rest = bars.count - shown.count
    let first = shown[shown.startIndex]
    return Figure(
      id: id, title: title,
      description: "\(unit) by \(column); the largest is \(first.name) with \(write(first.estimate.mean)).",
      caption: caption + (rest > 0 ? " The \(shown.count) largest of \(bars.count) are drawn." : ""), drawing: content,
      table: table, size: (Plot.width, bottom + 6))
  }

  private func write(_ value: Double) -> String { isPercent ? PageNumber.percent(value) : PageNumber.nats(value) }

  private func draw(_ bar: Bar, _ index: Int, _ scale: Scale, y: Double) -> Markup {
    let (start, end) = (scale.place(0), scale.place(bar.estimate.mean))
    // A long name keeps its end, which tells it from its neighbours.
    let name = bar.name.count > 22 ? "…" + bar.name.suffix(21) : bar.name
    var content = Plot.text(name, x: start - 6, y: y + 12, anchor: "end", kind: "name")
    content += """
      <rect class="bar" x="\(PageNumber.coordinate(start))" y="\(PageNumber.coordinate(y + 3))" \
      width="\(PageNumber.coordinate(max(0.5, end - start)))" height="12">\
      <title>\(bar.name): \(write(bar.estimate.mean))</title></rect>

      """
    var edge = end
    if let interval = bar.estimate.ci95 {
      edge = max(end, scale.place(interval.upperBound))
      content += Plot.line(scale.place(interval.lowerBound), y + 9, edge, y + 9, "whisker s-ink")
    }
    if let note = bar.note { content += Plot.text(note, x: edge + 5, y: y + 13, anchor: "start", kind: "note") }
    return content
  }

  private var table: PageTable {
    PageTable(
      columns: [column, unit, noteColumn],
      rows: bars.map { bar in
        [.text(bar.name), .estimate(bar.estimate, write), .text(bar.note ?? "")]
      }, caption: title)
  }
}
