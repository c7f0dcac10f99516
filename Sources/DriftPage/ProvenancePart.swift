import Drift
import Text

/// What was compared, on which data, and what it cost: enough to do it again.
enum ProvenancePart {
  static func html(_ report: DriftReport) -> Markup {
    models(report) + data(report.data, predictsNext: report.predictsNext) + floor(report.floor) + cost(report.cost)
  }

  private static func models(_ report: DriftReport) -> Markup {
    let rows = [("reference", report.reference), ("candidate", report.candidate)].map {
      role, model -> [PageTable.Cell] in
      [
        .text(role), PageTable.Cell(content: "<code>\(model.path)</code>"), .text(model.kind),
        .number(Double(model.bytes)) { Format.bytes(Int($0)) },
        .number(model.bitsPerWeight) { Format.fixed($0, 3) }, .text(model.experts.joined(separator: ", ")),
        .text(model.activations), .text(model.arithmetic ?? "fp32"),
        .text(model.kvCacheDtype ?? "fp32"),
        .text(model.lossless.map { $0 ? "yes" : "no" } ?? ""),
        PageTable.Cell(content: "<span class=\"hash\">\(model.hash)</span>"),
      ]
    }
    let columns = [
      "", "path", "kind", "size", "bits/weight", "experts", "activations", "arithmetic", "keys and values",
      "lossless", "hash",
    ]
    return "<h3>Models</h3>\n\(PageTable(columns: columns, rows: rows, caption: "Models").html)"
  }

  private static func data(_ data: DriftReport.DataFacts, predictsNext: Bool) -> Markup {
    let (prompts, texts) = (data.prompts, data.texts)
    var facts = Facts()
    facts.add(
      "prompts",
      source(
        prompts.count, prompts.source, prompts.hash,
        [(prompts.withAnswers, "with answers"), (prompts.withPreferences, "with preferences")]))
    facts.add(
      "texts",
      source(
        texts.count, texts.source, texts.hash,
        [(texts.tokens, "tokens"), (texts.scoredPositions, "scored positions")]))
    facts.add("chat template", data.raw.map { $0 ? "left out (--raw)" : "put around each prompt" })
    facts.add("seed", "\(data.seed)")
    if !predictsNext {
      facts.add("masked shares", data.maskRatios.map(PageNumber.plainPercent).joined(separator: ", "))
      facts.add("block length", "\(data.blockLength)")
      facts.add("steps", "\(data.steps)")
      facts.add("threshold", "\(data.threshold)")
    }
    for (name, value) in [
      ("generation length", "\(data.generationLength)"),
      ("temperature", "\(data.temperature)"), ("decoder", data.decoder),
      ("editing threshold", data.editing.map { "\($0.threshold)" }),
      ("post steps", data.editing.map { "\($0.maximumPostSteps)" }),
      ("steps per block", data.editing?.maximumSteps.map { "\($0)" }),
    ] as [(String, String?)] {
      facts.add(name, value)
    }
    facts.add("levels", data.levels.joined(separator: ", "))
    return "<h3>Data and decoding</h3>\n\(facts.html)"
  }

  /// `64 from built-in, 12 with answers, hash 0123456789abcdef`
  private static func source(
    _ count: Int, _ source: String, _ hash: String, _ counts: [(count: Int, name: String)]
  ) -> Markup {
    let more = counts.map { ", \(PageNumber.count($0.count)) \($0.name)" }.joined()
    return "\(PageNumber.count(count)) from \(source)\(more), hash <span class=\"hash\">\(hash)</span>"
  }

  private static func floor(_ floor: DriftReport.Floor?) -> Markup {
    guard let floor else { return "" }
    var facts = Facts()
    facts.add("noise on each layer’s output, relative", PageNumber.nats(floor.noise))
    facts.add("mean KL", PageNumber.estimate(floor.kl?.estimate))
    facts.add("same top token", PageNumber.estimate(floor.top1Agreement, PageNumber.percent))
    facts.add("loss difference", PageNumber.estimate(floor.nllDifference, PageNumber.signed))
    facts.add("expert sets changed", PageNumber.estimate(floor.routingChanged, PageNumber.percent))
    facts.add("the candidate’s KL is", floor.klRatio.map { "\(Wording.times($0)) that" })
    return """
      <h3>Noise floor</h3>
      <p>The reference against itself, with as much noise on every layer’s output as bf16 arithmetic makes. What lies near it is \
      not to be told from running the same model on another machine.</p>
      \(facts.html)
      """
  }

  private static func cost(_ cost: DriftReport.Cost) -> Markup {
    var facts = Facts()
    let levels = cost.byLevel.entries.map { "\($0.level) \(Format.duration($0.seconds))" }
    let parts = levels.isEmpty ? "" : " (\(levels.joined(separator: ", ")))"
    facts.add("time", Format.duration(cost.seconds) + parts)
    facts.add("peak memory", Format.bytes(cost.peakMemory))
    if let a = cost.bytesRead.reference, let b = cost.bytesRead.candidate {
      facts.add("expert weights read", "\(Format.bytes(a)) reference, \(Format.bytes(b)) candidate")
    }
    facts.add("passes over the reference", PageNumber.count(cost.passes))
    facts.add("threads", PageNumber.count(cost.threads))
    facts.add("kernels", cost.kernels)
    return "<h3>Cost</h3>\n\(facts.html)"
  }
}
