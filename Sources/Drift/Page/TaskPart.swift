import JSON

/// Answers right and wrong, and pairs whose order tells what a model was aligned to prefer.
enum TaskPart {
  static func html(_ document: JSONValue) -> Markup {
    tasks(document.at("tasks")) + preferences(document.at("preferences"))
  }

  private static func tasks(_ tasks: JSONValue?) -> Markup {
    guard let tasks else { return "" }
    var facts = Facts()
    facts.add("prompts with an answer", tasks.at("prompts")?.int.map(PageNumber.count))
    facts.add("an answer is right by", tasks.text(at: "match"))
    for role in ["reference", "candidate"] {
      facts.add("\(role) correct", PredictionPart.estimate(tasks, "\(role)_correct", PageNumber.percent))
    }
    if let lost = tasks.at("lost")?.int, let gained = tasks.at("gained")?.int {
      let p = tasks.number(at: "p").map { ", exact McNemar \(Wording.p($0))" } ?? ""
      let isLoss = tasks.number(at: "lost_significantly") == 1
      facts.add("lost, gained", "\(lost), \(gained)\(p)\(isLoss ? ": more than chance" : "")")
    }
    if let both = tasks.at("both")?.int, let neither = tasks.at("neither")?.int {
      facts.add("right by both, by neither", "\(both), \(neither)")
    }
    if let a = tasks.number(at: "truncated.reference"), let b = tasks.number(at: "truncated.candidate") {
      facts.add("cut off by the length limit", "\(PageNumber.percent(a)) reference, \(PageNumber.percent(b)) candidate")
    }
    let rows = tasks.rows(at: "by_task").map { row -> [PageTable.Cell] in
      [.text(row.text(at: "task") ?? "")]
        + ["prompts", "reference_correct", "candidate_correct", "lost", "gained"].map { .count(row.at($0)?.int) }
    }
    let table = PageTable(
      columns: ["task", "prompts", "reference correct", "candidate correct", "lost", "gained"], rows: rows,
      caption: "By task")
    return facts.html + (rows.isEmpty ? "" : table.html)
  }

  private static func preferences(_ preferences: JSONValue?) -> Markup {
    guard let preferences else { return "" }
    var facts = Facts()
    facts.add("pairs", preferences.at("pairs")?.int.map(PageNumber.count))
    for role in ["reference", "candidate"] {
      facts.add("margin of the \(role), nats", PredictionPart.estimate(preferences, "margin.\(role)"))
    }
    facts.add("change of the margin", PredictionPart.estimate(preferences, "margin.change", PageNumber.signed))
    facts.add("pairs whose order changed", preferences.number(at: "flipped").map(PageNumber.percent))
    return """
      <h3>Preferences</h3>
      <p>By how much the chosen answer of a pair is more likely than the rejected one: the quantity that alignment moved.</p>
      \(facts.html)
      """
  }
}
