import Glibc
import JSON
import Storage
import Text

/// Answers of a batch as they come, in a file beside the one that they are for: what a run that was ended leaves, and what the same
/// command takes up (Formats/run.md §6).
struct BatchLog {
  static let schema = "ingot.batch/1"

  static func path(for output: String) -> String { output + ".partial" }

  /// By the prompt's line, each a line of the answers.
  private(set) var answers: [Int: JSONValue] = [:]
  /// What a person should know of what was there; nil where it was taken up or there was nothing.
  private(set) var remark: String?
  private let path: String
  private let log: LineLog
  private let lines: [Int]

  /// Takes up what is there of the same run, or begins.
  ///
  /// - Parameters:
  ///   - header: what the answers depend on.
  ///   - lines: of the prompts, in their order.
  ///   - startsAnew: whether what a run left is discarded.
  init(
    for output: String, header: [(key: String, value: JSONValue)], lines: [Int], startsAnew: Bool
  ) throws(Failure) {
    path = Self.path(for: output)
    self.lines = lines
    let descriptor = try Self.locked(path)
    // Closed with the log, or here.
    var isKept = false
    defer { if !isKept { close(descriptor) } }
    var first = JSONObject()
    for (key, value) in header { first.append(.init(key: key, value: value)) }
    let bytes = try TextInput.readAll(descriptor, path)
    guard !bytes.starts(with: TextInput.mark) else { throw Failure(markedBatch: path) }
    var whole = bytes.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0
    let found = bytes[..<whole].split(separator: UInt8(ascii: "\n"))
    if let line = found.first {
      guard let other = Self.object(line), other["schema"]?.string == Self.schema else {
        throw Failure(noBatchLog: path)
      }
      if startsAnew {
        whole = 0
        remark = "the \(Format.count(found.count - 1)) answers kept in `\(path)` are discarded, as --force says"
      } else if let key = header.first(where: { Self.bytes(other[$0.key]) != Self.bytes($0.value) })?.key {
        throw Failure(otherBatch: path, key: key, answers: found.count - 1)
      }
    } else if !bytes.isEmpty {
      // A run that ended within its first line has no answers, whichever it was.
      let start = Self.bytes(["schema": .string(Self.schema)]).dropLast()
      guard bytes.starts(with: start) || start.starts(with: bytes) else { throw Failure(noBatchLog: path) }
      remark = "`\(path)` ends within its first line and has no answers; the batch begins anew"
    }
    // What follows the last line end is half a line.
    guard ftruncate(descriptor, off_t(whole)) == 0 else { throw Failure(FileError("cut", path)) }
    if whole > 0 {
      let known = Set(lines)
      for (index, line) in found.enumerated().dropFirst() {
        guard let answer = Self.object(line), let number = answer["line"]?.int, known.contains(number),
          answer["text"]?.string != nil
        else { throw Failure(damagedBatch: path, line: index + 1) }
        answers[number] = .object(answer)
      }
    }
    isKept = true
    log = LineLog(path: path, descriptor: descriptor, byteCount: whole)
    if whole == 0 {
      do throws(FileError) { try log.append(.object(first)) } catch { throw Failure(batch: error) }
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

  mutating func append(_ line: Int, _ answer: JSONValue) throws(Failure) {
    do throws(FileError) { try log.append(answer) } catch { throw Failure(batch: error) }
    answers[line] = answer
  }

  /// The file of answers; nil while one is missing.
  private var wholeFile: [UInt8]? {
    var bytes: [UInt8] = []
    for line in lines {
      guard let answer = answers[line] else { return nil }
      bytes += Self.bytes(answer) + [UInt8(ascii: "\n")]
    }
    return bytes
  }

  /// Removes what is kept where the file of answers is there already, as by a run that ended right after it had written it.
  ///
  /// - Returns: whether that is so.
  func removeIfWritten(as output: String) throws(Failure) -> Bool {
    guard let bytes = wholeFile, try TextInput.contents(of: output) == bytes else { return false }
    _ = SystemCall.unlink(path)
    return true
  }

  /// Writes the file of answers, whole or not at all, and removes what was kept beside it.
  ///
  /// - Precondition: every prompt is answered.
  func finish(as output: String, replaces: Bool) throws(Failure) {
    guard let bytes = wholeFile else { preconditionFailure("a line has no answer") }
    do throws(FileError) {
      let file = try OutputFile(path: output, replaces: replaces)
      try unsafe file.write(bytes.span.bytes, at: 0)
      try file.commit()
    } catch { throw Failure(batch: error) }
    _ = SystemCall.unlink(path)
  }
}
