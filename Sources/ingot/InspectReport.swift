import Inspection
import JSON
import Models
import Pack
import Safetensors
import Storage
import Tensors
import Text

/// What `inspect` says of a whole model.
struct InspectReport {
  let model: InspectedModel
  let sizes: ModelSizes
  let solutions: Solutions?

  init(_ model: InspectedModel) {
    self.model = model
    solutions = Solutions(model)
    sizes = ModelSizes(model)
  }

  func print(all: Bool) {
    for line in Format.table(facts(name: model.path)) { Console.print(line) }
    printSection(sizeRows, right: Self.numbersOfSizes)
    if all { printAllTensors() } else { printFamilies() }
    printFiles(all: all)
    printWorst()
  }

  private func printSection(_ rows: [[String]], right: Set<Int>) {
    Console.print()
    let lines = Format.table(rows, right: right)
    guard let first = lines.first else { return }
    Console.print(Console.heading(first))
    for line in lines.dropFirst() { Console.print(line) }
  }

  // MARK: What it is

  /// - Parameter name: what the file is called.
  func facts(name: String, showsDrift: Bool = true) -> [[String]] {
    var rows = [["file", "\(Shown.text(name)): \(kindText)"]]
    var size = Format.bytes(sizes.fileByteCount)
    if sizes.fileByteCount >= 1000 { size += " (\(Format.count(sizes.fileByteCount)) bytes)" }
    if let header = model.header { size += ", root hash \(XXH3.text(header.rootHash))" }
    rows.append(["", size])
    rows.append(["model", modelText])
    if let problem = problemText { rows.append(["", problem]) }
    rows.append(["parameters", parametersText])
    if let bits = sizes.bitsPerWeight {
      let experts = sizes.expertBitsPerWeight.map { ", \(Format.fixed($0, 3)) of the experts" } ?? ""
      rows.append(["bits/weight", "\(Format.fixed(bits, 3)) in all\(experts)"])
    }
    for (index, line) in sourceTexts.enumerated() { rows.append([index == 0 ? "source" : "", line]) }
    if let solutions { rows.append(["", solutions.summary(model.tensors)]) }
    for (index, line) in (showsDrift ? driftTexts : []).enumerated() { rows.append([index == 0 ? "drift" : "", line]) }
    return rows
  }

  private var kindText: String {
    guard let header = model.header else {
      let types = Set(model.tensors.map(\.type.description)).sorted().joined(separator: ", ")
      let shards = model.shards.count == 1 ? "" : ", \(Format.count(model.shards.count)) files"
      let layout = model.published?.layout.map { ", \($0.name) layout" } ?? ""
      let kind =
        model.kind == .safetensors ? "safetensors file" : model.isGGUF ? "GGUF" : "checkpoint"
      return kind + shards + ", \(types)\(layout)"
    }
    let zstd = header.requiredFeatures & PackHeader.zstdFeature == 0 ? "" : ", zstd"
    return "ingot pack, format \(header.writeVersion)\(zstd)"
  }

  private var modelText: String {
    let description = model.description
    guard let type = description.modelType else { return "unknown" }
    var parts = [Shown.text(type)]
    if let layers = description.layerCount {
      let dense = description.denseLayerCount.map { $0 > 0 ? " (\($0) dense)" : "" } ?? ""
      parts.append("\(Format.count(layers)) layers\(dense)")
    }
    if let hidden = description.hiddenSize { parts.append("hidden \(Format.count(hidden))") }
    if let experts = description.expertCount { parts.append("\(Format.count(experts)) experts") }
    if let top = description.expertsPerToken { parts.append("top-\(top)") }
    return parts.joined(separator: ", ")
  }

  private var problemText: String? {
    guard case .configuration(let key, let detail, _, _) = model.description.problem else { return nil }
    return "cannot be quantized: " + (key.map { "\($0) " } ?? "") + Shown.text(detail)
  }

  private var parametersText: String {
    let all = sizes.parameterCount
    let experts = sizes.experts?.parameterCount ?? 0
    let share = Format.fixed(100 * Double(experts) / Double(max(all, 1)), 1)
    return Format.count(all) + (experts > 0 ? ", \(share) % of them in experts" : "")
  }

  private var sourceTexts: [String] {
    guard let provenance = model.provenance?.object else { return [] }
    var parts: [String] = []
    if let layout = provenance["layout"]?.string { parts.append("\(Shown.text(layout)) layout") }
    if let files = provenance["sources"]?.array {
      let bytes = files.reduce(0) { $0 &+ ($1.object?["bytes"]?.int ?? 0) }
      parts.append("\(files.count) files, \(Format.bytes(bytes))")
    }
    var lines = [parts.joined(separator: ", ")]
    if let tool = provenance["tool"]?.string {
      let solver = provenance["options"]?.object?["solver"]?.string.map { ", scales by \(Shown.text($0))" } ?? ""
      lines.append("packed by \(Shown.text(tool))\(solver)")
    }
    if let kinds = provenance["requantized"]?.object?.members, !kinds.isEmpty {
      let list = kinds.map { "\(Format.count($0.value.int ?? 0)) \(Shown.text($0.key))" }.joined(separator: ", ")
      lines.append("quantized anew from codes of other tools (\(list)): errors of both add up")
    }
    return lines.filter { !$0.isEmpty }
  }

  // MARK: Tables

