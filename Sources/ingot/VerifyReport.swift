import Drift
import JSON
import Pack
import Storage
import Tensors

/// A level that could not be measured: `missing[]` of a report.
struct MissingLevel {
  let level: String
  let failure: Failure

  var json: JSONValue { ["level": .string(level), "reason": .string(reason)] }
  var sentence: String { DriftScreen.missingSentence(json) }

  private var reason: String { failure.what + (failure.place.map { ", in \($0)" } ?? "") }
}

/// What `verify` says of a whole comparison.
struct VerifyReport {
  let document: JSONValue

  /// - Parameter measured: complete but for the gates.
  init(_ measured: JSONValue, _ gates: Gates) {
    let judgement = gates.judge(measured)
    var document = JSONObject()
    for member in measured.object?.members ?? [] {
      var value = member.value
      switch member.key {
      case "verdict":
        value = [
          "status": .string(judgement.status.rawValue), "gates": .array(judgement.gates),
          "zero_drift": member.value.object?["zero_drift"] ?? false,
        ]
      case "notes": value = .array((member.value.array ?? []) + judgement.notes.map { JSONValue($0) })
      default: break
      }
      document.append(.init(key: member.key, value: value))
    }
    self.document = .object(document)
  }

  /// Writes the page, whole or not at all.
  func writePage(to path: String, replacing: Bool) throws(Failure) {
    let bytes = Array(DriftPage.html(document: document).utf8)
    do throws(FileError) {
      let output = try OutputFile(path: path, replaces: replacing)
      let span = bytes.span
      try unsafe output.write(span.bytes, at: 0)
      try output.commit()
    } catch { throw Failure(error) }
  }

  /// Refuses a pack whose bytes are not those that its hashes name: a report in it would be about other numbers.
  static func requireSound(_ path: String, threads: Int, progress: (Double) -> Bool) throws(Failure) {
    do throws(PackError) {
      let check = try PackCheck(path: path)
      let total = Double(max(check.byteCount, 1))
      let report = try check.run(threads: threads) { _ = progress(Double($0) / total) }
      if let violation = report.violations.first { throw .broken(violation, path: path) }
    } catch { throw Failure(error) }
  }

  /// Puts the document into the pack, which must still be the one that was measured.
  func attach(to path: String, progress: (Double) -> Bool) throws(Failure) {
    let measured = document.object?["candidate"]?.object?["hash"]?.string.flatMap { UInt64($0, radix: 16) }
    do throws(PackError) {
      let amendment = try PackAmendment(path: path, rootHash: measured)
      let total = Double(max(amendment.byteCount, 1))
      _ = try Interrupt.lookingOut { () throws(PackError) in
        try amendment.attach(
          Array(document.text().utf8), progress: { _ = progress(Double($0) / total) },
          isInterrupted: { Interrupt.isRequested })
      }
    } catch { throw Failure(error) }
  }

  func print() {
    for line in DriftScreen.lines(document, columns: Console.columns) {
      Console.print(line.isHeading ? Console.heading(line.text) : line.text)
    }
  }

  /// What the process should end with; nil where all is well.
  var status: ExitStatus? {
    let verdict = document.object?["verdict"]?.object
    if verdict?["zero_drift"]?.bool == true { return .failed }
    guard verdict?["status"]?.string == "fail" else { return nil }
    let hasFailedGate = verdict?["gates"]?.array?.contains { $0.object?["passed"]?.bool == false } ?? false
    return hasFailedGate ? .gate : .failed
  }
}
