import Glibc
import JSON
import Storage

/// Answers of a batch as they come, in a file beside the one that they are for: what a run that was ended leaves, and what the same
/// command takes up (Formats/run.md §6).
struct BatchLog {
  static let schema = "ingot.batch/1"

  static func path(for output: String) -> String { output + ".partial" }

  /// By the prompt's line, each a line of the answers.
  private(set) var answers: [Int: JSONValue] = [:]
  private let path: String
  private let log: LineLog
  private let lines: [Int]

  /// Takes up what is there of the same run, or begins.
  ///
  /// - Parameters:
  ///   - header: what the answers depend on.
  ///   - lines: of the prompts, in their order.
  ///   - startsAnew: whether what another run left is discarded.
  init(
    for output: String, header: [(key: String, value: JSONValue)], lines: [Int], startsAnew: Bool
  ) throws(Failure) {
    path = Self.path(for: output)
    self.lines = lines
    let descriptor = SystemCall.open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, mode: 0o666)
    guard descriptor >= 0 else { throw Failure(FileError("open", path)) }
    // Closed with the log, or here.
    var isKept = false
    defer { if !isKept { close(descriptor) } }
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK else {
      throw Failure(batchInUse: path)
    }
    var first = JSONObject()
    for (key, value) in header { first.append(.init(key: key, value: value)) }
    let bytes = try TextInput.contents(of: path)
    var whole = bytes.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0
    let found = bytes[..<whole].split(separator: UInt8(ascii: "\n"))
    if let line = found.first {
      guard let other = Self.object(line), other["schema"]?.string == Self.schema else {
        throw Failure(noBatchLog: path)
      }
      if let key = header.first(where: { other[$0.key] != $0.value })?.key {
        guard startsAnew else { throw Failure(otherBatch: path, key: key, answers: found.count - 1) }
        whole = 0
      }
    } else if !Array((JSONValue.object(first).text(indented: false)).utf8).starts(with: bytes) {
      throw Failure(noBatchLog: path)
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

  private static func object(_ line: ArraySlice<UInt8>) -> JSONObject? {
    let bytes = Array(line)
    return (try? unsafe JSONParser.parse(bytes.span.bytes, .settings))?.object
  }

  mutating func append(_ line: Int, _ answer: JSONValue) throws(Failure) {
    do throws(FileError) { try log.append(answer) } catch { throw Failure(batch: error) }
    answers[line] = answer
  }

  /// Writes the file of answers, whole or not at all, and removes what was kept beside it.
  ///
  /// - Precondition: every prompt is answered.
  func finish(as output: String, replaces: Bool) throws(Failure) {
    var bytes: [UInt8] = []
    for line in lines {
      guard let answer = answers[line] else { preconditionFailure("line \(line) has no answer") }
      bytes += (answer.text(indented: false) + "\n").utf8
    }
    do throws(FileError) {
      let file = try OutputFile(path: output, replaces: replaces)
      try unsafe file.write(bytes.span.bytes, at: 0)
      try file.commit()
    } catch { throw Failure(batch: error) }
    _ = SystemCall.unlink(path)
  }
}