  /// Columns of numbers in ``sizeRows``.
  static let numbersOfSizes: Set<Int> = [1, 2, 4, 5]

  var sizeRows: [[String]] {
    var rows = [["class", "tensors", "parameters", "encoding", "bytes", "bits/weight"]]
    for part in sizes.classes {
      rows.append([
        part.name, Format.count(part.tensorCount), Format.count(part.parameterCount), typesText(part.types),
        Format.bytes(part.byteCount), part.bitsPerWeight.map { Format.fixed($0, 3) } ?? "",
      ])
    }
    let name = model.kind == .pack ? "files, tables, gaps" : "headers"
    rows.append([name, "", "", "", Format.bytes(sizes.overheadByteCount), ""])
    rows.append([
      "all", Format.count(model.tensors.count), Format.count(sizes.parameterCount), "",
      Format.bytes(sizes.fileByteCount), sizes.bitsPerWeight.map { Format.fixed($0, 3) } ?? "",
    ])
    return rows
  }

  private func typesText(_ types: [StoredType]) -> String {
    types.prefix(3).map(\.description).joined(separator: ", ") + (types.count > 3 ? ", …" : "")
  }

  private func printFamilies() {
    // Of a compressed chunk only the chunk has a size in the file.
    let isCompressed = model.chunks.contains { $0.codec == .zstd }
    var rows = [["tensor", "shape", "encoding", "count", isCompressed ? "unpacked" : "bytes"]]
    for family in TensorFamily.families(of: model.tensors) {
      let bytes = family.members.reduce(Int?.some(0)) { sum, member in
        sum.flatMap { sum in member.byteCount.map { sum + $0 } }
      }
      rows.append([
        Shown.text(family.name), "\(family.first.shape)", "\(family.first.type)",
        family.members.count == 1 ? "" : "×\(Format.count(family.members.count))", bytes.map(Format.bytes) ?? "?",
      ])
    }
    printTensors(rows)
  }

  /// A line for each; two lines, name and the rest, where a terminal is too narrow.
  private func printTensors(_ rows: [[String]]) {
    let width = Format.table(rows, right: [3, 4]).map(\.count).max() ?? 0
    guard let columns = Console.columns, columns < width else { return printSection(rows, right: [3, 4]) }
    let details = Format.table(rows.map { Array($0.dropFirst()) }, right: [2, 3])
    Console.print()
    for (index, (row, detail)) in zip(rows, details).enumerated() {
      let lines = "\(row[0])\n    \(detail)"
      Console.print(index == 0 ? Console.heading(lines) : lines)
    }
  }

  private func printAllTensors() {
    var rows = [
      ["tensor", "shape", "encoding", "bytes", "relative RMSE"] + (solutions == nil ? [] : Solutions.heading)
    ]
    for family in TensorFamily.families(of: model.tensors) {
      for tensor in family.members {
        rows.append(
          [
            Shown.text(tensor.name), "\(tensor.shape)", "\(tensor.type)", tensor.byteCount.map(Format.count) ?? "?",
            tensor.relativeRMSE.map { Format.fixed(Double($0), 4) } ?? "",
          ] + (solutions?.row(tensor) ?? []))
      }
    }
    printTensors(rows)
  }

  private func printFiles(all: Bool) {
    var rows: [[String]]
    if model.kind == .pack {
      rows = [["embedded file", "bytes"]]
      rows += model.files.map { [Shown.text($0.name), Format.count($0.byteCount)] }
    } else {
      guard model.shards.count > 1 else { return }
      rows = [["file", "bytes", "tensors"]]
      let shown = all || model.shards.count <= 8 ? model.shards : Array(model.shards.prefix(3))
      rows += shown.map {
        [Shown.text($0.name), Format.count($0.file.byteCount), Format.count($0.tensors.count)]
      }
      let rest = model.shards.count - shown.count
      if rest > 0 { rows.append(["… and \(Format.count(rest)) more, see --all"]) }
    }
    printSection(rows, right: [1, 2])
  }

  /// The tensors furthest from their source.
  static func worst(_ tensors: [StoredTensor]) -> [StoredTensor] {
    // Sorted by place: a description of a tensor is slow to move about.
    let errors = tensors.map { $0.relativeRMSE ?? 0 }
    let order = errors.indices.filter { errors[$0] > 0 }.sorted { a, b in
      errors[a] == errors[b] ? tensors[a].name < tensors[b].name : errors[a] > errors[b]
    }
    return order.prefix(5).map { tensors[$0] }
  }

  /// Columns of numbers in ``worstRows``.
  static let numbersOfWorst = Set(1...7)

  private func printWorst() {
    let rows = worstRows
    if !rows.isEmpty { printSection(rows, right: Self.numbersOfWorst) }
  }

  /// The tensors that lost the most, behind a heading; empty where none lost anything.
  var worstRows: [[String]] {
    let worst = Self.worst(model.tensors)
    guard !worst.isEmpty else { return [] }
    var rows = [["largest relative RMSE", "", "saturated"]]
    if solutions != nil { rows[0] += Solutions.heading }
    rows += worst.map { tensor in
      [
        Shown.text(tensor.name), Format.fixed(Double(tensor.relativeRMSE ?? 0), 4),
        Format.fixed(100 * Double(tensor.saturatedShare ?? 0), 2) + " %",
      ] + (solutions?.row(tensor) ?? [])
    }
    return rows
  }
}
