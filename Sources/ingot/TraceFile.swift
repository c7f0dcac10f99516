import Decoding
import Glibc
import JSON
import Storage

/// The record of a run, one line of JSON for each forward (Formats/run.md §2).
struct TraceFile {
  private let log: LineLog

  /// Creates the file, or opens a pipe or a device.
  ///
  /// - Parameter replaces: whether what is there is emptied. ``Outputs`` has looked at it, but that was before the model was opened.
  init(path: String, replaces: Bool) throws(Failure) {
    let isNew = !replaces && !Machine.isStream(path)
    let opened = SystemCall.open(
      path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (isNew ? O_EXCL : O_TRUNC), mode: 0o666)
    guard opened >= 0 else {
      if isNew, errno == EEXIST { throw Failure(outputExists: path, target: SystemCall.target(ofLink: path)) }
      throw Failure(FileError("create", path))
    }
    log = LineLog(path: path, descriptor: opened)
  }

  func append(_ record: StepRecord) throws(FileError) { try log.append(record.json) }
}

extension StepRecord {
  fileprivate var json: JSONValue {
    let commits = commits.map { commit -> JSONValue in
      [
        JSONValue(commit.position), JSONValue(commit.token), JSONValue(commit.probability), JSONValue(commit.margin),
      ]
    }
    var object = JSONObject()
    object.append(.init(key: "block", value: JSONValue(block)))
    object.append(.init(key: "step", value: JSONValue(step)))
    object.append(.init(key: "masked", value: JSONValue(masked)))
    object.append(.init(key: "commits", value: .array(commits)))
    if !experts.isEmpty {
      let layers = experts.map { rows in JSONValue.array(rows.map { .array($0.map { JSONValue($0) }) }) }
      object.append(.init(key: "experts", value: .array(layers)))
    }
    return .object(object)
  }
}
