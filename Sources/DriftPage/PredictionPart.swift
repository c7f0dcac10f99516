import Drift

/// How far the predictions at masked positions are apart, by all that was measured.
enum PredictionPart {
  static func html(_ report: DriftReport) -> Markup {
    let figures = [
      byMaskRatio(report), histogram(report), byConfidence(report), byBlock(report), sweep(report),
    ].compactMap { $0?.html }
    let facts = self.facts(report)
    guard !figures.isEmpty || !facts.isEmpty else { return "" }
    let seen =
      report.predictsNext
      ? "Both models predict each token from the same text before it, as in decoding."
      : "Both models see the same texts with the same positions masked, block by block, as in decoding."
    return """
      <p>\(seen) The divergence is KL from \
      the reference’s distribution to the candidate’s, in nats. Intervals are 95 %, from drawing whole texts.</p>
      \(facts)<div class="charts">
      \(figures)</div>

      """
  }

  // MARK: Numbers in lines

  private static func facts(_ report: DriftReport) -> Markup {
    let (masked, floor) = (report.masked, report.floor)
    let (write, percent) = (PageNumber.estimate, PageNumber.percent)
    var facts = Facts()
    facts.add("mean KL", write(masked?.kl?.estimate, PageNumber.nats))
    facts.add("over all tokens", masked?.klFullMean.map(PageNumber.nats))
    facts.add(
      "median, 90 %, 99 %, 99.9 %, max",
      masked?.kl.map { [$0.median, $0.p90, $0.p99, $0.p999, $0.max].map(PageNumber.nats).joined(separator: ", ") })
    facts.add("geometric mean over texts", write(masked?.robust?.geometric, PageNumber.nats))
    facts.add("mean without the worst 0.1 %", write(masked?.robust?.trimmed, PageNumber.nats))
    facts.add("the ten worst positions hold", masked?.robust?.tenWorstShare.map { "\(percent($0)) of the mean" })
    facts.add("noise floor, mean KL", write(floor?.kl?.estimate, PageNumber.nats))
    facts.add("same top token", write(masked?.top1Agreement, percent))
    facts.add("of the floor", write(floor?.top1Agreement, percent))
    facts.add(
      "top token’s probability moves by", write(masked?.top1ProbabilityChange?.estimate, PageNumber.signedPercent))
    // Of next tokens the bound is the loss itself.
    for (label, loss) in [("loss", masked?.nll), ("ELBO", report.predictsNext ? nil : masked?.elbo)] {
      guard let loss else { continue }
      let change = write(loss.difference, PageNumber.signed).map { "; difference \($0)" } ?? ""
      facts.add(
        "\(label), nats a token",
        "\(PageNumber.nats(loss.reference)) reference, \(PageNumber.nats(loss.candidate)) candidate\(change)")
    }
    if !report.predictsNext { facts.add("sure enough to commit", masked?.threshold.map(text)) }
    return facts.html
  }

  private static func text(_ threshold: DriftReport.Threshold) -> String {
    let percent = PageNumber.percent
    return "above τ = \(PageNumber.plain(threshold.value.decimal)): \(percent(threshold.referenceAbove)) of positions "
      + "for the reference, \(percent(threshold.candidateAbove)) for the candidate; "
      + "\(percent(threshold.crossedDown)) fell below, \(percent(threshold.crossedUp)) rose above"
  }

  // MARK: Drawings

  private static func byMaskRatio(_ report: DriftReport) -> Figure? {
    guard !report.predictsNext else { return nil }
    let rows = report.masked?.byMaskRatio ?? []
    return ConditionalFigure(
      id: "kl-by-mask-ratio", title: "Divergence by share of the block that is masked",
      xLabel: "masked share of the block (%)",
      caption: "With more of a block masked a model has less to go by, so rounding can carry further.",
      rows: rows.map { .init($0.tail.head, routingChanged: $0.routingChanged) }, column: "masked",
      names: rows.map { PageNumber.plainPercent($0.maskRatio) }, places: rows.map(\.maskRatio),
      floor: report.floor?.kl?.mean
    ).figure
  }

  private static func byConfidence(_ report: DriftReport) -> Figure? {
    let rows = report.masked?.byConfidence ?? []
    return ConditionalFigure(
      id: "kl-by-confidence", title: "Divergence by the reference’s confidence",
      xLabel: "probability of the reference’s top token",
      caption:
        "Where the reference is sure, it takes much to move it: drift at the right end hurts more than at the left.",
      rows: rows.map { .init($0.tail) }, column: "confidence",
      names: rows.map { "\(PageNumber.plain($0.from))–\(PageNumber.plain($0.to))" }
    ).figure
  }

  private static func byBlock(_ report: DriftReport) -> Figure? {
    let rows = report.masked?.byBlock ?? []
    return ConditionalFigure(
      id: "kl-by-block", title: "Divergence by block of the text", xLabel: "block, from the start of the text",
      caption: "Each block stands behind the text's own earlier blocks, so that errors of tokens do not add up here.",
      rows: rows.map { .init($0.tail) }, column: "block", names: rows.map { "\($0.block)" }
    ).figure
  }

  private static func sweep(_ report: DriftReport) -> Figure? {
    let rows = report.blockLengths
    return ConditionalFigure(
      id: "kl-by-block-length", title: "Divergence at other block lengths", xLabel: "block length (tokens)",
      caption: "The same texts cut into shorter and longer blocks: what to expect when decoding is set differently.",
      rows: rows.map { .init($0) }, column: "block length", names: rows.map { "\($0.blockLength)" },
      lossName: "ELBO difference"
    ).figure
  }

  private static func histogram(_ report: DriftReport) -> Figure? {
    report.masked.flatMap { HistogramFigure($0).figure }
  }
}
