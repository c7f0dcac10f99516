import JSON
import Text

/// What rounding did to the weights themselves.
enum WeightPart {
  private static let keys = ["relative_rmse", "sqnr_db", "cosine", "max_abs_error", "saturated_share"]
  private static let names = ["relative RMSE", "SQNR (dB)", "cosine", "largest error", "saturated"]

  static func html(_ document: JSONValue) -> Markup {
    guard let weights = document.at("weights") else { return "" }
    var facts = Facts()
    facts.add(
      "tensors compared, different",
      [weights.at("compared")?.int, weights.at("different")?.int]
        .compactMap(\.self).map(PageNumber.count).joined(separator: ", "))
    facts.add("relative RMSE", weights.number(at: "relative_rmse").map(PageNumber.percent))
    facts.add("signal to noise", weights.number(at: "sqnr_db").map { PageNumber.typeset("\(Format.fixed($0, 2)) dB") })
    facts.add("cosine", weights.number(at: "cosine").map { Format.fixed($0, 5) })
    facts.add("largest error", weights.number(at: "max_abs_error").map(PageNumber.nats))
    facts.add("codes at the end of their range", weights.number(at: "saturated_share").map(PageNumber.percent))
    let figures = [byLayer(weights), byProjection(weights)].compactMap { $0?.html }
    let charts: Markup = figures.isEmpty ? "" : "<div class=\"charts\">\n\(figures)</div>\n"
    return facts.html + charts + experts(weights) + tensors(weights)
  }

  private static func cells(_ row: JSONValue) -> [PageTable.Cell] {
    [
      .percent(row.number(at: "relative_rmse")), .number(row.number(at: "sqnr_db")) { Format.fixed($0, 2) },
      .number(row.number(at: "cosine")) { Format.fixed($0, 5) }, .nats(row.number(at: "max_abs_error")),
      .percent(row.number(at: "saturated_share")),
    ]
  }

  private static func byLayer(_ weights: JSONValue) -> Figure? {
    let rows = weights.rows(at: "by_layer")
    let values = rows.compactMap { row in
      row.at("layer")?.int.flatMap { layer in row.number(at: "relative_rmse").map { (layer: layer, value: $0) } }
    }
    let table = PageTable(
      columns: ["layer"] + names, rows: rows.map { [InsidePart.layerCell($0.at("layer")?.int ?? 0)] + cells($0) },
      caption: "Weight error by layer")
    return LayerFigure(
      id: "weights-by-layer", title: "Weight error by layer", yLabel: "relative RMSE (%)",
      caption: "Of the tensors that differ. Rounding is even: a layer that stands out has unusual weights.",
      values: values,
      floor: [], isLogarithmic: false, table: table
    ).figure
  }

  private static func byProjection(_ weights: JSONValue) -> Figure? {
    let rows = weights.rows(at: "by_projection")
    let bars = rows.compactMap { row -> BarFigure.Bar? in
      guard let name = row.text(at: "projection"), let error = Estimate(row.at("relative_rmse")) else { return nil }
      return BarFigure.Bar(name: name, estimate: error, note: PageNumber.percent(error.mean))
    }
    var figure = BarFigure(
      id: "weights-by-projection", title: "Weight error by projection", bars: bars, unit: "relative RMSE (%)",
      column: "projection", noteColumn: "", caption: "The same by what the tensors do.", isPercent: true
    ).figure
    figure?.table = PageTable(
      columns: ["projection"] + names, rows: rows.map { [.text($0.text(at: "projection") ?? "")] + cells($0) },
      caption: "Weight error by projection")
    return figure
  }

  private static func experts(_ weights: JSONValue) -> Markup {
    let rows = weights.rows(at: "experts")
    guard !rows.isEmpty else { return "" }
    let table = PageTable(
      columns: ["layer", "expert"] + names,
      rows: rows.map { [.count($0.at("layer")?.int), .count($0.at("expert")?.int)] + cells($0) }, caption: "Experts")
    return "<details><summary>The \(rows.count) experts with the largest error</summary>\n\(table.html)</details>\n"
  }

  private static func tensors(_ weights: JSONValue) -> Markup {
    let rows = weights.rows(at: "tensors")
    guard !rows.isEmpty else { return "" }
    let table = PageTable(
      columns: ["tensor", "encoding"] + names,
      rows: rows.map { row in
        [
          PageTable.Cell(content: "<code>\(row.text(at: "name") ?? "")</code>"), .text(row.text(at: "encoding") ?? ""),
        ] + cells(row)
      }, caption: "Tensors")
    return "<details><summary>The \(rows.count) tensors with the largest error</summary>\n\(table.html)</details>\n"
  }
}
