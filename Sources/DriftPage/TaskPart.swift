import Drift

/// Answers right and wrong, and pairs whose order tells what a model was aligned to prefer.
enum TaskPart {
  static func html(_ report: DriftReport) -> Markup {
    tasks(report.tasks) + preferences(report.preferences)
  }

  private static func tasks(_ tasks: DriftReport.Tasks?) -> Markup {
    guard let tasks else { return "" }
    var facts = Facts()
    facts.add("prompts with an answer", PageNumber.count(tasks.prompts))
    facts.add("an answer is right by", tasks.match)
    facts.add("reference correct", PageNumber.estimate(tasks.referenceCorrect, PageNumber.percent))
    facts.add("candidate correct", PageNumber.estimate(tasks.candidateCorrect, PageNumber.percent))
    let chance = tasks.lostSignificantly == 1 ? ": more than chance" : ""
    facts.add(
      "lost, gained", "\(tasks.lost), \(tasks.gained), exact McNemar \(Wording.p(tasks.p))\(chance)")
    facts.add("right by both, by neither", "\(tasks.both), \(tasks.neither)")
    if let a = tasks.truncated.reference, let b = tasks.truncated.candidate {
      facts.add("cut off by the length limit", "\(PageNumber.percent(a)) reference, \(PageNumber.percent(b)) candidate")
    }
    let rows = tasks.byTask.map { row -> [PageTable.Cell] in
      [
        .text(row.task), .count(row.prompts), .count(row.referenceCorrect), .count(row.candidateCorrect),
        .count(row.lost), .count(row.gained),
      ]
    }
    let table = PageTable(
      columns: ["task", "prompts", "reference correct", "candidate correct", "lost", "gained"], rows: rows,
      caption: "By task")
    return facts.html + (rows.isEmpty ? "" : table.html)
  }

  private static func preferences(_ preferences: DriftReport.Preferences?) -> Markup {
    guard let preferences else { return "" }
    var facts = Facts()
    facts.add("pairs", PageNumber.count(preferences.pairs))
    facts.add("margin of the reference, nats", preferences.margin.reference.map(PageNumber.nats))
    facts.add("margin of the candidate, nats", preferences.margin.candidate.map(PageNumber.nats))
    facts.add("change of the margin", PageNumber.estimate(preferences.margin.change, PageNumber.signed))
    facts.add("pairs whose order changed", preferences.flipped.map(PageNumber.percent))
    return """
      <h3>Preferences</h3>
      <p>By how much the chosen answer of a pair is more likely than the rejected one: the quantity that alignment moved.</p>
      \(facts.html)
      """
  }
}
