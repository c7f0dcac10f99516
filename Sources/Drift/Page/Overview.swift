import JSON

/// The top of the page: what was compared, the verdict, the ten numbers, the notes.
enum Overview {
  static func html(_ document: JSONValue, sections: [PageSection]) -> Markup {
    let links = sections.map { section -> Markup in "<a href=\"#\(section.id)\">\(section.title)</a>\n" }
    return """
      <header class="top">
      <p class="eyebrow">Drift report</p>
      <h1>\(DriftPage.name(document, "candidate")) <span class="against">against</span> \
      \(DriftPage.name(document, "reference"))</h1>
      \(verdict(document))\(tiles(document))\(notes(document))<nav aria-label="Sections">
      \(links)</nav>
      </header>

      """
  }

  private static func verdict(_ document: JSONValue) -> Markup {
    let sentence = DriftScreen.verdict(document)
    let status = document.text(at: "verdict.status")
    let isWrong = document.at("verdict.zero_drift")?.bool == true || status == "fail"
    let kind = isWrong ? "fail" : status == "pass" ? "pass" : "none"
    guard kind != "none", let colon = sentence.firstIndex(of: ":") else {
      return "<p class=\"verdict\">\(sentence.prefix(1).uppercased() + sentence.dropFirst()).</p>\n"
    }
    let mark = isWrong ? "✗" : "✓"
    let rest = String(sentence[sentence.index(colon, offsetBy: 2)...])
    return "<p class=\"verdict \(kind)\"><b>\(mark) \(String(sentence[..<colon]))</b> \(rest).</p>\n"
  }

  private static func tiles(_ document: JSONValue) -> Markup {
    let numbers = Headline.all(of: document)
    guard !numbers.isEmpty else { return "" }
    let tiles = numbers.map { number -> Markup in
      let floor: Markup? = number.floor.map { "<span>\($0) floor</span>" }
      let detail: Markup? = number.detail.map { Markup(text: PageNumber.typeset($0)) }
      let both = [detail, floor].compactMap(\.self)
      let line: Markup = both.count == 2 ? "\(both[0]) · \(both[1])" : Markup(both)
      return """
        <li class="tile"><h3>\(number.label)</h3><b>\(PageNumber.typeset(number.value))</b>\
        <p class="detail">\(line)</p><p>\(number.sentence)</p></li>

        """
    }
    return "<ul class=\"tiles\">\n\(tiles)</ul>\n"
  }

  private static func notes(_ document: JSONValue) -> Markup {
    let notes = document.rows(at: "notes").compactMap(\.string)
    guard !notes.isEmpty else { return "" }
    return "<ul class=\"notes\">\n\(notes.map { note -> Markup in "<li>\(note)</li>\n" })</ul>\n"
  }

  static func gates(_ document: JSONValue) -> Markup {
    let gates = document.rows(at: "verdict.gates")
    guard !gates.isEmpty else { return "" }
    let rows = gates.map { gate -> [PageTable.Cell] in
      let passed = gate.at("passed")?.bool == true
      return [
        PageTable.Cell(
          content: passed ? "<span class=\"passed\">✓ passed</span>" : "<span class=\"failed\">✗ failed</span>",
          order: passed ? 1 : 0),
        PageTable.Cell(content: "<code>\(gate.text(at: "expression") ?? "")</code>"),
        gate.number(at: "value") == nil ? .text("missing") : .nats(gate.number(at: "value")),
        .number(gate.number(at: "limit"), PageNumber.plain),
      ]
    }
    let table = PageTable(columns: ["", "fails when", "value", "limit"], rows: rows, caption: "Gates")
    return "<p>A gate names a number of this report and tells when it fails.</p>\n\(table.html)"
  }
}
