import Conversion
import Drift
import JSON
import Pack
import Quantization
import Tensors
import Text

/// What `ingot help` tells beside its commands, from the lists that the commands themselves go by.
enum HelpTopic: String, CaseIterable {
  case exitCodes = "exit-codes"
  case encodings, recipes, gates

  /// Prints the topic of `ingot help TOPIC`.
  ///
  /// - Returns: whether the arguments are of this form; help on commands is not for here.
  /// - Throws: ``Failure`` where there is help on nothing of this name.
  static func answers(_ arguments: [String], commands: [String]) throws -> Bool {
    guard arguments.first == "help", arguments.count == 2, !arguments[1].hasPrefix("-"), arguments[1] != "help",
      !commands.contains(arguments[1])
    else { return false }
    guard let topic = Self(rawValue: arguments[1]) else {
      throw Failure(noHelpOn: arguments[1], commands: commands, topics: names)
    }
    Console.print(topic.lines.joined(separator: "\n"))
    return true
  }

  static var names: [String] { allCases.map(\.rawValue) }

  var lines: [String] {
    switch self {
    case .exitCodes: Self.exitCodeLines
    case .encodings: Self.encodingLines
    case .recipes: Self.recipeLines
    case .gates: Self.gateLines
    }
  }

  private static var exitCodeLines: [String] {
    Format.table(
      [["0", ExitStatus.doneMeaning]] + ExitStatus.allCases.map { ["\($0.rawValue)", $0.meaning] }, right: [0])
  }

  private static var encodingLines: [String] {
    var rows = [["encoding", "bits/weight", "also called", "scales"]]
    for encoding in Encoding.grouped {
      guard let (_, scale) = encoding.codes else { continue }
      let aliases = Encoding.aliases.filter { $0.value == encoding.description }.map { $0.key.uppercased() }
      let kind = scale == .byte ? "a byte, and a byte of base a row" : "bf16"
      rows.append([
        "\(encoding)", Format.significant(encoding.bitsPerWeight), aliases.sorted().joined(separator: ", "),
        "for \(encoding.groupSize) weights: \(kind)",
      ])
    }
    return Format.table(rows, right: [1]) + [
      "",
      "keep: what the source has; packs hold \(Encoding.all.filter { !$0.isGrouped }.map(\.description).joined(separator: ", ")) as they are.",
      "A group lies within a row, so its size must divide the columns. Formats/encodings.md has the bytes.",
    ]
  }

  private static var recipeLines: [String] {
    let standard = Recipe()
    let example = Recipe(
      experts: standard.experts, rest: standard.rest,
      overrides: [.init(match: #"layers\.1\.mlp\.experts\."#, choice: .encode(Encoding.grouped[0]), isOptional: true)])
    return ["A recipe is a file of JSON for `quantize --recipe`:", ""]
      + example.json.text().split(separator: "\n").map { "  \($0)" }
      + [""] + Format.table((Recipe.keys + Recipe.ruleKeys).map { ["  \($0.key)", $0.meaning] })
      + [
        "",
        "Encodings: `ingot help encodings`. Solvers:",
      ] + Format.table(Solvers.all.map { ["  \($0.name)", $0.summary] }) + [
        "",
        "Recipes that are there already, for `quantize --preset`:",
      ]
      + Format.table(
        RecipePreset.all.map {
          ["  \($0.name)", "experts \($0.recipe.experts), rest \($0.recipe.rest)", $0.purpose]
        })
      + [
        "",
        "The router, norms and biases are kept whatever a rule says; of the rules that match, the last decides. A rule that matches",
        "nothing is an error. `ingot quantize CHECKPOINT --explain TENSOR` tells which rule decides; Formats/recipe.md has the rest.",
      ]
  }

  private static var gateLines: [String] {
    var lines = [
      "A gate is a number of the report, by its key in `ingot verify --json`, and when it fails, as in",
      "  ingot verify mini.ingot --reference LLaDA2.0-mini --gate '\(GateError.example)'",
      "Comparisons: \(Gate.Comparison.allCases.map(\.rawValue).joined(separator: "  ")). A number that is missing fails.",
      "Exit code \(ExitStatus.gate.rawValue): "
        + "\(ExitStatus.gate.meaning).",
    ]
    for (name, conditions) in Gates.presets.sorted(by: { $0.key < $1.key }) {
      lines += ["", "--gate \(name) fails if one of these holds:"] + conditions.map { "  \($0)" }
    }
    return lines + ["", "Formats/drift-report.md tells what the keys mean, and why these limits."]
  }
}

extension Failure {
  init(noCommand word: String, commands: [String]) {
    self.init(
      what: "there is no command `\(Shown.text(word))`",
      hint: "commands are \(commands.joined(separator: ", ")); `ingot help` tells what they do", code: .usage)
  }

  init(noHelpOn word: String, commands: [String], topics: [String]) {
    self.init(
      what: "there is no help on `\(Shown.text(word))`",
      hint: "commands are \(commands.joined(separator: ", ")); topics are \(topics.joined(separator: ", "))",
      code: .usage)
  }
}
