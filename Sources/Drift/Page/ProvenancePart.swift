import JSON
import Text

/// What was compared, on which data, and what it cost: enough to do it again.
enum ProvenancePart {
  static func html(_ document: JSONValue) -> Markup {
    models(document) + data(document.at("data")) + floor(document.at("floor")) + cost(document.at("cost"))
  }

  private static func models(_ document: JSONValue) -> Markup {
    let roles = ["reference", "candidate"].filter { document.at($0) != nil }
    guard !roles.isEmpty else { return "" }
    let rows = roles.map { role -> [PageTable.Cell] in
      let model = document.at(role) ?? .null
      let lossless = model.at("lossless")?.bool.map { $0 ? "yes" : "no" } ?? ""
      return [
        .text(role), PageTable.Cell(content: "<code>\(model.text(at: "path") ?? "")</code>"),
        .text(model.text(at: "kind") ?? ""),
        .number(model.at("bytes")?.int.map(Double.init)) { Format.bytes(Int($0)) },
        .number(model.number(at: "bits_per_weight")) { Format.fixed($0, 3) },
        .text(model.rows(at: "experts").compactMap(\.string).joined(separator: ", ")),
        .text(model.text(at: "activations") ?? ""),
        .text(lossless), PageTable.Cell(content: "<span class=\"hash\">\(model.text(at: "hash") ?? "")</span>"),
      ]
    }
    let columns = ["", "path", "kind", "size", "bits/weight", "experts", "activations", "lossless", "hash"]
    return "<h3>Models</h3>\n\(PageTable(columns: columns, rows: rows, caption: "Models").html)"
  }

  private static func data(_ data: JSONValue?) -> Markup {
    guard let data else { return "" }
    var facts = Facts()
    facts.add(
      "prompts",
      source(data.at("prompts"), [("with_answers", "with answers"), ("with_preferences", "with preferences")]))
    facts.add("texts", source(data.at("texts"), [("tokens", "tokens"), ("scored_positions", "scored positions")]))
    let ratios = data.rows(at: "mask_ratios").compactMap(\.double).map(PageNumber.plainPercent)
    facts.add("masked shares", ratios.isEmpty ? nil : ratios.joined(separator: ", "))
    for (name, key) in [
      ("seed", "seed"), ("block length", "block_length"), ("steps", "steps"),
      ("generation length", "generation_length"),
      ("threshold", "threshold"), ("temperature", "temperature"), ("decoder", "decoder"),
      ("editing threshold", "editing.threshold"), ("post steps", "editing.maximum_post_steps"),
      ("steps per block", "editing.maximum_steps"),
    ] {
      facts.add(name, plain(data.at(key)))
    }
    facts.add("levels", data.rows(at: "levels").compactMap(\.string).joined(separator: ", "))
    return "<h3>Data and decoding</h3>\n\(facts.html)"
  }

  /// `64 from built-in, 12 with answers, hash 0123456789abcdef`
  private static func source(_ value: JSONValue?, _ counts: [(key: String, name: String)]) -> Markup? {
    guard let value, let count = value.at("count")?.int else { return nil }
    let more = counts.compactMap { entry in value.at(entry.key)?.int.map { ", \(PageNumber.count($0)) \(entry.name)" } }
    let from = value.text(at: "source").map { " from \($0)" } ?? ""
    let hash: Markup? = value.text(at: "hash").map { ", hash <span class=\"hash\">\($0)</span>" }
    return "\(PageNumber.count(count))\(from)\(more.joined())\(hash)"
  }

  private static func plain(_ value: JSONValue?) -> String? {
    switch value {
    case .number(let text): text
    case .string(let text): text
    default: nil
    }
  }

  private static func floor(_ floor: JSONValue?) -> Markup {
    guard let floor else { return "" }
    var facts = Facts()
    facts.add("noise on each layer’s output, relative", floor.number(at: "noise").map(PageNumber.nats))
    facts.add("mean KL", PredictionPart.estimate(floor, "kl"))
    facts.add("same top token", PredictionPart.estimate(floor, "top1_agreement", PageNumber.percent))
    facts.add("loss difference", PredictionPart.estimate(floor, "nll_difference", PageNumber.signed))
    facts.add("expert sets changed", PredictionPart.estimate(floor, "routing_changed", PageNumber.percent))
    facts.add("the candidate’s KL is", floor.number(at: "kl_ratio").map { "\(Wording.times($0)) that" })
    return """
      <h3>Noise floor</h3>
      <p>The reference against itself, with as much noise on every layer’s output as bf16 arithmetic makes. What lies near it is \
      not to be told from running the same model on another machine.</p>
      \(facts.html)
      """
  }

  private static func cost(_ cost: JSONValue?) -> Markup {
    guard let cost else { return "" }
    var facts = Facts()
    let levels = (cost.at("by_level")?.object?.members ?? []).compactMap { member in
      member.value.double.map { "\(member.key) \(Format.duration($0))" }
    }
    let parts = levels.isEmpty ? "" : " (\(levels.joined(separator: ", ")))"
    facts.add("time", cost.number(at: "seconds").map { Format.duration($0) + parts })
    facts.add("peak memory", cost.at("peak_memory")?.int.map(Format.bytes))
    if let a = cost.at("bytes_read.reference")?.int, let b = cost.at("bytes_read.candidate")?.int {
      facts.add("expert weights read", "\(Format.bytes(a)) reference, \(Format.bytes(b)) candidate")
    }
    facts.add("passes over the reference", cost.at("passes")?.int.map(PageNumber.count))
    facts.add("threads", cost.at("threads")?.int.map(PageNumber.count))
    facts.add("kernels", plain(cost.at("kernels")))
    facts.add("BLAS", plain(cost.at("blas")))
    return "<h3>Cost</h3>\n\(facts.html)"
  }
}
