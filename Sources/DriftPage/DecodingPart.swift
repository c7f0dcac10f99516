import Drift
import Text

/// What both models write when they decode freely, and where their paths part.
enum DecodingPart {
  static func html(_ report: DriftReport) -> Markup {
    guard let trajectories = report.trajectories else { return "" }
    let examples = trajectories.examples.enumerated().map {
      Example($0.element, number: $0.offset + 1, predictsNext: report.predictsNext).html
    }
    let legend: Markup = examples.isEmpty ? "" : Example.legend(predictsNext: report.predictsNext)
    return facts(trajectories, predictsNext: report.predictsNext)
      + along(trajectories.alongReference, predictsNext: report.predictsNext) + legend + Markup(examples)
  }

  private static func facts(_ paths: DriftReport.Trajectories, predictsNext: Bool) -> Markup {
    let percent = PageNumber.percent
    var facts = Facts()
    facts.add("prompts", PageNumber.count(paths.prompts))
    facts.add("same output", PageNumber.estimate(paths.identical, percent))
    facts.add("same output, same steps", PageNumber.estimate(paths.samePath, percent))
    facts.add("first divergence", text(paths.firstDivergence, predictsNext: predictsNext))
    facts.add("edit distance, of the longer length", PageNumber.estimate(paths.editDistance, percent))
    facts.add("order of commits, Kendall’s τ", PageNumber.estimate(paths.orderAgreement))
    facts.add("forwards", text(paths.forwards, PageNumber.count))
    facts.add("tokens per forward", text(paths.tokensPerForward) { Format.fixed($0, 2) })
    if let a = paths.stopped.reference, let b = paths.stopped.candidate {
      let differ = paths.stopped.changed.map { "; \(percent($0)) of prompts differ" } ?? ""
      facts.add("ended by a stop token", "\(percent(a)) reference, \(percent(b)) candidate\(differ)")
    }
    return facts.html
  }

  private static func text(_ divergence: DriftReport.FirstDivergence, predictsNext: Bool) -> String? {
    guard divergence.count > 0 else { return nil }
    if predictsNext {
      let place = divergence.block.map { ", on average at token \(Format.fixed($0 + 1, 1)) of the answer" } ?? ""
      return "of \(PageNumber.count(divergence.count)) prompts\(place)"
    }
    var parts: [String] = []
    if let block = divergence.block { parts.append("block \(Format.fixed(block, 1))") }
    if let step = divergence.step { parts.append("step \(Format.fixed(step, 1))") }
    if let ratio = divergence.maskRatio {
      parts.append("with \(PageNumber.percent(ratio)) of the block still masked")
    }
    let beyond =
      divergence.beyondFirstBlock.map { "; \(PageNumber.percent($0)) beyond the first block" } ?? ""
    return "of \(PageNumber.count(divergence.count)) prompts, on average in \(parts.joined(separator: ", "))\(beyond)"
  }

  private static func text<Value>(_ numbers: Change<Value>, _ write: (Value) -> String) -> String? {
    guard let a = numbers.reference, let b = numbers.candidate else { return nil }
    let change = numbers.change.map { " (\(PageNumber.signedPercent($0)))" } ?? ""
    return "\(write(a)) reference, \(write(b)) candidate\(change)"
  }

  // MARK: Along the reference's path

  private static func along(_ along: DriftReport.AlongReference?, predictsNext: Bool) -> Markup {
    guard let along else { return "" }
    let percent = PageNumber.percent
    var facts = Facts()
    facts.add("states, commits", "\(PageNumber.count(along.states)), \(PageNumber.count(along.commits))")
    facts.add("would commit the same positions", PageNumber.estimate(along.samePositions, percent))
    facts.add("share of the positions in both", PageNumber.estimate(along.slots, percent))
    facts.add("same token where the reference commits", PageNumber.estimate(along.sameTokens, percent))
    facts.add("the same decision altogether", PageNumber.estimate(along.sameDecision, percent))
    facts.add("mean KL where the reference commits", PageNumber.estimate(along.kl?.estimate))
    let rows = along.byMaskRatio.map { row -> [PageTable.Cell] in
      let range = "\(PageNumber.plainPercent(row.from)) to \(PageNumber.plainPercent(row.to))"
      return [
        PageTable.Cell(content: Markup(text: range), order: row.from), .count(row.states), .percent(row.samePositions),
        .percent(row.sameTokens),
      ]
    }
    let table: Markup =
      rows.isEmpty || predictsNext
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
