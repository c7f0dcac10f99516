import Text

/// A drift report on one screen of a terminal.
package enum DriftScreen {
  package struct Line: Sendable, Equatable {
    package let text: String
    /// Whether it should stand out.
    package let isHeading: Bool
  }

  /// The most lines that are written, but for those on another candidate and on parts.
  package static var maximumLines: Int { 24 }

  /// - Parameter columns: of the terminal; nil where the width is free. Narrow ones lose the column of meanings.
  package static func lines(_ report: DriftReport, columns: Int? = nil) -> [Line] {
    var lines = Format.table(facts(report)).map { Line(text: $0, isHeading: false) }
    lines = wrapped(verdict(report), columns: columns ?? 100).map { Line(text: $0, isHeading: true) } + lines
    let numbers = table(Headline.all(of: report), columns: columns ?? 100)
    if !numbers.isEmpty { lines += [Line(text: "", isHeading: false)] + numbers }
    let versus = self.versus(report, columns: columns ?? 100)
    let parts = attribution(report)
    lines += versus + parts
    let remarks = self.remarks(report).flatMap { wrapped($0, columns: columns ?? 100) }
    guard !remarks.isEmpty else { return lines }
    lines.append(Line(text: "", isHeading: false))
    let room = max(1, maximumLines + versus.count + parts.count - lines.count)
    let shown = remarks.count <= room ? remarks : Array(remarks.prefix(room - 1))
    lines += shown.map { Line(text: $0, isHeading: false) }
    if shown.count < remarks.count {
      lines.append(
        Line(text: "… \(remarks.count - shown.count) more lines of gates and notes in the report", isHeading: false))
    }
    return lines
  }

  /// One sentence on the gates; also the page begins with it.
  package static func verdict(_ report: DriftReport) -> String {
    if report.verdict.zeroDrift {
      let why =
        report.candidate.lossless == false
        ? "the candidate is not lossless" : "the candidate's experts have another encoding"
      return "ERROR: no drift at all although \(why); quantization was probably never engaged"
    }
    if let gap = gap(report) { return "FAIL: \(gap)" }
    let gates = report.verdict.gates
    let failed = gates.count { !$0.passed }
    switch report.verdict.status {
    case .pass: return gates.count == 1 ? "PASS: the one gate passed" : "PASS: all \(gates.count) gates passed"
    case .fail: return "FAIL: \(failed) of \(gates.count) \(gates.count == 1 ? "gate" : "gates") failed"
    case .none: return "measured, not judged: there were no gates"
    }
  }

  /// What has no numbers, or was not measured; nil where all that was asked for is there.
  private static func gap(_ report: DriftReport) -> String? {
    let missing = report.missing.map(\.level)
    if !missing.isEmpty {
      let levels = missing.count == 1 ? "level \(missing[0])" : "levels \(missing.joined(separator: ", "))"
      return "the \(levels) could not be measured"
    }
    // The candidate is the one that is judged.
    let first = report.nonFinite.first { $0.model == "candidate" } ?? report.nonFinite.first
    return first.map { Shown.text($0.summary, limit: 400) }
  }

  // MARK: Parts

  /// The other candidate, and how much of its drift the first one has.
  private static func versus(_ report: DriftReport, columns: Int) -> [Line] {
    guard let versus = report.versus else { return [] }
    var rows = [["versus \(Shown.text(versus.model.path, limit: 40))", "", "interval", ""]]
    rows += Headline.versus(report).map { [$0.label, $0.value, $0.detail ?? "", $0.meaning] }
    let isNarrow = Format.table(rows).contains { $0.count > columns }
    let texts = Format.table(isNarrow ? rows.map { Array($0.dropLast()) } : rows, right: [1])
    return [Line(text: "", isHeading: false)]
      + texts.enumerated().map { Line(text: $0.element, isHeading: $0.offset == 0) }
  }

  /// Parts that are shown, those that cost the most.
  private static var shownParts: Int { 8 }

  /// Which parts of the candidate cost how much.
  private static func attribution(_ report: DriftReport) -> [Line] {
    guard let attribution = report.attribution else { return [] }
    let shown = attribution.parts.prefix(shownParts)
    var rows = [["where it comes from", "KL, mean", "interval", "share"]]
    rows += shown.map { part in
      [
        Shown.text(part.part, limit: 40), part.kl.map { Wording.nats($0.mean) } ?? "", Wording.interval(part.kl) ?? "",
        part.share.map(Wording.percent) ?? "",
      ]
    }
    var texts = Format.table(rows, right: [1, 3])
    var rest: [String] = []
    let others = attribution.parts.count - shown.count
    if others > 0 { rest.append("\(Format.count(others)) more in the report") }
    if attribution.leftOut > 0 { rest.append("\(Format.count(attribution.leftOut)) not measured") }
    rest.append("all parts, each alone: \(Wording.nats(attribution.sum))")
    if let whole = attribution.whole { rest.append("together: \(Wording.nats(whole))") }
    texts.append(rest.joined(separator: "; "))
    return [Line(text: "", isHeading: false)]
      + texts.enumerated().map { Line(text: $0.element, isHeading: $0.offset == 0) }
  }

  private static func facts(_ report: DriftReport) -> [[String]] {
    [
      ["candidate", model(report.candidate)], ["reference", model(report.reference)], ["data", data(report)],
    ]
  }

  /// `mini.ingot: pack, 8.61 GB, 4.281 bits/weight, experts int4-g64`
  private static func model(_ model: DriftReport.Model) -> String {
    var parts = [Shown.text(model.kind, limit: 20), Format.bytes(model.bytes)]
    if let bits = model.bitsPerWeight { parts.append("\(Format.fixed(bits, 2)) bits/weight") }
    if !model.experts.isEmpty {
      parts.append("experts \(Shown.text(model.experts.joined(separator: " "), limit: 40))")
    }
    if model.activations == "int8" { parts.append("int8 activations") }
    if model.arithmetic == "bf16-weights" { parts.append("weights rounded to bf16") }
    if model.kvCacheDtype == "bf16" { parts.append("keys and values rounded to bf16") }
    return Shown.text(model.path, limit: 60) + ": " + parts.joined(separator: ", ")
  }

  private static func data(_ report: DriftReport) -> String {
    var parts = [
      "\(Format.count(report.data.prompts.count)) prompts", "\(Format.count(report.data.texts.count)) texts",
    ]
    if let masked = report.masked { parts.append("\(Format.count(masked.positions)) \(report.scoredKind) positions") }
    return parts.joined(separator: ", ")
  }

  private static func table(_ numbers: [Headline], columns: Int) -> [Line] {
    guard !numbers.isEmpty else { return [] }
    let hasFloor = numbers.contains { $0.floor != nil }
    var rows = [["", "", "interval, detail", hasFloor ? "× floor" : "", ""]]
    rows += numbers.map { [$0.label, $0.value, $0.detail ?? "", $0.floor ?? "", $0.meaning] }
    let isNarrow = Format.table(rows).contains { $0.count > columns }
    let texts = Format.table(isNarrow ? rows.map { Array($0.dropLast()) } : rows, right: [1, 3])
    return texts.enumerated().map { Line(text: $0.element, isHeading: $0.offset == 0) }
  }

  /// What is missing or not finite, gates that failed, then the notes.
  private static func remarks(_ report: DriftReport) -> [String] {
    let gaps = report.missing.map(\.sentence) + report.nonFinite.map(\.sentence)
    let failed = report.verdict.gates.filter { !$0.passed }
    let notes = report.notes.filter { !gaps.contains($0) }
    return gaps.map { Shown.text($0, limit: 400) }
      + failed.map { gate -> String in
        var value = gate.value.map { "it is \(Wording.nats($0.double))" } ?? "there is no such number"
        if gate.leftOut > 0 {
          let places = gate.leftOut == 1 ? "place is" : "places are"
          value += ", but \(Format.count(gate.leftOut)) \(places) left out that are not finite"
        }
        return "failed: \(Shown.text(gate.expression)) (\(value))"
      } + notes.map { "note: \(Shown.text($0, limit: 400))" }
  }

  private static func wrapped(_ text: String, columns: Int) -> [String] {
    var lines: [String] = []
    var line = ""
    for word in text.split(separator: " ") {
      if !line.isEmpty, line.count + 1 + word.count > max(20, columns) {
        lines.append(line)
        line = "  \(word)"
      } else {
        line += line.isEmpty ? String(word) : " \(word)"
      }
    }
    return lines + [line]
  }
}
