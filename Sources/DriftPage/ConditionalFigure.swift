import Drift

/// Mean KL with its interval, for rows of one condition: a mask ratio, a block, a confidence, a block length.
struct ConditionalFigure {
  struct Row {
    let positions: Int
    let kl: Distribution?
    let top1Agreement: Estimate?
    let loss: Estimate?
    var routingChanged: Estimate?
  }

  let id: String
  let title: String
  let xLabel: String
  let caption: String
  let rows: [Row]
  /// Heading of the condition's column in the table.
  let column: String
  let names: [String]
  /// Where the rows stand between 0 and 1; nil sets them evenly.
  var places: [Double]?
  var floor: Double?
  var lossName = "loss difference"

  /// Nil without rows to draw.
  var figure: Figure? {
    let estimates = rows.map { $0.kl?.estimate }
    guard estimates.contains(where: { $0 != nil }) else { return nil }
    let means = estimates.compactMap { $0?.mean }
    let bounds = estimates.compactMap { $0?.ci95 }.flatMap { [$0.lowerBound, $0.upperBound] }
    let values = means + bounds + (floor.map { [$0] } ?? [])
    // Means that differ thirtyfold would leave the smallest on the ground.
    let smallest = means.min() ?? 0
    let isWide = smallest > 0 && (means.max() ?? 0) / smallest > 30
    let y: Scale =
      isWide
      ? .logarithmic(values, from: Plot.bottom, to: Plot.top) : .linear(values, from: Plot.bottom, to: Plot.top)
    var plot = Plot(y: y, xLabel: xLabel, yLabel: "mean KL (nats\(isWide ? ", log scale" : ""))")
    let xs = rows.indices.map(place)
    plot.xTicks(zip(xs, names).map { (place: $0.0, label: $0.1.replacing("\u{A0}%", with: "")) })
    if let floor { plot.level(floor, label: "noise floor") }
    let points = zip(xs, estimates).compactMap { x, estimate in
      estimate.map { (x: x, y: $0.mean, interval: $0.ci95) }
    }
    plot.draw(Plot.Series(role: .candidate, label: "mean KL", points: points))
    let ends = [(means.first, names.first), (means.last, names.last)].compactMap { mean, name in
      mean.flatMap { mean in name.map { "\(PageNumber.nats(mean)) at \($0)" } }
    }
    return Figure(
      id: id, title: title, description: "Mean KL in nats by \(column): from \(ends.joined(separator: " to ")).",
      caption: caption,
      drawing: plot.content, table: table)
  }

  private func place(_ row: Int) -> Double {
    let inset = 24.0
    let span = Plot.right - Plot.left - 2 * inset
    if let places { return Plot.left + inset + places[row] * span }
    guard rows.count > 1 else { return (Plot.left + Plot.right) / 2 }
    return Plot.left + inset + span * Double(row) / Double(rows.count - 1)
  }

  private var table: PageTable {
    let cells = rows.enumerated().map { index, row -> [PageTable.Cell] in
      [
        PageTable.Cell(content: Markup(text: names[index]), order: Double(index)), .count(row.positions),
        .estimate(row.kl?.estimate), .nats(row.kl?.median), .nats(row.kl?.p99), .nats(row.kl?.max),
        .estimate(row.top1Agreement, PageNumber.percent), .estimate(row.loss, PageNumber.signed),
        .estimate(row.routingChanged, PageNumber.percent),
      ]
    }
    return PageTable(
      columns: [
        column, "positions", "mean KL", "median", "99 %", "max", "same top token", lossName, "expert sets changed",
      ], rows: cells, caption: title)
  }
}

extension ConditionalFigure.Row {
  init(_ group: DriftReport.Group, routingChanged: Estimate? = nil) {
    self.init(
      positions: group.positions, kl: group.kl, top1Agreement: group.top1Agreement, loss: group.nllDifference,
      routingChanged: routingChanged)
  }

  init(_ entry: DriftReport.BlockLength) {
    self.init(
      positions: entry.positions, kl: entry.kl, top1Agreement: entry.top1Agreement, loss: entry.elboDifference)
  }
}
