import Inspection
import JSON
import Storage
import Text

/// What `inspect --diff` found. The model named first is the reference.
struct DiffReport {
  let first: InspectedModel
  let second: InspectedModel
  let diff: ModelDiff

  /// Lines of each kind that are printed; JSON has all.
  private static let limit = 20

  func print() {
    printNames("only in the first", diff.onlyInFirst)
    printNames("only in the second", diff.onlyInSecond)
    printMismatches("shapes", diff.shapes)
    printTypes()
    printMismatches("not comparable", diff.incomparable)
    printMetadata("config.json", diff.metadata.config)
    printMetadata("provenance", diff.metadata.provenance)
    printNames("embedded files that differ", diff.metadata.files)
    printNumbers()
    Console.print(summary)
  }

  private func printRows(_ rows: [[String]], title: [String], right: Set<Int> = []) {
    guard !rows.isEmpty else { return }
    let lines = Format.table([title] + rows.prefix(Self.limit), right: right)
    Console.print(Console.heading(lines[0]))
    for line in lines.dropFirst() { Console.print(line) }
    if rows.count > Self.limit { Console.print("  … and \(Format.count(rows.count - Self.limit)) more") }
    Console.print()
  }

  private func printNames(_ title: String, _ names: [String]) {
    printRows(collapsed(names).map { ["  \($0.name)", times($0.count)] }, title: [title])
  }

  private func times(_ count: Int) -> String { count == 1 ? "" : "×\(Format.count(count))" }

  private func printMismatches(_ title: String, _ mismatches: [ModelDiff.Mismatch]) {
    printRows(mismatches.map { ["  \(Shown.text($0.name))", $0.first, "→", $0.second] }, title: [title])
  }

  /// Encodings differ by whole families of tensors.
  private func printTypes() {
    var order: [String] = []
    var names: [String: [String]] = [:]
    for mismatch in diff.types {
      let change = "\(mismatch.first) → \(mismatch.second)"
      if names[change] == nil { order.append(change) }
      names[change, default: []].append(mismatch.name)
    }
    let rows = order.flatMap { change in
      collapsed(names[change] ?? []).map { ["  \($0.name)", times($0.count), change] }
    }
    printRows(rows, title: ["encodings"])
  }

  private func printMetadata(_ title: String, _ values: [MetadataDiff.Value]) {
    func text(_ value: JSONValue?) -> String {
      value.map { Shown.text($0.text(indented: false), limit: 30) } ?? "absent"
    }
    printRows(values.map { ["  \(Shown.text($0.key))", text($0.first), "→", text($0.second)] }, title: [title])
  }

  private func printNumbers() {
    let rows = diff.numbers.map { item in
      [
        "  \(Shown.text(item.name))", relative(item.difference),
        Format.significant(Double(item.difference.maximumError)),
        item.difference.nonFiniteCount == 0 ? "" : "\(Format.count(item.difference.nonFiniteCount)) not finite",
      ]
    }
    printRows(rows, title: ["numbers, worst first", "relative RMSE", "max |error|"], right: [1, 2])
  }

  private func relative(_ difference: ElementDifference) -> String {
    difference.relativeRMSE.map { Format.significant($0) } ?? "from zeros"
  }

  /// Names with layers and experts collapsed.
  private func collapsed(_ names: [String]) -> [(name: String, count: Int)] {
    TensorFamily.collapse(names).map { (name: Shown.text($0.name), count: $0.count) }
  }

  private var summary: String {
    if diff.isSame { return "diff: the same, \(Format.count(diff.comparedCount)) tensors compared" }
    var parts: [String] = []
    func add(_ count: Int, _ text: String) { if count > 0 { parts.append("\(Format.count(count)) \(text)") } }
    add(diff.onlyInFirst.count, "tensors only in the first")
    add(diff.onlyInSecond.count, "only in the second")
    add(diff.shapes.count, "of other shapes")
    add(diff.types.count, "of other encodings")
    add(diff.incomparable.count, "not comparable")
    if diff.numbers.isEmpty {
      parts.append("all \(Format.count(diff.comparedCount)) tensors compared have the same numbers")
    } else {
      parts.append("numbers of \(Format.count(diff.numbers.count)) of \(Format.count(diff.comparedCount)) differ")
      if let worst = diff.numbers.first { parts.append("worst relative RMSE \(relative(worst.difference))") }
    }
    if !diff.metadata.isSame { parts.append("metadata differs") }
    return "diff: " + parts.joined(separator: ", ")
  }

  // MARK: JSON

  /// Schema `ingot.inspect.diff/1`.
  var json: JSONValue {
    [
      "schema": "ingot.inspect.diff/1",
      "first": .string(first.path),
      "second": .string(second.path),
      "same": .bool(diff.isSame),
      "compared": JSONValue(diff.comparedCount),
      "only_in_first": .array(diff.onlyInFirst.map { .string($0) }),
      "only_in_second": .array(diff.onlyInSecond.map { .string($0) }),
      "shapes": .array(diff.shapes.map(json)),
      "encodings": .array(diff.types.map(json)),
      "not_comparable": .array(diff.incomparable.map(json)),
      "config": .array(diff.metadata.config.map(json)),
      "provenance": .array(diff.metadata.provenance.map(json)),
      "files": .array(diff.metadata.files.map { .string($0) }),
      "numbers": .array(
        diff.numbers.map { item in
          [
            "name": .string(item.name),
            "first": .string("\(item.first)"),
            "second": .string("\(item.second)"),
            "relative_rmse": item.difference.relativeRMSE.map { JSONValue($0) } ?? .null,
            "max_abs_error": JSONValue(item.difference.maximumError),
            "not_finite": JSONValue(item.difference.nonFiniteCount),
          ]
        }),
    ]
  }

  private func json(_ mismatch: ModelDiff.Mismatch) -> JSONValue {
    ["name": .string(mismatch.name), "first": .string(mismatch.first), "second": .string(mismatch.second)]
  }

  private func json(_ value: MetadataDiff.Value) -> JSONValue {
    ["key": .string(value.key), "first": value.first ?? .null, "second": value.second ?? .null]
  }
}
