import Drift

/// What happens on the way: hidden states, routes, and which part of the model the drift comes from.
enum InsidePart {
  static func html(_ report: DriftReport) -> Markup {
    let figures = [hidden(report.layers), routes(report.routing), attribution(report.attribution)]
      .compactMap { $0?.html }
    let tables = Markup([
      replay(report.routeReplay), routingFacts(report),
      routesByRatio(report.predictsNext ? [] : report.routing?.byMaskRatio ?? []),
    ])
    guard !figures.isEmpty || !tables.isEmpty else { return "" }
    let aside: Markup = tables.isEmpty ? "" : "<div>\n\(tables)</div>\n"
    return "<div class=\"charts\">\n\(figures)\(aside)</div>\n"
  }

  // MARK: By layer

  private static func hidden(_ rows: [DriftReport.Layer]) -> Figure? {
    guard rows.contains(where: { ($0.relativeError ?? 0) > 0 }) else { return nil }
    let table = PageTable(
      columns: ["layer", "relative error", "cosine", "noise floor"],
      rows: rows.map {
        [layerCell($0.layer), .percent($0.relativeError), .nats($0.cosine), .percent($0.floor)]
      }, caption: "Drift of hidden states by layer")
    // Zero, as at embeddings that were kept, has no place on a logarithmic axis.
    return LayerFigure(
      id: "hidden-by-layer", title: "Drift of hidden states by layer", yLabel: "relative error (%, log scale)",
      caption:
        "How far the states that leave a layer are from the reference’s. A step that the floor does not have is one "
        + "layer’s doing.",
      values: rows.compactMap { row in row.relativeError.flatMap { $0 > 0 ? (row.layer, $0) : nil } },
      floor: rows.compactMap { row in row.floor.flatMap { $0 > 0 ? (row.layer, $0) : nil } }, isLogarithmic: true,
      table: table
    ).figure
  }

  private static func routes(_ routing: DriftReport.Routing?) -> Figure? {
    let rows = routing?.byLayer ?? []
    guard rows.contains(where: { $0.changed != nil }) else { return nil }
    let table = PageTable(
      columns: ["layer", "sets changed", "overlap", "router KL", "weight shifted", "noise floor, sets changed"],
      rows: rows.map {
        [
          layerCell($0.layer), .percent($0.changed), .percent($0.overlap), .nats($0.kl), .percent($0.weightShift),
          .percent($0.floorChanged),
        ]
      }, caption: "Changed routes by layer")
    return LayerFigure(
      id: "routing-by-layer", title: "Tokens sent to another set of experts", yLabel: "rows with a changed set (%)",
      caption:
        "One expert of a set that is another counts. Routers choose among near equals, so some changes cost nothing.",
      values: rows.compactMap { row in row.changed.map { (row.layer, $0) } },
      floor: rows.compactMap { row in row.floorChanged.map { (row.layer, $0) } }, isLogarithmic: false, table: table
    ).figure
  }

  static func layerCell(_ layer: Int) -> PageTable.Cell {
    PageTable.Cell(content: layer < 0 ? "embeddings" : "\(layer)", order: Double(layer), isNumber: true)
  }

  private static func routingFacts(_ report: DriftReport) -> Markup {
    guard let routing = report.routing, let changed = PageNumber.estimate(routing.changed, PageNumber.percent) else {
      return ""
    }
    var facts = Facts()
    facts.add("sets of experts changed", changed)
    facts.add("of the noise floor", PageNumber.estimate(report.floor?.routingChanged, PageNumber.percent))
    facts.add("experts in both sets", PageNumber.estimate(routing.overlap, PageNumber.percent))
    facts.add("KL of router scores, nats", PageNumber.estimate(routing.kl))
    facts.add("routing weight shifted", PageNumber.estimate(routing.weightShift, PageNumber.percent))
    return "<h3>Routing over all layers</h3>\n\(facts.html)"
  }

