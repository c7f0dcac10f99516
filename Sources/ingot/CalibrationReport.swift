import Calibration
import JSON
import Pack
import Text

/// What a file of states holds, for people and as JSON (`Formats/inspect.md`).
struct CalibrationReport {
  private let file: CalibrationFile
  private let coverage: [LayerCoverage]

  init(_ file: CalibrationFile) {
    self.file = file
    coverage = file.coverage()
  }

  private static func share(_ tokens: Int, _ columns: Int) -> String {
    Format.fixed(Double(tokens) / Double(max(columns, 1)), 2)
  }

  /// What a pass has come to.
  static func end(_ document: CalibrationDocument, _ coverage: [LayerCoverage], byteCount: Int) -> [String] {
    [
      "\(Format.count(document.rows)) token states of \(Format.count(document.texts)) texts, \(Format.bytes(byteCount))"
    ] + lines(coverage)
  }

  /// What experts saw, in a line, and a warning where some saw too little.
  static func lines(_ coverage: [LayerCoverage]) -> [String] {
    let all = coverage.flatMap(\.tokens).sorted()
    guard let first = coverage.first, let least = all.first, let most = all.last else { return [] }
    var lines: [String] = []
    lines.append(
      "tokens of an expert: least \(Format.count(least)), median \(Format.count(all[all.count / 2])), most "
        + "\(Format.count(most)); n/N \(share(least, first.columns)), \(share(all[all.count / 2], first.columns)), "
        + share(most, first.columns))
    let thin = coverage.reduce(0) { $0 + $1.thinCount }
    if thin > 0 {
      lines.append(
        "warning: \(Format.count(thin)) of \(Format.count(all.count)) experts saw fewer tokens than a quarter of their "
          + "columns (n/N below 0.25) and lean on what their layer saw; more --tokens, or texts of more kinds, would help"
      )
    }
    return lines
  }

  func print() {
    let document = file.document
    let counts = file.classCounts
    let percent = { (kind: StateClass) in
      "\(Format.fixed(100 * Double(counts[kind] ?? 0) / Double(document.rows), 1)) %"
    }
    let kinds =
      document.ratios.isEmpty
      ? "all predict the next token"
      : "\(percent(.masked)) masked, \(percent(.visible)) visible beside masks, \(percent(.clean)) clean"
    var facts = [
      [
        "file",
        "\(Shown.text(file.path)): states for calibration, \(Format.bytes(file.byteCount)) (\(Format.count(file.byteCount)) bytes)",
      ],
      ["model", "\(Shown.text(document.modelType)), hash \(XXH3.text(document.modelHash))"],
      [
        "states",
        "\(Format.count(document.rows)) of \(Format.count(document.texts)) texts: \(kinds)",
      ],
      [
        "options",
        "block length \(document.blockLength), seed \(document.seed), decoder \(document.edits ? "edits" : "does not edit")",
      ],
    ]
    for (index, part) in document.parts.enumerated() {
      facts.append([
        index == 0 ? "data" : "",
        "\(Shown.text(part.name)): \(Format.count(part.texts)) of \(Format.count(part.available)) texts, "
          + "\(Format.count(part.rows)) states",
      ])
    }
    for line in Format.table(facts) { Console.print(line) }
    Console.print()
    var rows = [["layer", "least", "median", "most", "n/N least", "median", "most", "below 0.25"]]
    for layer in coverage {
      let sorted = layer.sorted
      let three = [sorted.first ?? 0, sorted[sorted.count / 2], sorted.last ?? 0]
      rows.append(
        ["\(layer.layer)"] + three.map { Format.count($0) } + three.map { Self.share($0, layer.columns) }
          + ["\(layer.thinCount)"])
    }
    let lines = Format.table(rows, right: Set(0..<8))
    Console.print(Console.heading(lines[0]))
    for line in lines.dropFirst() { Console.print(line) }
  }

  /// Schema `ingot.calibration-report/1`.
  var json: JSONValue {
    let counts = file.classCounts
    return [
      "schema": "ingot.calibration-report/1", "bytes": JSONValue(file.byteCount), "document": file.document.json,
      "classes": [
        "clean": JSONValue(counts[.clean] ?? 0), "visible": JSONValue(counts[.visible] ?? 0),
        "masked": JSONValue(counts[.masked] ?? 0),
      ],
      "layers": .array(
        coverage.map {
          [
            "layer": JSONValue($0.layer), "columns": JSONValue($0.columns), "below_quarter": JSONValue($0.thinCount),
            "tokens": .array($0.tokens.map { JSONValue($0) }),
          ]
        }),
    ]
  }
}
