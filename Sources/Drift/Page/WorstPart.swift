import JSON

/// The positions with the largest divergence: the text around them, and what either model would have written.
enum WorstPart {
  /// The rest unfolds.
  private static var shownCount: Int { 5 }

  static func html(_ document: JSONValue) -> Markup {
    let worst = document.rows(at: "masked.worst")
    guard !worst.isEmpty else { return "" }
    let rest = worst.dropFirst(shownCount).map(item)
    let more: Markup =
      rest.isEmpty
      ? "" : "<details><summary>\(rest.count) more</summary>\n<ol class=\"worst\">\n\(rest)</ol></details>"
    return """
      <p>The positions with the largest divergence, at most two of a text. ▒ stands for a masked token, [▒] for the one in \
      question, ␣ for a space at the edge of a token.</p>
      <ol class="worst">
      \(worst.prefix(shownCount).map(item))</ol>
      \(more)

      """
  }

  private static func item(_ entry: JSONValue) -> Markup {
    var place: [String] = []
    for (name, key) in [("text", "text"), ("position", "position"), ("block", "block")] {
      if let number = entry.at(key)?.int { place.append("\(name) \(PageNumber.count(number))") }
    }
    if let ratio = entry.number(at: "mask_ratio") {
      place.append("\(PageNumber.plainPercent(ratio)) of the block masked")
    }
    let truth: Markup? = entry.text(at: "truth").map { " The text has \(token($0))." }
    let context: Markup? = entry.text(at: "context").map { "<p class=\"context\">\($0)</p>\n" }
    return """
      <li><p><strong>\(PageNumber.nats(entry.number(at: "kl") ?? 0)) nats</strong> · \(place.joined(separator: ", ")).\(truth)</p>
      \(context)<div class="pair">\(table(entry, "reference", "ref"))\(table(entry, "candidate", "cand"))</div></li>

      """
  }

  private static func table(_ entry: JSONValue, _ role: String, _ kind: String) -> Markup {
    let tokens = entry.rows(at: role)
    guard !tokens.isEmpty else { return "" }
    let rows = tokens.map { token -> [PageTable.Cell] in
      let share = token.number(at: "probability") ?? 0
      let width = PageNumber.coordinate(min(1, max(0, share)) * 100)
      return [
        PageTable.Cell(content: Self.token(token.text(at: "text") ?? "")),
        PageTable.Cell(content: "<span class=\"meter \(kind)\" style=\"width:\(width)%\"></span>", order: share),
        .percent(share),
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
