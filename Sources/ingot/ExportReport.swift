import Conversion
import Export
import JSON
import Kernels
import Models
import Storage
import Tensors
import Text

/// What `export` says before and after.
struct ExportReport {
  private let exporter: Exporter
  /// The pack or checkpoint, as it was named.
  private let model: String
  private let output: String?
  private let notes: [String]
  /// Bytes of memory at most, and threads.
  private let memory: Int
  private let threads: Int

  /// - Parameter converter: of a checkpoint that is exported as it is quantized.
  init(_ exporter: Exporter, model: String, output: String?, converter: Converter? = nil) {
    let notes = converter?.plan.model.notes ?? []
    self.exporter = exporter
    memory = converter.map { $0.budget.peak + exporter.peakBeside } ?? exporter.peak
    threads = converter?.threads ?? exporter.threads
    self.model = model
    self.output = output
    self.notes =
      notes.map(\.text) + exporter.plan.source.store.notes.filter { !notes.contains($0) }.map(\.text)
      + exporter.plan.notes
  }

  private var plan: ExportPlan { exporter.plan }
  private var parameterCount: Int { plan.source.tensors.reduce(0) { $0 + $1.shape.elementCount } }

  private var bitsPerWeight: (all: Double, experts: Double) {
    let experts = plan.experts
    return (
      8 * Double(plan.byteCount) / Double(max(parameterCount, 1)),
      8 * Double(experts.byteCount) / Double(max(experts.parameterCount, 1))
    )
  }

  func printStart() {
    let experts = plan.experts.parameterCount
    var rows = [
      [
        "model",
        "\(model): \(plan.source.configuration.modelType), \(Format.count(parameterCount)) parameters, "
          + "\(Format.count(experts)) of experts",
      ],
      ["format", "\(plan.format.name), for \(plan.format.engines)"],
      ["memory", "\(Format.bytes(memory)) at most, \(threads) thread\(threads == 1 ? "" : "s")"],
    ]
    if let output {
      let free = OutputFile.freeBytes(beside: output).map { ", \(Format.bytes($0)) free" } ?? ""
      rows.append(["output", "\(output): \(Format.bytes(plan.byteCount))\(free)"])
    }
    for line in Format.table(rows) { Console.note(line) }
    Console.notes(notes)
  }

  func printEnd(seconds: Double) {
    let bits = bitsPerWeight
    let count = plan.files.count
    Console.note(
      (output == nil ? "would write " : "wrote ")
        + "\(Format.bytes(plan.byteCount)) (\(Format.count(plan.byteCount)) bytes) in \(count) file\(count == 1 ? "" : "s")"
    )
    Console.note(
      "bits per weight: \(Format.fixed(bits.all, 3)) in all, \(Format.fixed(bits.experts, 3)) of the experts")
    guard output != nil else { return }
    let rate = Format.bytes(Int(Double(exporter.sourceByteCount + plan.byteCount) / max(seconds, 1e-9)))
    Console.note("\(Format.fixed(seconds, 1)) s, \(rate)/s in and out")
  }

  /// Schema `ingot.export/1`.
  func json(seconds: Double, peakAnonymous: Int) -> JSONValue {
    let bits = bitsPerWeight
    return [
      "schema": "ingot.export/1", "dry_run": .bool(output == nil), "pack": .string(model),
      "output": output.map { .string($0) } ?? .null, "format": .string(plan.format.name),
      "output_bytes": JSONValue(plan.byteCount),
      "files": .array(plan.files.map { ["name": .string($0.name), "bytes": JSONValue($0.byteCount)] }),
      "parameters": JSONValue(parameterCount), "expert_parameters": JSONValue(plan.experts.parameterCount),
      "bits_per_weight": JSONValue(bits.all), "bits_per_weight_experts": JSONValue(bits.experts),
      "kernels": .string(exporter.kernels.name), "threads": JSONValue(threads),
      "memory_planned_bytes": JSONValue(memory), "memory_peak_anonymous_bytes": JSONValue(peakAnonymous),
      "seconds": JSONValue(seconds), "notes": .array(notes.map { JSONValue($0) }),
    ]
  }
}

/// What `export --list` says.
enum ExportList {
  static func print(asJSON: Bool) {
    guard !asJSON else { return Console.print(json) }
    for (number, format) in ExportFormats.all.enumerated() {
      if number > 0 { Console.print() }
      Console.print(Console.heading(format.name))
      var rows = [["  read by", format.engines], ["  holds", format.holds], ["  refuses", format.refuses]]
      let options = ExportOptions.Key.allCases.filter(format.options.contains).map { "--\($0.rawValue)" }
      if !options.isEmpty { rows.append(["  options", options.joined(separator: ", ")]) }
      for line in Format.table(rows) { Console.print(line) }
    }
  }

  /// Schema `ingot.export-list/1`.
  private static var json: JSONValue {
    [
      "schema": "ingot.export-list/1",
      "formats": .array(
        ExportFormats.all.map { format in
          [
            "name": .string(format.name), "engines": .string(format.engines), "holds": .string(format.holds),
            "refuses": .string(format.refuses),
            "encodings": .array(format.encodings.map { .string($0.description) }),
            "dtypes": .array(format.dtypes.map { .string($0.rawValue) }),
            "options": .array(
              ExportOptions.Key.allCases.filter(format.options.contains).map { .string($0.rawValue) }),
          ]
        }),
      "profiles": .array(
        GGUFProfile.all.map { ["name": .string($0.name), "engines": .string($0.engines)] }),
    ]
  }
}
