import Drift
import Export
import Inspection
import JSON
import Models
import Pack
import Storage
import Tensors
import Text

/// A card for the hub of Hugging Face: what a pack is, how it was made, how far it drifts, how it is used. Numbers are those of the
/// screens of `inspect` and `verify`.
struct ModelCard {
  let report: InspectReport
  let drift: DriftReport?
  /// The file's name, without directories.
  let name: String
  let baseModel: String?
  let license: String?

  private var model: InspectedModel { report.model }

  var lines: [String] {
    frontMatter + ["", "# \(MarkdownText.escaped(name))", "", summary, ""]
      + MarkdownText.table([["", ""]] + report.facts(name: name, showsDrift: false))
      + report.sizesMarkdown(heading: "##")
      + recipe + driftSection + provenance + use
  }

  // MARK: What the hub reads

  private var frontMatter: [String] {
    var lines = ["---", "library_name: ingot", "pipeline_tag: text-generation"]
    if let license { lines.append("license: \(Self.scalar(license))") }
    if let baseModel { lines += ["base_model: \(Self.scalar(baseModel))", "base_model_relation: quantized"] }
    lines += ["tags:"] + tags.map { "- \(Self.scalar($0))" }
    return lines + ["---"]
  }

  /// A string in YAML: plain where no reader takes it for anything else, such as a number, a truth value or nothing.
  private static func scalar(_ text: String) -> String {
    let others: Set = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"]
    let isPlain =
      text.first.map { $0.isASCII && $0.isLetter } ?? false && !others.contains(text.lowercased())
      && text.split(separator: "/", omittingEmptySubsequences: false).allSatisfy { HubID.isWord(String($0)) }
    return isPlain ? text : JSONValue.string(text).text(indented: false)
  }

  private var tags: [String] {
    let encodings = report.sizes.experts?.types.filter { $0.encoding?.isGrouped ?? false }.map(\.description) ?? []
    let type = model.description.modelType.flatMap { HubID.isWord($0) ? $0 : nil }
    let decoding = predictsNext ? [] : ["diffusion"]
    return ["ingot"] + decoding + ["mixture-of-experts", "quantized"] + [type].compactMap(\.self) + encodings
  }

  private var summary: String {
    let base = baseModel.map { "[\($0)](https://huggingface.co/\($0))" } ?? original
    let bits = report.sizes.expertBitsPerWeight.map { ", its experts at \(Format.fixed($0, 3)) bits a weight" } ?? ""
    let kind = predictsNext ? "language model" : "block-diffusion language model"
    return "A \(kind): \(base) in one mapped, hashed file\(bits)."
  }

  /// Whether it is of a family that predicts the next token.
  private var predictsNext: Bool {
    model.description.modelType.map { Ling.modelTypes.contains($0) } ?? false
  }

  private var original: String {
    let isLLaDA2 = model.description.modelType.map { LLaDA2.modelTypes.contains($0) } ?? false
    return isLLaDA2 ? "a LLaDA2 checkpoint" : "a checkpoint"
  }

  // MARK: How it was made

  private var recipe: [String] {
    guard let provenance = model.provenance?.object else { return [] }
    var lines = ["", "## Recipe", ""]
    if let solver = provenance["options"]?.object?["solver"]?.string {
      lines += [
        "Scales by `\(word(solver))`"
          + (report.solutions == nil ? "." : ", experts solved with the states that they are fed.")
      ]
    }
    for key in ["recipe", "calibration"] {
      guard let value = provenance[key], !value.isNull else { continue }
      lines +=
        ["", "`\(key)`:", "", "```json"] + value.text(hidden: .spelled).split(separator: "\n").map(String.init) + [
          "```"
        ]
    }
    return lines
  }

  private var provenance: [String] {
    guard let provenance = model.provenance?.object else { return [] }
    var lines = ["", "## Provenance", ""]
    if let tool = provenance["tool"]?.string {
      lines.append("Packed by \(MarkdownText.escaped(Shown.text(tool))) from:")
    }
    let files = (provenance["sources"]?.array ?? []).compactMap(\.object)
    lines +=
      [""]
      + MarkdownText.table(
        [["file", "bytes", "XXH3 of its header"]]
          + files.map { file in
            [
              Shown.text(file["name"]?.string ?? "?"), file["bytes"]?.int.map { Format.count($0) } ?? "?",
              Shown.text(file["header_xxh3"]?.string ?? "?"),
            ]
          }, right: [1])
    if let header = model.header { lines += ["", "Root hash of the pack: `\(XXH3.text(header.rootHash))`."] }
    return lines
  }

  // MARK: How far it drifts

  private var driftSection: [String] {
    let heading = ["", "## Drift from full precision", ""]
    guard let drift else { return heading + ["It was not measured."] }
    let rows = Headline.all(of: drift).map { [$0.label, $0.value, $0.detail ?? "", $0.floor ?? "", $0.meaning] }
    let texts = [
      "\(Format.count(drift.data.prompts.count)) prompts", "\(Format.count(drift.data.texts.count)) texts",
      drift.masked.map { "\(Format.count($0.positions)) \(drift.scoredKind) positions" },
    ].compactMap(\.self).joined(separator: ", ")
    return heading + [
      "\(MarkdownText.escaped(DriftScreen.verdict(drift))). Measured by `ingot verify` on \(texts).", "",
    ]
      + MarkdownText.table([["", "", "interval, detail", "× floor", "meaning"]] + rows, right: [1, 3])
  }

  // MARK: How it is used

  private var use: [String] {
    let file = Self.argument(name)
    var lines = [
      "", "## Use", "", "```", "ingot run \(file) -p 'Why is the sky blue?'", "ingot run \(file) --chat",
      "ingot inspect \(file) --check    # every byte against its hash", "```", "",
    ]
    let (formats, areAllKnown) = Self.formats(ofPackAt: model.path)
    guard !formats.isEmpty else {
      return lines + [
        areAllKnown
          ? "No other engine's format holds this pack without loss."
          : "Whether another engine's format holds this pack is not known: `ingot export` tells what is in the way."
      ]
    }
    lines += [
      "Other engines read it after `ingot export \(file.contains("`") ? "PACK" : file) --to FORMAT -o OUT`, with the same codes and scales:",
      "",
    ]
    return lines + MarkdownText.table([["format", "read by"]] + formats.map { [$0.name, $0.engines] })
  }

  /// The formats that hold the pack, and whether each of the others was found not to: a file that cannot be read says nothing of that.
  private static func formats(ofPackAt path: String) -> (holding: [any ExportFormat.Type], areAllKnown: Bool) {
    var (holding, areAllKnown) = ([any ExportFormat.Type](), true)
    for format in ExportFormats.all {
      do throws(ExportError) {
        _ = try ExportPlan(try ExportSource(path: path, outputName: "model", options: ExportOptions()), as: format)
        holding.append(format)
      } catch {
        if case .refused = error { continue }
        areAllKnown = false
      }
    }
    return (holding, areAllKnown)
  }

  /// A file's name as an argument: a shell reads no sign of its own in it, and the command no option.
  private static func argument(_ name: String) -> String {
    let path = Shown.text(name.hasPrefix("-") ? "./" + name : name)
    let isPlain = path.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "._-/+=@:,%".contains($0)) }
    return isPlain ? path : "'" + path.replacing("'", with: "'\\''") + "'"
  }

  /// A word within code, which a stranger's text must not end.
  private func word(_ text: String) -> String { String(Shown.text(text).map { "`\n'\" ".contains($0) ? "_" : $0 }) }
}
