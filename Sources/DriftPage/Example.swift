import Drift

/// One prompt with what both models wrote, side by side, each token in the colour of the forward that settled it.
struct Example {
  private let example: DriftReport.Example
  private let number: Int
  /// The last forward of either model: the end of the scale of colours.
  private let last: Int
  private let predictsNext: Bool

  init(_ example: DriftReport.Example, number: Int, predictsNext: Bool) {
    self.example = example
    self.number = number
    self.predictsNext = predictsNext
    last = (example.reference.tokens + example.candidate.tokens).compactMap(\.forward).max() ?? 0
  }

  static func legend(predictsNext: Bool) -> Markup {
    let blocks: Markup? = predictsNext ? nil : "Small numbers open a block. "
    return """
      <h3>Trajectories</h3>
      <p class="legend">Settled by an earlier <span class="f0">1</span><span class="f1">2</span><span class="f2">3</span>\
      <span class="f3">4</span><span class="f4">5</span><span class="f5">6</span> or later sixth of all forwards. \
      <b class="other">Underlined</b> tokens differ between the models; a frame and ◆ mark the first \
      decision that differed. \(blocks)Hover over a token for its forward.</p>

      """
  }

  var html: Markup {
    """
    <div class="example" id="example-\(number)">
    <h3>Example \(number)</h3>
    <p class="context">\(example.prompt)</p>
    <p>\(divergence)</p>
    <div class="pair">\(side("reference", example.reference))\(side("candidate", example.candidate))</div>
    \(table)</div>

    """
  }

  private var divergence: String {
    guard let place = example.divergence else { return "Both take the same path." }
    var parts =
      predictsNext
      ? ["token \(PageNumber.count(place.block + 1)) of the answer"]
      : ["block \(PageNumber.count(place.block))", "step \(PageNumber.count(place.step))"]
    if let position = place.position { parts.append("position \(PageNumber.count(position))") }
    guard !predictsNext else { return "◆ First divergence: \(parts.joined(separator: ", "))." }
    let masked = "with \(PageNumber.percent(place.maskRatio)) of the block still masked"
    return "◆ First divergence: \(parts.joined(separator: ", ")), \(masked)."
  }

  /// The token whose decision differed first; positions count the prompt.
  private var firstIndex: Int? {
    example.divergence?.position.map { $0 - example.promptTokens.count }
  }

  private func side(_ role: String, _ side: DriftReport.Example.Side) -> Markup {
    var block: Int?
    let tokens = side.tokens.enumerated().map { index, token -> Markup in
      let opened: Markup? = predictsNext || token.block == block ? nil : "<span class=\"block\">\(token.block)</span>"
      block = token.block
      return "\(opened)\(span(token, isFirst: index == firstIndex))"
    }
    let text: Markup = tokens.isEmpty ? Markup(text: side.text) : Markup(tokens)
    return """
      <div><p class="eyebrow">\(role), \(PageNumber.count(side.forwards)) forwards</p>
      <p class="run">\(text)</p></div>

      """
  }

  /// The same as a table: both tokens of a position and the forwards that settled them.
  private var table: Markup {
    let (a, b) = (example.reference.tokens, example.candidate.tokens)
    guard !a.isEmpty || !b.isEmpty else { return "" }
    let cells = { (tokens: [DriftReport.Example.Token], index: Int) -> [PageTable.Cell] in
      guard tokens.indices.contains(index) else { return [.text(""), .text("")] }
      let token = PageTable.Cell(content: WorstPart.token(tokens[index].text))
      return [token, .count(tokens[index].forward)]
    }
    let rows = (0..<max(a.count, b.count)).map { index -> [PageTable.Cell] in
      let source = a.indices.contains(index) ? a[index] : b[index]
      let same = PageTable.Cell.text(source.same ? "same" : "≠")
      return [.count(index), .count(source.block)] + cells(a, index) + [same] + cells(b, index)
    }
    let columns = ["token", "block", "reference", "forward", "", "candidate", "forward"]
    let table = PageTable(columns: columns, rows: rows, caption: "Example \(number), token by token")
    return "<details><summary>Token by token</summary>\n\(table.html)</details>\n"
  }

  private func span(_ token: DriftReport.Example.Token, isFirst: Bool) -> Markup {
    let forward = token.forward
    // What no forward settled, such as a mask that was left, has no shade.
    let shade = forward.map { "f\(min(5, max(0, $0 * 6 / max(1, last + 1))))" } ?? "unset"
    let other = token.same ? "" : " other"
    let first = isFirst ? " first" : ""
    let text = token.text.replacing("\n", with: "↵\n")
    let title = forward.map { "forward \($0)" } ?? "not committed"
    let mark = isFirst ? "◆" : ""
    return "<span class=\"\(shade)\(other)\(first)\" title=\"\(title)\">\(mark)\(text)</span>"
  }
}