  private static func routesByRatio(_ rows: [DriftReport.RoutingMaskRatio]) -> Markup {
    guard !rows.isEmpty else { return "" }
    let cells = rows.map { row -> [PageTable.Cell] in
      [
        .number(row.maskRatio, PageNumber.plainPercent), .percent(row.changed), .percent(row.overlap), .nats(row.kl),
        .percent(row.weightShift),
      ]
    }
    let table = PageTable(
      columns: ["masked", "sets changed", "overlap", "router KL", "weight shifted"], rows: cells,
      caption: "Routes by masked share")
    return "<h3>Routing by masked share of the block</h3>\n\(table.html)"
  }

  // MARK: Where it comes from

  private static func attribution(_ attribution: DriftReport.Attribution?) -> Figure? {
    guard let attribution else { return nil }
    let parts = attribution.parts.compactMap { part in
      part.kl.map { BarFigure.Bar(name: part.part, estimate: $0, note: part.share.map(PageNumber.percent)) }
    }
    guard !parts.isEmpty else { return nil }
    var caption = "Mean KL when one part of the candidate at a time stands in the reference."
    if let additivity = attribution.additivity, let whole = attribution.whole {
      caption +=
        " The parts sum to \(PageNumber.nats(attribution.sum)), the whole candidate has \(PageNumber.nats(whole)): effects "
        + (abs(additivity - 1) < 0.15 ? "add up." : additivity > 1 ? "partly cancel." : "amplify each other.")
    }
    if attribution.leftOut > 0 {
      caption += " \(PageNumber.count(attribution.leftOut)) parts with little effect were not measured."
    }
    return BarFigure(
      id: "attribution", title: "Where the drift comes from", bars: parts, unit: "mean KL (nats)", column: "part",
      noteColumn: "share of the sum", caption: caption
    ).figure
  }

  private static func replay(_ replay: DriftReport.RouteReplay?) -> Markup {
    guard let routes = replay?.candidateRoutes, let weights = replay?.candidateWeights, let both = replay?.both else {
      return ""
    }
    let cell = { (estimate: Estimate) -> Markup in
      let interval: Markup? = estimate.ci95.map {
        "<br><small class=\"ci\">\(PageNumber.nats($0.lowerBound)) to \(PageNumber.nats($0.upperBound))</small>"
      }
      return "<td><b>\(PageNumber.nats(estimate.mean))</b>\(interval)</td>"
    }
    return """
      <h3>Routes or weights?</h3>
      <p>\(sentence(routes.mean, weights.mean, both.mean)) \(share(replay?.throughRoutes))</p>
      <div class="scroll" tabindex="0" role="region" aria-label="Route replay"><table class="cells" id="route-replay">
      <caption class="unseen">Mean KL from the reference, in nats, with routes and weights exchanged</caption>
      <thead><tr><th scope="col">mean KL (nats)</th><th scope="col">reference’s routes</th>\
      <th scope="col">candidate’s routes</th></tr></thead>
      <tbody><tr><th scope="row">reference’s weights</th><td><b>0</b><br><small class="ci">by definition</small></td>\
      \(cell(routes))</tr>
      <tr><th scope="row">candidate’s weights</th>\(cell(weights))\(cell(both))</tr></tbody></table></div>

      """
  }

  private static func share(_ throughRoutes: Estimate?) -> Markup? {
    PageNumber.estimate(throughRoutes, PageNumber.percent).map {
      "Averaged over both orders of exchange, <b>\($0)</b> of the drift flows through changed routes."
    }
  }

  private static func sentence(_ routes: Double, _ weights: Double, _ both: Double) -> String {
    guard both > 0 else { return "With both exchanged nothing changes." }
    let shares =
      "changed routes alone cause \(PageNumber.percent(routes / both)) of the candidate’s drift, changed weights "
      + "alone \(PageNumber.percent(weights / both))"
    let meaning =
      routes > 1.25 * weights
      ? "the routers are what to protect"
      : weights > 1.25 * routes
        ? "the experts’ own rounding is what to reduce"
        : "neither is the culprit alone"
    return
      "Sending the reference’s tokens along the candidate’s routes, and the other way round: \(shares); \(meaning)."
  }
}
