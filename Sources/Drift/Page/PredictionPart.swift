import JSON

/// How far the predictions at masked positions are apart, by all that was measured.
enum PredictionPart {
  static func html(_ document: JSONValue) -> Markup {
    let figures = [
      byMaskRatio(document), histogram(document), byConfidence(document), byBlock(document), sweep(document),
    ].compactMap { $0?.html }
    let facts = self.facts(document)
    guard !figures.isEmpty || !facts.isEmpty else { return "" }
    return """
      <p>Both models see the same texts with the same positions masked, block by block, as in decoding. The divergence is KL from \
      the reference’s distribution to the candidate’s, in nats. Intervals are 95 %, from drawing whole texts.</p>
      \(facts)<div class="charts">
      \(figures)</div>

      """
  }

  // MARK: Numbers in lines

  private static func facts(_ document: JSONValue) -> Markup {
    var facts = Facts()
    facts.add("mean KL", estimate(document, "masked.kl"))
    facts.add("over all tokens", document.number(at: "masked.kl_full_mean").map(PageNumber.nats))
    facts.add(
      "median, 90 %, 99 %, 99.9 %, max", quantiles(document, "masked.kl", ["median", "p90", "p99", "p999", "max"]))
    facts.add("noise floor, mean KL", estimate(document, "floor.kl"))
    facts.add("same top token", estimate(document, "masked.top1_agreement", PageNumber.percent))
    facts.add("of the floor", estimate(document, "floor.top1_agreement", PageNumber.percent))
    facts.add(
      "top token’s probability moves by", estimate(document, "masked.top1_probability_change", PageNumber.signedPercent)
    )
    for (label, key) in [("loss", "masked.nll"), ("ELBO", "masked.elbo")] {
      guard let a = document.number(at: "\(key).reference"), let b = document.number(at: "\(key).candidate") else {
        continue
      }
      let change = estimate(document, "\(key).difference", PageNumber.signed).map { "; difference \($0)" } ?? ""
      facts.add("\(label), nats a token", "\(PageNumber.nats(a)) reference, \(PageNumber.nats(b)) candidate\(change)")
    }
    facts.add("sure enough to commit", threshold(document))
    return facts.html
  }

  private static func threshold(_ document: JSONValue) -> String? {
    let key = "masked.threshold"
    guard let value = document.number(at: "\(key).value"), let a = document.number(at: "\(key).reference_above"),
      let b = document.number(at: "\(key).candidate_above"), let down = document.number(at: "\(key).crossed_down"),
      let up = document.number(at: "\(key).crossed_up")
    else { return nil }
    return "above τ = \(PageNumber.plain(value)): \(PageNumber.percent(a)) of positions for the reference, "
      + "\(PageNumber.percent(b)) for the candidate; \(PageNumber.percent(down)) fell below, \(PageNumber.percent(up)) rose above"
  }

  static func estimate(
    _ document: JSONValue, _ path: String, _ write: (Double) -> String = PageNumber.nats
  ) -> String? {
    guard let estimate = Estimate(document.at(path)) else { return nil }
    guard let interval = estimate.interval else { return write(estimate.mean) }
    return "\(write(estimate.mean)) (\(write(interval.lowerBound)) to \(write(interval.upperBound)))"
  }

  private static func quantiles(_ document: JSONValue, _ path: String, _ keys: [String]) -> String? {
    let numbers = keys.compactMap { document.number(at: "\(path).\($0)").map(PageNumber.nats) }
    return numbers.count == keys.count ? numbers.joined(separator: ", ") : nil
  }

  // MARK: Drawings

  private static func byMaskRatio(_ document: JSONValue) -> Figure? {
    let rows = document.rows(at: "masked.by_mask_ratio")
    let floor = document.number(at: "floor.kl.mean")
    return ConditionalFigure(
      id: "kl-by-mask-ratio", title: "Divergence by share of the block that is masked",
      xLabel: "masked share of the block (%)",
      caption: "With more of a block masked a model has less to go by, so rounding can carry further.",
      rows: rows, column: "masked", names: rows.map { PageNumber.plainPercent($0.number(at: "mask_ratio") ?? 0) },
      places: rows.map { $0.number(at: "mask_ratio") ?? 0 }, floor: floor
    ).figure
  }

  private static func byConfidence(_ document: JSONValue) -> Figure? {
    let rows = document.rows(at: "masked.by_confidence")
    let names = rows.map { row in
      "\(PageNumber.plain(row.number(at: "from") ?? 0))–\(PageNumber.plain(row.number(at: "to") ?? 1))"
    }
    return ConditionalFigure(
      id: "kl-by-confidence", title: "Divergence by the reference’s confidence",
      xLabel: "probability of the reference’s top token",
      caption:
        "Where the reference is sure, it takes much to move it: drift at the right end hurts more than at the left.",
      rows: rows, column: "confidence", names: names
    ).figure
  }

  private static func byBlock(_ document: JSONValue) -> Figure? {
    let rows = document.rows(at: "masked.by_block")
    return ConditionalFigure(
      id: "kl-by-block", title: "Divergence by block of the text", xLabel: "block, from the start of the text",
      caption: "Each block stands behind the text's own earlier blocks, so that errors of tokens do not add up here.",
      rows: rows,
      column: "block", names: rows.map { "\($0.at("block")?.int ?? 0)" }
    ).figure
  }

  private static func sweep(_ document: JSONValue) -> Figure? {
    let rows = document.rows(at: "block_lengths")
    return ConditionalFigure(
      id: "kl-by-block-length", title: "Divergence at other block lengths", xLabel: "block length (tokens)",
      caption: "The same texts cut into shorter and longer blocks: what to expect when decoding is set differently.",
      rows: rows, column: "block length", names: rows.map { "\($0.at("block_length")?.int ?? 0)" },
      lossKey: "elbo_difference",
      lossName: "ELBO difference"
    ).figure
  }

  private static func histogram(_ document: JSONValue) -> Figure? { HistogramFigure(document).figure }
}
