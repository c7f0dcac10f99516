import JSON
import Journals
import Storage

/// Measurements by stage and group: those that a journal or parts hold, and those that are added.
final class KeptMeasurements {
  private struct Key: Hashable {
    let stage: String
    let group: Int
  }

  private var entries: [Key: (value: JSONValue, path: String)] = [:]
  private let share: Share?
  /// Where nothing is measured any more.
  private let isComplete: Bool
  let journal: Journal?
  private let output: (path: String, replaces: Bool)?
  /// Whether the part that was to be made is there.
  private(set) var isThere = false
  /// The lines of a part.
  private var lines: [JSONValue] = []

  static let version = 1
  private static func schema(_ version: Int) -> String { "ingot.drift-part/\(version)" }

  /// - Parameter run: which run it is.
  init(_ keeping: Keeping, run: JSONValue) throws(VerificationError) {
    func head(_ share: Share?, _ source: JSONValue = .null) -> JSONValue {
      [
        "schema": JSONValue(Self.schema(Self.version)), "part": share?.json ?? .null, "run": run, "source": source,
      ]
    }
    func opened(_ place: JournalPlace?, _ share: Share?) throws(VerificationError) -> Journal? {
      guard let place else { return nil }
      do throws(JournalError) { return try Journal(path: place.path, head: head(share, place.source)) } catch {
        throw .journal(error)
      }
    }
    switch keeping {
    case .nothing: (share, isComplete, journal, output) = (nil, false, nil, nil)
    case .journal(let place): (share, isComplete, journal, output) = (nil, false, try opened(place, nil), nil)
    case .part(let own, let path, let replaces, let journal):
      if journal != nil, !replaces, Self.isPart(path) {
        do throws(ReportPartError) {
          let (share, head, _) = try Self.part(path)
          try Self.requireSame(run, head, path)
          guard share == own else { throw .otherShare(share.index, of: share.count, path: path) }
        } catch { throw .part(error) }
        // A run that ended before it could take its journal away.
        let left = journal.flatMap { SystemCall.statusOfLink($0.path) == nil ? nil : $0 }
        (share, isComplete, self.journal, output, isThere) = (own, false, try opened(left, own), (path, false), true)
        return
      }
      (share, isComplete, self.journal, output) = (own, false, try opened(journal, own), (path, replaces))
      lines = [head(own)]
    case .parts(let paths):
      (share, isComplete, journal, output) = (nil, true, nil, nil)
      do throws(ReportPartError) { try read(paths, run) } catch { throw .part(error) }
    }
    if let journal {
      for entry in journal.entries {
        try add(entry, journal.path)
        lines.append(entry)
      }
    }
  }

  /// Whether this process measures a group; nil is what is not of groups.
  func measures(_ group: Int?) -> Bool {
    guard let share else { return true }
    return group.map(share.measures) ?? share.measuresModels
  }

  var isPart: Bool { output != nil }

  func entry(_ stage: String, _ group: Int?) throws(VerificationError) -> (value: JSONValue, path: String)? {
    let found = entries[Key(stage: stage, group: group ?? -1)]
    guard found == nil, isComplete else { return found }
    throw .part(.broken("no part holds `\(stage)`\(group.map { " of group \($0)" } ?? "")", path: ""))
  }

  func keep(_ stage: String, _ group: Int?, _ members: JSONValue) throws(VerificationError) {
    var object = JSONObject()
    object.append(.init(key: "stage", value: JSONValue(stage)))
    object.append(.init(key: "group", value: group.map { JSONValue($0) } ?? .null))
    for member in members.object?.members ?? [] { object.append(member) }
    do throws(JournalError) { try journal?.append(.object(object)) } catch { throw .journal(error) }
    if output != nil { lines.append(.object(object)) }
  }

  /// Writes the part, whole or not at all; without one nothing is done.
  func write() throws(VerificationError) {
    guard let output else { return }
    let end: JSONValue = ["end": JSONValue(lines.count)]
    let bytes = (lines + [end]).flatMap(HashedLines.line)
    do throws(FileError) {
      let file = try OutputFile(path: output.path, replaces: output.replaces)
      try file.write(bytes.bytes, at: 0)
      try file.commit()
    } catch { throw .part(.file(error)) }
  }

