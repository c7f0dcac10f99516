import Drift

/// The top of the page: what was compared, the verdict, the dozen numbers, the notes.
enum Overview {
  static func html(_ report: DriftReport, sections: [PageSection]) -> Markup {
    let links = sections.map { section -> Markup in "<a href=\"#\(section.id)\">\(section.title)</a>\n" }
    return """
      <header class="top">
      <p class="eyebrow">Drift report</p>
      <h1>\(DriftPage.name(report.candidate)) <span class="against">against</span> \
      \(DriftPage.name(report.reference))</h1>
      \(verdict(report))\(tiles(report))\(notes(report.notes))<nav aria-label="Sections">
      \(links)</nav>
      </header>

      """
  }

  private static func verdict(_ report: DriftReport) -> Markup {
    let sentence = DriftScreen.verdict(report)
    let status = report.verdict.status
    let isWrong = report.verdict.zeroDrift || status == .fail
    let kind = isWrong ? "fail" : status.rawValue
    guard kind != "none", let colon = sentence.firstIndex(of: ":") else {
      return "<p class=\"verdict\">\(sentence.prefix(1).uppercased() + sentence.dropFirst()).</p>\n"
    }
    let mark = isWrong ? "✗" : "✓"
    let rest = String(sentence[sentence.index(colon, offsetBy: 2)...])
    return "<p class=\"verdict \(kind)\"><b>\(mark) \(String(sentence[..<colon]))</b> \(rest).</p>\n"
  }

  private static func tiles(_ report: DriftReport) -> Markup {
    let numbers = Headline.all(of: report)
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

  private static func notes(_ notes: [String]) -> Markup {
    guard !notes.isEmpty else { return "" }
    return "<ul class=\"notes\">\n\(notes.map { note -> Markup in "<li>\(note)</li>\n" })</ul>\n"
  }

  static func gates(_ gates: [DriftReport.GateOutcome]) -> Markup {
    guard !gates.isEmpty else { return "" }
    let rows = gates.map { gate -> [PageTable.Cell] in
      [
        PageTable.Cell(
          content: gate.passed ? "<span class=\"passed\">✓ passed</span>" : "<span class=\"failed\">✗ failed</span>",
          order: gate.passed ? 1 : 0),
        PageTable.Cell(content: "<code>\(gate.expression)</code>"),
        gate.value.map { .nats($0.double) } ?? .text("missing"), .number(gate.limit, PageNumber.plain),
      ]
    }
    let table = PageTable(columns: ["", "fails when", "value", "limit"], rows: rows, caption: "Gates")
    return "<p>A gate names a number of this report and tells when it fails.</p>\n\(table.html)"
  }
}
