import Drift

/// The positions with the largest divergence: the text around them, and what either model would have written.
enum WorstPart {
  /// The rest unfolds.
  private static var shownCount: Int { 5 }

  static func html(_ report: DriftReport) -> Markup {
    let worst = report.masked?.worst ?? []
    guard !worst.isEmpty else { return "" }
    let item = { (entry: DriftReport.WorstPosition) in Self.item(entry, predictsNext: report.predictsNext) }
    let rest = worst.dropFirst(shownCount).map(item)
    let signs =
      report.predictsNext
      ? "[▒] stands for the token in question" : "▒ stands for a masked token, [▒] for the one in question"
    let more: Markup =
      rest.isEmpty
      ? "" : "<details><summary>\(rest.count) more</summary>\n<ol class=\"worst\">\n\(rest)</ol></details>"
    return """
      <p>The positions with the largest divergence, at most two of a text. \(signs), \
      ␣ for a space at the edge of a token.</p>
      <ol class="worst">
      \(worst.prefix(shownCount).map(item))</ol>
      \(more)

      """
  }

  private static func item(_ entry: DriftReport.WorstPosition, predictsNext: Bool) -> Markup {
    var place = ["text \(PageNumber.count(entry.text))", "position \(PageNumber.count(entry.position))"]
    if !predictsNext {
      place.append("block \(PageNumber.count(entry.block))")
      place.append("\(PageNumber.plainPercent(entry.maskRatio)) of the block masked")
    }
    return """
      <li><p><strong>\(PageNumber.nats(entry.kl)) nats</strong> · \(place.joined(separator: ", ")). The text has \(token(entry.truth)).</p>
      <p class="context">\(entry.context)</p>
      <div class="pair">\(table(entry.reference, "reference", "ref"))\(table(entry.candidate, "candidate", "cand"))</div></li>

      """
  }

  private static func table(_ tokens: [DriftReport.WorstPosition.Token], _ role: String, _ kind: String) -> Markup {
    guard !tokens.isEmpty else { return "" }
    let rows = tokens.map { token -> [PageTable.Cell] in
      let width = PageNumber.coordinate(min(1, max(0, token.probability)) * 100)
      return [
        PageTable.Cell(content: Self.token(token.text)),
        PageTable.Cell(
          content: "<span class=\"meter \(kind)\" style=\"width:\(width)%\"></span>", order: token.probability),
        .percent(token.probability),
      ]
    }
    return PageTable(columns: ["\(role)", "probability", ""], rows: rows, caption: "Top tokens of the \(role)").html
  }

  /// A token with its blanks made visible.
  static func token(_ text: String) -> Markup {
    var shown = text.replacing("\n", with: "↵").replacing("\t", with: "⇥")
    if shown.hasPrefix(" ") { shown = "␣" + shown.dropFirst() }
    if shown.hasSuffix(" ") { shown = shown.dropLast() + "␣" }
    return "<span class=\"token\">\(shown.isEmpty ? "(empty)" : shown)</span>"
  }
}
