import Drift
import JSON

/// What `verify` says of a whole comparison.
struct VerifyReport {
  let document: JSONValue

  func print() {
    for line in DriftScreen.lines(document, columns: Console.columns) {
      Console.print(line.isHeading ? Console.heading(line.text) : line.text)
    }
  }

  /// What the process should end with; nil where all is well.
  var status: ExitStatus? {
    let verdict = document.object?["verdict"]?.object
    if verdict?["zero_drift"]?.bool == true { return .failed }
    return verdict?["status"]?.string == "fail" ? .gate : nil
  }
}
