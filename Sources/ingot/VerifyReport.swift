import Drift
import DriftPage
import JSON
import Pack
import Storage
import Tensors

// Where a report goes: screen, page, pack, exit code.

extension DriftReport {
  /// Writes the page, whole or not at all.
  func writePage(to path: String, replacing: Bool) throws(Failure) {
    let bytes = Array(DriftPage.html(self).utf8)
    do throws(FileError) {
      let output = try OutputFile(path: path, replaces: replacing)
      let span = bytes.span
      try unsafe output.write(span.bytes, at: 0)
      try output.commit()
    } catch { throw Failure(error) }
  }

  /// Refuses a pack whose bytes are not those that its hashes name: a report in it would be about other numbers.
  static func requireSound(_ path: String, threads: Int, progress: (Double) -> Void) throws(Failure) {
    do throws(PackError) {
      let check = try PackCheck(path: path)
      let total = Double(max(check.byteCount, 1))
      let report = try check.run(threads: threads) { progress(Double($0) / total) }
      if let violation = report.violations.first { throw .broken(violation, path: path) }
    } catch { throw Failure(error) }
  }

  /// Puts the report into the pack, which must still be the one that was measured.
  func attach(to path: String, progress: (Double) -> Void) throws(Failure) {
    do throws(PackError) {
      let amendment = try PackAmendment(path: path, rootHash: UInt64(candidate.hash, radix: 16))
      let total = Double(max(amendment.byteCount, 1))
      _ = try Interrupt.lookingOut { () throws(PackError) in
        try amendment.attach(
          Array(json.text().utf8), progress: { progress(Double($0) / total) },
          isInterrupted: { Interrupt.isRequested })
      }
    } catch { throw Failure(error) }
  }

  func print() {
    for line in DriftScreen.lines(self, columns: Console.columns) {
      Console.print(line.isHeading ? Console.heading(line.text) : line.text)
    }
  }

  /// What the process should end with; nil where all is well.
  var status: ExitStatus? {
    if verdict.zeroDrift { return .failed }
    guard verdict.status == .fail else { return nil }
    return verdict.gates.contains { !$0.passed } ? .gate : .failed
  }
}