  private func add(_ entry: JSONValue, _ path: String) throws(VerificationError) {
    guard let stage = entry.object?["stage"]?.string, let group = entry.object?["group"],
      group.isNull || group.int != nil,
      entries.updateValue((entry, path), forKey: Key(stage: stage, group: group.int ?? -1)) == nil
    else { throw .part(.broken("a measurement stands in it twice, or does not say what it is of", path: path)) }
  }

  private func read(_ paths: [String], _ run: JSONValue) throws(ReportPartError) {
    var seen: [Int: String] = [:]
    var count: Int?
    var run = run
    for path in paths {
      let (share, head, measurements) = try Self.part(path)
      // Whoever joins parts computes nothing.
      if count == nil { run = run.with("computation", head["run"]?.object?["computation"]) }
      try Self.requireSame(run, head, path)
      if let count, share.count != count { throw .division(share.count, first: count, path: path) }
      count = share.count
      if let other = seen.updateValue(path, forKey: share.index) {
        throw .repeated(index: share.index, path: path, other: other)
      }
      for measurement in measurements {
        let group = measurement.object?["group"]?.int
        guard group.map({ $0 >= 0 && share.measures(group: $0) }) ?? share.measuresModels else {
          throw .broken("it holds a measurement that another part is to hold", path: path)
        }
        do throws(VerificationError) { try add(measurement, path) } catch {
          throw .broken("a measurement stands in it twice, or does not say what it is of", path: path)
        }
      }
    }
    let missing = (0..<(count ?? 0)).filter { seen[$0] == nil }
    guard missing.isEmpty else { throw .missing(missing, of: count ?? 0) }
  }

  private static func requireSame(_ run: JSONValue, _ head: JSONObject, _ path: String) throws(ReportPartError) {
    guard let difference = run.difference(to: head["run"] ?? .null) else { return }
    throw .other(
      difference.path, here: difference.own.text(indented: false), there: difference.other.text(indented: false),
      path: path)
  }

  /// Whether a file says that it is a part.
  static func isPart(_ path: String) -> Bool {
    guard let file = try? MappedFile(path: path) else { return false }
    let start = Array("{\"schema\":\"ingot.drift-part/".utf8)
    let bytes = file.bytes
    return bytes.byteCount > 17 + start.count && bytes.extracting(17..<17 + start.count).array == start
  }

  /// Reads a part.
  private static func part(
    _ path: String
  ) throws(ReportPartError) -> (share: Share, head: JSONObject, measurements: [JSONValue]) {
    let file: MappedFile
    do throws(FileError) { file = try MappedFile(path: path) } catch { throw .file(error) }
    guard isPart(path) else { throw .foreign(path: path) }
    let (documents, _, byteCount) = HashedLines.read(file.bytes)
    guard let head = documents.first?.object else { throw .broken("line 1 is not as it was written", path: path) }
    let found = head["schema"]?.string ?? ""
    guard found == schema(version) else { throw .version(found, path: path) }
    guard byteCount == file.byteCount else {
      throw .broken("line \(documents.count + 1) is not as it was written", path: path)
    }
    guard let end = documents.last?.object?["end"]?.int, end == documents.count - 1 else {
      throw .broken("its end is missing", path: path)
    }
    guard let part = head["part"]?.object, let index = part["index"]?.int, let count = part["of"]?.int,
      (1...PartCount.limit).contains(count), (0..<count).contains(index)
    else { throw .broken("its first line does not say which part it is", path: path) }
    return (Share(index: index, count: count), head, Array(documents.dropFirst().dropLast()))
  }
}

extension JSONValue {
  /// An object with another value of a key that it has.
  fileprivate func with(_ key: String, _ value: JSONValue?) -> JSONValue {
    var changed = JSONObject()
    for member in object?.members ?? [] {
      changed.append(.init(key: member.key, value: member.key == key ? value ?? .null : member.value))
    }
    return .object(changed)
  }
}
