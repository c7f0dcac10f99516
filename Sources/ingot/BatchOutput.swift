import Inspection
import JSON
import Kernels
import Models
import Pack
import Storage
import Text
import Tokenizers

/// The file that the results of a batch go to, and what an interrupted run of the same batch left beside it.
struct BatchOutput {
  private let kind: BatchKind
  private let path: String
  private let force: Bool
  private let isQuiet: Bool
  private var outputs: Outputs
  /// Whether the results are there beside those that were kept: a run may have ended between writing the one and removing the other.
  private let mayBeWritten: Bool

  /// Refuses, before any work, a file that cannot be written or may not be replaced.
  ///
  /// - Parameters:
  ///   - model, files: what is read.
  ///   - force: whether results that are there are replaced, and those that are kept discarded.
  init(
    _ path: String, _ kind: BatchKind, model: String, files: [String?], force: Bool, isQuiet: Bool
  ) throws(Failure) {
    (self.kind, self.path, self.force, self.isQuiet) = (kind, path, force, isQuiet)
    outputs = Outputs(models: [model], files: files, force: force, isQuiet: isQuiet)
    mayBeWritten = !force && Machine.isRegularFile(path) && Machine.isRegularFile(BatchLog.path(for: path))
    if !mayBeWritten { try outputs.require(path) }
    try outputs.requireApart(BatchLog.path(for: path))
  }

  /// What is kept of the results; nil where all of them are in the file already.
  ///
  /// - Parameters:
  ///   - header: what the results depend on.
  ///   - lines: numbers of the lines of the input, in their order.
  mutating func log(header: [(key: String, value: JSONValue)], lines: [Int]) throws(Failure) -> BatchLog? {
    let log = try BatchLog(for: path, kind, header: header, lines: lines, startsAnew: force)
    if mayBeWritten {
      if try log.removeIfWritten(as: path) {
        if !isQuiet { Console.note("all \(kind.results) are in `\(path)` already; `\(log.path)` is removed") }
        try log.requireResults(in: path)
        return nil
      }
      try outputs.require(path)
    }
    if !isQuiet, let remark = log.remark { Console.notes([remark]) }
    if !isQuiet, !log.results.isEmpty {
      Console.note("\(log.results.count) of \(lines.count) \(kind.results) are there already; the rest follows")
    }
    return log
  }

  /// Writes the file, where every line has its result.
  ///
  /// - Throws: also where some of them are errors; the file is there then.
  func finish(_ log: BatchLog) throws(Failure) {
    try log.finish(as: path, replaces: force)
    try log.requireResults(in: path)
  }
}

extension RunModel {
  /// What all results of a batch depend on: where one of these differs, those that are kept are another run's.
  ///
  /// - Parameter input: the bytes of its lines.
  func batchHeader(
    _ input: [UInt8], _ compute: Compute, mask: Int
  ) throws(Failure) -> [(key: String, value: JSONValue)] {
    var files: [(key: String, value: JSONValue)] = []
    for name in ["config.json", GenerationConfiguration.fileName] + TokenizerError.File.allCases.map(\.rawValue) {
      do throws(ModelError) {
        files.append((name, try weights.file(named: name).map(JSONValue.hash(of:)) ?? .null))
      } catch {
        throw Failure(error)
      }
    }
    return [("tool", .string(toolVersion)), ("model", .string(String(try identity().hash, radix: 16)))] + files + [
      ("mask", JSONValue(mask)), ("prompts", .hash(of: input)), ("kernels", .string(compute.kernels.name)),
      ("activations", .string(compute.activations.rawValue)),
      ("kv_cache_dtype", .string(compute.keyValues.rawValue)),
    ]
  }
}

extension JSONValue {
  /// The XXH3 of some bytes, in hexadecimal.
  static func hash(of bytes: [UInt8]) -> JSONValue { JSONValue(String(unsafe XXH3.hash(bytes.span.bytes), radix: 16)) }
}
