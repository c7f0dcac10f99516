import Drift
import Text

/// What rounding did to the weights themselves.
enum WeightPart {
  private static let names = ["relative RMSE", "SQNR (dB)", "cosine", "largest error", "saturated"]

  static func html(_ weights: DriftReport.Weights?) -> Markup {
    guard let weights else { return "" }
    let errors = weights.tail.head
    var facts = Facts()
    facts.add(
      "tensors compared, different", "\(PageNumber.count(weights.compared)), \(PageNumber.count(weights.different))")
    facts.add("relative RMSE", errors.relativeRMSE.map(PageNumber.percent))
    facts.add("signal to noise", errors.sqnrDB.map { PageNumber.typeset("\(Format.fixed($0, 2)) dB") })
    facts.add("cosine", errors.cosine.map { Format.fixed($0, 5) })
    facts.add("largest error", PageNumber.nats(errors.maxAbsError.decimal))
    facts.add("codes at the end of their range", errors.saturatedShare.map(PageNumber.percent))
    let figures = [byLayer(weights.byLayer), byProjection(weights.byProjection)].compactMap { $0?.html }
    let charts: Markup = figures.isEmpty ? "" : "<div class=\"charts\">\n\(figures)</div>\n"
    return facts.html + charts + experts(weights.experts) + tensors(weights.tensors)
  }

  private static func cells(_ errors: DriftReport.WeightErrors) -> [PageTable.Cell] {
    [
      .percent(errors.relativeRMSE), .number(errors.sqnrDB) { Format.fixed($0, 2) },
      .number(errors.cosine) { Format.fixed($0, 5) }, .nats(errors.maxAbsError.decimal),
      .percent(errors.saturatedShare),
    ]
  }

  private static func byLayer(
    _ rows: [Joined<DriftReport.LayerIndex, DriftReport.WeightErrors>]
  ) -> Figure? {
    let values = rows.compactMap { row in row.relativeRMSE.map { (layer: row.layer, value: $0) } }
    let table = PageTable(
      columns: ["layer"] + names, rows: rows.map { [InsidePart.layerCell($0.layer)] + cells($0.tail) },
      caption: "Weight error by layer")
    return LayerFigure(
      id: "weights-by-layer", title: "Weight error by layer", yLabel: "relative RMSE (%)",
      caption: "Of the tensors that differ. Rounding is even: a layer that stands out has unusual weights.",
      values: values,
      floor: [], isLogarithmic: false, table: table
    ).figure
  }

  private static func byProjection(
    _ rows: [Joined<DriftReport.Projection, DriftReport.WeightErrors>]
  ) -> Figure? {
    let bars = rows.compactMap { row in
      row.relativeRMSE.map {
        BarFigure.Bar(name: row.projection, estimate: Estimate(mean: $0), note: PageNumber.percent($0))
      }
    }
    var figure = BarFigure(
      id: "weights-by-projection", title: "Weight error by projection", bars: bars, unit: "relative RMSE (%)",
      column: "projection", noteColumn: "", caption: "The same by what the tensors do.", isPercent: true
    ).figure
    figure?.table = PageTable(
      columns: ["projection"] + names, rows: rows.map { [.text($0.projection)] + cells($0.tail) },
      caption: "Weight error by projection")
    return figure
  }

  private static func experts(_ rows: [Joined<DriftReport.Expert, DriftReport.WeightErrors>]) -> Markup {
    guard !rows.isEmpty else { return "" }
    let table = PageTable(
      columns: ["layer", "expert"] + names,
      rows: rows.map { [.count($0.head.layer), .count($0.expert)] + cells($0.tail) }, caption: "Experts")
    return "<details><summary>The \(rows.count) experts with the largest error</summary>\n\(table.html)</details>\n"
  }

  private static func tensors(_ rows: [Joined<DriftReport.Tensor, DriftReport.WeightErrors>]) -> Markup {
    guard !rows.isEmpty else { return "" }
    let table = PageTable(
      columns: ["tensor", "encoding"] + names,
      rows: rows.map { row in
        [PageTable.Cell(content: "<code>\(row.name)</code>"), .text(row.encoding)] + cells(row.tail)
      }, caption: "Tensors")
    return "<details><summary>The \(rows.count) tensors with the largest error</summary>\n\(table.html)</details>\n"
  }
}
