import JSON

/// One prompt with what both models wrote, side by side, each token in the colour of the forward that settled it.
struct Example {
  private let document: JSONValue
  private let number: Int
  /// The last forward of either model: the end of the scale of colours.
  private let last: Int

  init(_ document: JSONValue, number: Int) {
    self.document = document
    self.number = number
    let forwards = ["reference", "candidate"].flatMap { role in
      document.rows(at: "\(role).tokens").compactMap { $0.at("forward")?.int }
    }
    last = forwards.max() ?? 0
  }

  static let legend: Markup = """
    <h3>Trajectories</h3>
    <p class="legend">Settled by an earlier <span class="f0">1</span><span class="f1">2</span><span class="f2">3</span>\
    <span class="f3">4</span><span class="f4">5</span><span class="f5">6</span> or later sixth of all forwards. \
    <b class="other">Underlined</b> tokens differ between the models; a frame and ◆ mark the first \
    decision that differed. Small numbers open a block. Hover over a token for its forward.</p>

    """

  var html: Markup {
    let prompt: Markup? = document.text(at: "prompt").map { "<p class=\"context\">\($0)</p>\n" }
    return """
      <div class="example" id="example-\(number)">
      <h3>Example \(number)</h3>
      \(prompt)<p>\(divergence)</p>
      <div class="pair">\(side("reference"))\(side("candidate"))</div>
      \(table)</div>

      """
  }

  private var divergence: String {
    guard let place = document.at("divergence") else { return "Both take the same path." }
    var parts: [String] = []
    for key in ["block", "step", "position"] {
      if let value = place.at(key)?.int { parts.append("\(key) \(PageNumber.count(value))") }
    }
    let masked =
      place.number(at: "mask_ratio").map { ", with \(PageNumber.percent($0)) of the block still masked" } ?? ""
    return "◆ First divergence: \(parts.joined(separator: ", "))\(masked)."
  }

  /// The token whose decision differed first; positions count the prompt.
  private var firstIndex: Int? {
    guard let position = document.at("divergence.position")?.int, let prompt = document.at("prompt_tokens")?.array
    else {
      return nil
    }
    return position - prompt.count
  }

  private func side(_ role: String) -> Markup {
    guard document.at(role) != nil else { return "" }
    var block: Int?
    let tokens = document.rows(at: "\(role).tokens").enumerated().map { index, token -> Markup in
      let opened: Markup? = token.at("block")?.int.flatMap { number in
        defer { block = number }
        return number == block ? nil : "<span class=\"block\">\(number)</span>"
      }
      return "\(opened)\(span(token, isFirst: index == firstIndex))"
    }
    let forwards: Markup? = document.at("\(role).forwards")?.int.map { ", \(PageNumber.count($0)) forwards" }
    let text: Markup = tokens.isEmpty ? Markup(text: document.text(at: "\(role).text") ?? "") : Markup(tokens)
    return """
      <div><p class="eyebrow">\(role)\(forwards)</p>
      <p class="run">\(text)</p></div>

      """
  }

  /// The same as a table: both tokens of a position and the forwards that settled them.
  private var table: Markup {
    let (a, b) = (document.rows(at: "reference.tokens"), document.rows(at: "candidate.tokens"))
    guard !a.isEmpty || !b.isEmpty else { return "" }
    let cells = { (tokens: [JSONValue], index: Int) -> [PageTable.Cell] in
      guard tokens.indices.contains(index) else { return [.text(""), .text("")] }
      let token = PageTable.Cell(content: WorstPart.token(tokens[index].text(at: "text") ?? ""))
      return [token, .count(tokens[index].at("forward")?.int)]
    }
    let rows = (0..<max(a.count, b.count)).map { index -> [PageTable.Cell] in
      let source = a.indices.contains(index) ? a[index] : b[index]
      let same = source.at("same")?.bool.map { $0 ? "same" : "≠" } ?? ""
      return [.count(index), .count(source.at("block")?.int)] + cells(a, index) + [.text(same)] + cells(b, index)
    }
    let columns = ["token", "block", "reference", "forward", "", "candidate", "forward"]
    let table = PageTable(columns: columns, rows: rows, caption: "Example \(number), token by token")
    return "<details><summary>Token by token</summary>\n\(table.html)</details>\n"
  }

  private func span(_ token: JSONValue, isFirst: Bool) -> Markup {
    let forward = token.at("forward")?.int
    // What no forward settled, such as a mask that was left, has no shade.
    let shade = forward.map { "f\(min(5, max(0, $0 * 6 / max(1, last + 1))))" } ?? "unset"
    let other = token.at("same")?.bool == false ? " other" : ""
    let first = isFirst ? " first" : ""
    let text = (token.text(at: "text") ?? "").replacing("\n", with: "↵\n")
    let title = forward.map { "forward \($0)" } ?? "not committed"
    let mark = isFirst ? "◆" : ""
    return "<span class=\"\(shade)\(other)\(first)\" title=\"\(title)\">\(mark)\(text)</span>"
  }
}
