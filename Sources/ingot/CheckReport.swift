import Inspection
import JSON
import Models
import Pack
import Safetensors
import Text

/// What `inspect --check` found.
enum CheckReport {
  case pack(path: String, PackCheck.Report)
  case checkpoint(path: String, CheckpointCheck.Report)

  var isSound: Bool {
    switch self {
    case .pack(_, let report): report.violations.isEmpty
    case .checkpoint(_, let report): report.isSound
    }
  }

  func print() {
    switch self {
    case .pack(let path, let report): Self.print(report, path: path)
    case .checkpoint(_, let report): Self.print(report)
    }
  }

  // MARK: Packs

  private static func print(_ report: PackCheck.Report, path: String) {
    guard !report.violations.isEmpty else {
      let root = (try? PackFile(path: path)).map { "; root hash \(XXH3.text($0.header.rootHash))" } ?? ""
      Console.print(
        "check: all \(Format.count(report.chunkCount)) chunks, \(Format.bytes(report.byteCount)), agree with their "
          + "hashes\(root)")
      return
    }
    let damaged = Set(report.violations.compactMap(\.chunkText)).count
    let rules = Set(report.violations.map(\.rule.rawValue)).sorted().map(String.init).joined(separator: ", ")
    Console.print(
      damaged > 0
        ? "check: \(Format.count(damaged)) of \(Format.count(report.chunkCount)) chunks are damaged (rules \(rules))"
        : "check: the file is damaged (rules \(rules))")
    for violation in report.violations {
      var place = violation.subject.map { [Shown.text($0)] } ?? []
      if let range = violation.byteRange {
        place.append("bytes \(Format.count(range.lowerBound)) to \(Format.count(range.upperBound))")
      }
      Console.print("  \(place.isEmpty ? "the file" : place.joined(separator: ", "))")
      Console.print("    rule \(violation.rule.rawValue): \(Shown.text(violation.detail))")
    }
    Console.print()
    Console.print("hint: \(hint(report))")
  }

  private static func hint(_ report: PackCheck.Report) -> String {
    switch report.violations.first?.rule {
    case .magic: "this is no ingot pack"
    case .readVersion, .requiredFeatures: "a newer ingot wrote it; update to read it"
    case .length, .fileLength: "the copy is probably incomplete; copy the file again"
    default: "copy the file again; if it repeats, run `ingot quantize` with the checkpoint again"
    }
  }

  // MARK: Checkpoints

  private static func print(_ report: CheckpointCheck.Report) {
    if let error = report.broken {
      Console.print("check: rule \(error.rule.rawValue) of safetensors is broken: \(error.message)")
      Console.print("  \(error.location)")
      if let hint = error.hint { Console.print("\nhint: \(hint)") }
      return
    }
    let whole =
      "\(Format.count(report.tensorCount)) tensors, \(Format.bytes(report.byteCount)) in "
      + "\(Format.count(report.fileCount)) file\(report.fileCount == 1 ? "" : "s")"
    let unscanned =
      report.unscannedCount == 0 ? "" : " (\(Format.count(report.unscannedCount)) of other types not scanned)"
    guard !report.nonFinite.isEmpty else {
      Console.print("check: all \(whole), keep the rules; every weight is finite\(unscanned)")
      return
    }
    let count = Format.count(report.nonFinite.count)
    Console.print("check: \(count) of \(whole), have weights that are not finite\(unscanned)")
    for bad in report.nonFinite {
      Console.print("  \(Shown.text(bad.tensor)), first at row \(bad.row), column \(bad.column)")
      Console.print("    \(Shown.text(bad.file)), byte \(Format.count(bad.byteOffset))")
    }
    Console.print()
    Console.print("hint: damaged, or diverged in training; compare the files with their published hashes")
  }

  // MARK: JSON

  /// Schema `ingot.inspect.check/1`.
  var json: JSONValue {
    switch self {
    case .pack(let path, let report): Self.json(report, path)
    case .checkpoint(let path, let report): Self.json(report, path)
    }
  }

  private static func json(_ report: PackCheck.Report, _ path: String) -> JSONValue {
    let root = (try? PackFile(path: path)).map { JSONValue.string(XXH3.text($0.header.rootHash)) }
    return [
      "schema": "ingot.inspect.check/1",
      "path": .string(path),
      "format": "ingot",
      "sound": .bool(report.violations.isEmpty),
      "bytes": JSONValue(report.byteCount),
      "chunks": JSONValue(report.chunkCount),
      "tensors": .null,
      "root_hash": root ?? .null,
      "violations": .array(
        report.violations.map { violation in
          [
            "rule": JSONValue(violation.rule.rawValue),
            "detail": .string(violation.detail),
            "subject": violation.subject.map { .string($0) } ?? .null,
            "file": .null,
            "begin": violation.byteRange.map { JSONValue($0.lowerBound) } ?? .null,
            "end": violation.byteRange.map { JSONValue($0.upperBound) } ?? .null,
          ]
        }),
      "not_finite": [],
    ]
  }

  private static func json(_ report: CheckpointCheck.Report, _ path: String) -> JSONValue {
    let broken: [JSONValue] =
      report.broken.map { error in
        [
          [
            "rule": JSONValue(error.rule.rawValue),
            "detail": .string(error.message),
            "subject": error.tensor.map { .string("tensor `\($0)`") } ?? .null,
            "file": .string(error.path),
            "begin": error.byteOffset.map { JSONValue($0) } ?? .null,
            "end": .null,
          ]
        ]
      } ?? []
    return [
      "schema": "ingot.inspect.check/1",
      "path": .string(path),
      "format": .string(ModelFiles.Kind(of: path).rawValue),
      "sound": .bool(report.isSound),
      "bytes": JSONValue(report.byteCount),
      "chunks": .null,
      "tensors": JSONValue(report.tensorCount),
      "root_hash": .null,
      "violations": .array(broken),
      "not_finite": .array(
        report.nonFinite.map { bad in
          [
            "tensor": .string(bad.tensor), "file": .string(bad.file), "row": JSONValue(bad.row),
            "column": JSONValue(bad.column), "byte_offset": JSONValue(bad.byteOffset),
          ]
        }),
    ]
  }
}

extension PackViolation {
  /// The chunk meant, if it is about one: `chunk 412`.
  fileprivate var chunkText: Substring? {
    guard let subject, subject.hasPrefix("chunk ") else { return nil }
    return subject.prefix { $0 != "," }
  }
}
