import Glibc
import JSON
import Storage
import Text

/// Results of a batch as they come, in a file beside the one that they are for: what a run that was ended leaves, and what the same
/// command takes up (Formats/run.md §6).
struct BatchLog {
  /// The key of a result that says why there is none.
  static let errorKey = "error"

  static func path(for output: String) -> String { output + ".partial" }

  /// By line of the input, each a line of the output.
  private(set) var results: [Int: JSONValue] = [:]
  /// What a person should know of what was there; nil where it was taken up or there was nothing.
  private(set) var remark: String?
  let path: String
  private let kind: BatchKind
  private let log: LineLog
  private let lines: [Int]

  /// Takes up what is there of the same run, or begins.
  ///
  /// - Parameters:
  ///   - header: what the results depend on.
  ///   - lines: of the input, in their order.
  ///   - startsAnew: whether what a run left is discarded.
  init(
    for output: String, _ kind: BatchKind, header: [(key: String, value: JSONValue)], lines: [Int], startsAnew: Bool
  ) throws(Failure) {
    path = Self.path(for: output)
    self.kind = kind
    self.lines = lines
    let descriptor = try Self.locked(path)
    // Closed with the log, or here.
    var isKept = false
    defer { if !isKept { close(descriptor) } }
    var first = JSONObject()
    first.append(.init(key: "schema", value: .string(kind.schema)))
    for (key, value) in header { first.append(.init(key: key, value: value)) }
    let bytes = try TextInput.readAll(descriptor, path)
    guard !bytes.starts(with: TextInput.mark) else { throw Failure(markedBatch: path, kind) }
    var whole = bytes.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0
    let found = bytes[..<whole].split(separator: UInt8(ascii: "\n"))
    if let line = found.first {
      guard let other = Self.object(line), other["schema"]?.string == kind.schema else {
        throw Failure(noBatchLog: path, kind)
      }
      if startsAnew {
        whole = 0
        remark = "the \(Format.count(found.count - 1)) \(kind.results) kept in `\(path)` are discarded, as --force says"
      } else if let key = header.first(where: { Self.bytes(other[$0.key]) != Self.bytes($0.value) })?.key {
        throw Failure(otherBatch: path, key: key, kept: found.count - 1, kind)
      }
    } else if !bytes.isEmpty {
      // A run that ended within its first line has no results, whichever it was.
      let start = Self.bytes(["schema": .string(kind.schema)]).dropLast()
      guard bytes.starts(with: start) || start.starts(with: bytes) else { throw Failure(noBatchLog: path, kind) }
      remark = "`\(path)` ends within its first line and has no \(kind.results); the batch begins anew"
    }
    // What follows the last line end is half a line.
    guard ftruncate(descriptor, off_t(whole)) == 0 else { throw Failure(FileError("cut", path)) }
    if whole > 0 {
      let known = Set(lines)
      for (index, line) in found.enumerated().dropFirst() {
        guard let result = Self.object(line), let number = result["line"]?.int, known.contains(number),
          result[kind.resultKey].map(kind.isResult) ?? (result[Self.errorKey]?.string != nil)
        else { throw Failure(damagedBatch: path, line: index + 1, kind) }
        results[number] = .object(result)
      }
    }
    isKept = true
    log = LineLog(path: path, descriptor: descriptor, byteCount: whole)
    if whole == 0 {
      do throws(FileError) { try log.append(.object(first)) } catch { throw Failure(batch: error, kind) }
    }
  }

  /// Opens the file of that name, or makes it, and keeps other runs out of it.
  private static func locked(_ path: String) throws(Failure) -> Int32 {
    while true {
      let descriptor = SystemCall.open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, mode: 0o666)
      guard descriptor >= 0 else { throw Failure(FileError("open", path)) }
      guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK else {
        close(descriptor)
        throw Failure(batchInUse: path)
      }
      // A run that ended between the two calls has removed the file that was opened.
      if let file = FileIdentity(of: descriptor), file == FileIdentity(of: path) { return descriptor }
      close(descriptor)
    }
  }

  /// Strings that are equal may differ in bytes.
  private static func bytes(_ value: JSONValue?) -> [UInt8] { value.map { Array($0.text(indented: false).utf8) } ?? [] }

  private static func object(_ line: ArraySlice<UInt8>) -> JSONObject? {
    let bytes = Array(line)
    return (try? unsafe JSONParser.parse(bytes.span.bytes, .settings))?.object
  }

  mutating func append(_ line: Int, _ result: JSONValue) throws(Failure) {
    do throws(FileError) { try log.append(result) } catch { throw Failure(batch: error, kind) }
    results[line] = result
  }

  /// Refuses results some of which are errors.
  ///
  /// - Parameter output: the file that they are in.
  func requireResults(in output: String) throws(Failure) {
    let failed = lines.filter { results[$0]?.object?[Self.errorKey] != nil }
    guard let first = failed.first else { return }
    throw Failure(noResults: failed.count, of: lines.count, first: first, output: output, kind)
  }

  /// The whole output; nil while a result is missing.
  private var wholeFile: [UInt8]? {
    var bytes: [UInt8] = []
    for line in lines {
      guard let result = results[line] else { return nil }
      bytes += Self.bytes(result) + [UInt8(ascii: "\n")]
    }
    return bytes
  }

  /// Removes what is kept where the output is there already, as by a run that ended right after it had written it.
  ///
  /// - Returns: whether that is so.
  func removeIfWritten(as output: String) throws(Failure) -> Bool {
    guard let bytes = wholeFile, try TextInput.contents(of: output) == bytes else { return false }
    _ = SystemCall.unlink(path)
    return true
  }

  /// Writes the output, whole or not at all, and removes what was kept beside it.
  ///
  /// - Precondition: every line has its result.
  func finish(as output: String, replaces: Bool) throws(Failure) {
    guard let bytes = wholeFile else { preconditionFailure("a line has no result") }
    do throws(FileError) {
      let file = try OutputFile(path: output, replaces: replaces)
      try unsafe file.write(bytes.span.bytes, at: 0)
      try file.commit()
    } catch { throw Failure(batch: error, kind) }
    _ = SystemCall.unlink(path)
  }
}
