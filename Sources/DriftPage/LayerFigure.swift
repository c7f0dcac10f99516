/// A number of every layer beside that of the noise floor.
struct LayerFigure {
  let id: String
  let title: String
  let yLabel: String
  let caption: String
  /// Shares by layer.
  let values: [(layer: Int, value: Double)]
  let floor: [(layer: Int, value: Double)]
  let isLogarithmic: Bool
  let table: PageTable

  var figure: Figure? {
    let layers = (values + floor).map(\.layer)
    guard let first = layers.min(), let last = layers.max() else { return nil }
    let all = (values + floor).map(\.value)
    let y: Scale =
      isLogarithmic
      ? .logarithmic(all, from: Plot.bottom, to: Plot.top, percent: true)
      : .linear(all, from: Plot.bottom, to: Plot.top, percent: true)
    var plot = Plot(y: y, xLabel: "layer", yLabel: yLabel)
    let place = { (layer: Int) -> Double in
      Plot.left + 12 + (Plot.right - Plot.left - 24) * Double(layer - first) / Double(max(1, last - first))
    }
    let step = max(1, (last - max(0, first) + 9) / 10)
    var ticks = stride(from: max(0, first), through: last, by: step).map { (place: place($0), label: "\($0)") }
    if first < 0 { ticks.insert((place: place(-1), label: "emb"), at: 0) }
    plot.xTicks(ticks)
    let series = { (role: Plot.Series.Role, label: String, points: [(layer: Int, value: Double)], isDashed: Bool) in
      Plot.Series(
        role: role, label: label, points: points.map { (x: place($0.layer), y: $0.value, interval: nil) },
        isDashed: isDashed)
    }
    if !floor.isEmpty {
      plot.draw(series(.floor, "noise floor", floor, true))
      plot.legend([(.candidate, "candidate", false), (.floor, "noise floor", true)])
    }
    plot.draw(series(.candidate, "candidate", values, false))
    let top = values.max { $0.value < $1.value }
    let peak = top.map { "largest at layer \($0.layer): \(PageNumber.percent($0.value))" } ?? "no values"
    return Figure(
      id: id, title: title, description: "\(title), layers \(first) to \(last); \(peak).", caption: caption,
      drawing: plot.content, table: table)
  }
}
