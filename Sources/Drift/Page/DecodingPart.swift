import JSON
import Text

/// What both models write when they decode freely, and where their paths part.
enum DecodingPart {
  static func html(_ document: JSONValue) -> Markup {
    guard let trajectories = document.at("trajectories") else { return "" }
    let examples = trajectories.rows(at: "examples").enumerated().map {
      Example($0.element, number: $0.offset + 1).html
    }
    let legend: Markup = examples.isEmpty ? "" : Example.legend
    return facts(trajectories) + along(trajectories) + legend + Markup(examples)
  }

  private static func facts(_ document: JSONValue) -> Markup {
    let percent = PageNumber.percent
    var facts = Facts()
    facts.add("prompts", document.at("prompts")?.int.map(PageNumber.count))
    facts.add("same output", PredictionPart.estimate(document, "identical", percent))
    facts.add("same output, same steps", PredictionPart.estimate(document, "same_path", percent))
    facts.add("first divergence", firstDivergence(document))
    facts.add("edit distance, of the longer length", PredictionPart.estimate(document, "edit_distance", percent))
    facts.add("order of commits, Kendall’s τ", PredictionPart.estimate(document, "order_agreement"))
    facts.add("forwards", change(document, "forwards") { PageNumber.count(Int($0)) })
    facts.add("tokens per forward", change(document, "tokens_per_forward") { Format.fixed($0, 2) })
    if let a = document.number(at: "stopped.reference"), let b = document.number(at: "stopped.candidate") {
      let differ = document.number(at: "stopped.changed").map { "; \(percent($0)) of prompts differ" } ?? ""
      facts.add("ended by a stop token", "\(percent(a)) reference, \(percent(b)) candidate\(differ)")
    }
    return facts.html
  }

  private static func firstDivergence(_ document: JSONValue) -> String? {
    let key = "first_divergence"
    guard let count = document.at("\(key).count")?.int, count > 0 else { return nil }
    var parts: [String] = []
    if let block = document.number(at: "\(key).block") { parts.append("block \(Format.fixed(block, 1))") }
    if let step = document.number(at: "\(key).step") { parts.append("step \(Format.fixed(step, 1))") }
    if let ratio = document.number(at: "\(key).mask_ratio") {
      parts.append("with \(PageNumber.percent(ratio)) of the block still masked")
    }
    let beyond =
      document.number(at: "\(key).beyond_first_block").map { "; \(PageNumber.percent($0)) beyond the first block" }
      ?? ""
    return "of \(PageNumber.count(count)) prompts, on average in \(parts.joined(separator: ", "))\(beyond)"
  }

  private static func change(_ document: JSONValue, _ key: String, _ write: (Double) -> String) -> String? {
    guard let a = document.number(at: "\(key).reference"), let b = document.number(at: "\(key).candidate") else {
      return nil
    }
    let change = document.number(at: "\(key).change").map { " (\(PageNumber.signedPercent($0)))" } ?? ""
    return "\(write(a)) reference, \(write(b)) candidate\(change)"
  }

  // MARK: Along the reference's path

  private static func along(_ trajectories: JSONValue) -> Markup {
    guard let document = trajectories.at("along_reference") else { return "" }
    let percent = PageNumber.percent
    var facts = Facts()
    facts.add(
      "states, commits",
      [document.at("states")?.int, document.at("commits")?.int].compactMap(\.self)
        .map(PageNumber.count).joined(separator: ", "))
    facts.add("would commit the same positions", PredictionPart.estimate(document, "same_positions", percent))
    facts.add("share of the positions in both", PredictionPart.estimate(document, "slots", percent))
    facts.add("same token where the reference commits", PredictionPart.estimate(document, "same_tokens", percent))
    facts.add("the same decision altogether", PredictionPart.estimate(document, "same_decision", percent))
    facts.add("mean KL where the reference commits", PredictionPart.estimate(document, "kl"))
    let rows = document.rows(at: "by_mask_ratio").map { row -> [PageTable.Cell] in
      let from = PageNumber.plainPercent(row.number(at: "from") ?? 0)
      let to = PageNumber.plainPercent(row.number(at: "to") ?? 1)
      return [
        PageTable.Cell(content: "\(from) to \(to)", order: row.number(at: "from")), .count(row.at("states")?.int),
        .percent(row.number(at: "same_positions")), .percent(row.number(at: "same_tokens")),
      ]
    }
    let table: Markup =
      rows.isEmpty
      ? ""
      : PageTable(
        columns: ["masked", "states", "same positions", "same tokens"], rows: rows, caption: "Decisions by masked share"
      ).html
    return """
      <h3>Decisions along the reference’s path</h3>
      <p>At each state that the reference came through, what would the candidate do next? Errors cannot build up here.</p>
      \(facts.html)\(table)
      """
  }
}
