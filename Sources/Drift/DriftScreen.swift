package import JSON
import Text

/// A drift report on one screen of a terminal.
package enum DriftScreen {
  package struct Line: Sendable, Equatable {
    package let text: String
    /// Whether it should stand out.
    package let isHeading: Bool
  }

  /// The most lines that are written.
  package static var maximumLines: Int { 24 }

  /// - Parameter columns: of the terminal; nil where the width is free. Narrow ones lose the column of meanings.
  package static func lines(_ document: JSONValue, columns: Int? = nil) -> [Line] {
    var lines = Format.table(facts(document)).map { Line(text: $0, isHeading: false) }
    lines = wrapped(verdict(document), columns: columns ?? 100).map { Line(text: $0, isHeading: true) } + lines
    let numbers = table(Headline.all(of: document), columns: columns ?? 100)
    if !numbers.isEmpty { lines += [Line(text: "", isHeading: false)] + numbers }
    let remarks = self.remarks(document).flatMap { wrapped($0, columns: columns ?? 100) }
    guard !remarks.isEmpty else { return lines }
    lines.append(Line(text: "", isHeading: false))
    let room = max(1, maximumLines - lines.count)
    let shown = remarks.count <= room ? remarks : Array(remarks.prefix(room - 1))
    lines += shown.map { Line(text: $0, isHeading: false) }
    if shown.count < remarks.count {
      lines.append(
        Line(text: "… \(remarks.count - shown.count) more lines of gates and notes in the report", isHeading: false))
    }
    return lines
  }

  /// One sentence on the gates; also the page begins with it.
  static func verdict(_ document: JSONValue) -> String {
    if document.at("verdict.zero_drift")?.bool == true {
      let why =
        document.at("candidate.lossless")?.bool == false
        ? "the candidate is not lossless" : "the candidate's experts have another encoding"
      return "ERROR: no drift at all although \(why); quantization was probably never engaged"
    }
    if let gap = gap(document) { return "FAIL: \(gap)" }
    let gates = document.rows(at: "verdict.gates")
    let failed = gates.count { $0.at("passed")?.bool == false }
    switch document.text(at: "verdict.status") {
    case "pass": return gates.count == 1 ? "PASS: the one gate passed" : "PASS: all \(gates.count) gates passed"
    case "fail": return "FAIL: \(failed) of \(gates.count) \(gates.count == 1 ? "gate" : "gates") failed"
    default: return "measured, not judged: there were no gates"
    }
  }

  /// What has no numbers, or was not measured; nil where all that was asked for is there.
  private static func gap(_ document: JSONValue) -> String? {
    let missing = document.rows(at: "missing").compactMap { $0.text(at: "level") }
    if !missing.isEmpty {
      let levels = missing.count == 1 ? "level \(missing[0])" : "levels \(missing.joined(separator: ", "))"
      return "the \(levels) could not be measured"
    }
    let findings = document.rows(at: "non_finite")
    // The candidate is the one that is judged.
    let first = findings.first { $0.text(at: "model") == "candidate" } ?? findings.first
    return first.map { Shown.text(NonFiniteFinding.summary($0), limit: 400) }
  }

  // MARK: Parts

  private static func facts(_ document: JSONValue) -> [[String]] {
    ["candidate", "reference"].compactMap { role in
      guard let model = document.at(role) else { return nil }
      return [role, self.model(model)]
    } + (data(document).map { [["data", $0]] } ?? [])
  }

  /// `mini.ingot: pack, 8.61 GB, 4.281 bits/weight, experts int4-g64`
  private static func model(_ model: JSONValue) -> String {
    var parts: [String] = []
    if let kind = model.text(at: "kind") { parts.append(Shown.text(kind, limit: 20)) }
    if let bytes = model.at("bytes")?.int { parts.append(Format.bytes(bytes)) }
    if let bits = model.number(at: "bits_per_weight") { parts.append("\(Format.fixed(bits, 2)) bits/weight") }
    let experts = model.rows(at: "experts").compactMap(\.string)
    if !experts.isEmpty { parts.append("experts \(Shown.text(experts.joined(separator: " "), limit: 40))") }
    if model.text(at: "activations") == "int8" { parts.append("int8 activations") }
    return Shown.text(model.text(at: "path") ?? "?", limit: 60) + ": " + parts.joined(separator: ", ")
  }

  private static func data(_ document: JSONValue) -> String? {
    var parts: [String] = []
    if let count = document.at("data.prompts.count")?.int { parts.append("\(Format.count(count)) prompts") }
    if let count = document.at("data.texts.count")?.int { parts.append("\(Format.count(count)) texts") }
    if let count = document.at("masked.positions")?.int { parts.append("\(Format.count(count)) masked positions") }
    return parts.isEmpty ? nil : parts.joined(separator: ", ")
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
  private static func remarks(_ document: JSONValue) -> [String] {
    let gaps =
      document.rows(at: "missing").map(missingSentence) + document.rows(at: "non_finite").map(NonFiniteFinding.sentence)
    let failed = document.rows(at: "verdict.gates").filter { $0.at("passed")?.bool == false }
    let notes = document.rows(at: "notes").compactMap(\.string).filter { !gaps.contains($0) }
    return gaps.map { Shown.text($0, limit: 400) }
      + failed.map { gate -> String in
        var value = gate.number(at: "value").map { "it is \(Wording.nats($0))" } ?? "there is no such number"
        if let left = gate.at("left_out")?.int, left > 0 {
          value += ", but \(Format.count(left)) \(left == 1 ? "place is" : "places are") left out that are not finite"
        }
        return "failed: \(Shown.text(gate.text(at: "expression") ?? "")) (\(value))"
      } + notes.map { "note: \(Shown.text($0, limit: 400))" }
  }

  /// - Parameter missing: an entry of `missing[]`.
  package static func missingSentence(_ missing: JSONValue) -> String {
    "the level \(missing.text(at: "level") ?? "") could not be measured: \(missing.text(at: "reason") ?? "")"
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
