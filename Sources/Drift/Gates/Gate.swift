package import JSON

/// Why the text of a gate was refused.
package struct GateError: Error, Equatable {
  package let expression: String
  /// Completes "the gate … cannot be used: ".
  package let reason: String
  /// A gate as it should look.
  package static var example: String { "masked.kl.mean > 0.03" }

  package init(expression: String, reason: String) {
    self.expression = expression
    self.reason = reason
  }
}

/// A limit on one number of a drift report, told as when it *fails*: `masked.kl.mean > 0.03`.
///
/// A person names the number by its key in the document, so that is where gates look: every property of ``DriftReport`` has
/// one.
package struct Gate: Sendable, Equatable {
  package enum Comparison: String, Sendable, CaseIterable {
    case less = "<"
    case atMost = "<="
    case greater = ">"
    case atLeast = ">="

    func holds(_ value: Double, _ limit: Double) -> Bool {
      switch self {
      case .less: value < limit
      case .atMost: value <= limit
      case .greater: value > limit
      case .atLeast: value >= limit
      }
    }
  }

  package let expression: String
  /// The path as written, without spaces around it.
  package let key: String
  package let comparison: Comparison
  package let limit: Double
  private let path: DocumentPath

  package init(_ expression: String) throws(GateError) {
    let refuse = { (reason: String) in GateError(expression: expression, reason: reason) }
    guard let start = expression.firstIndex(where: { "<>=!".contains($0) }) else {
      throw refuse("it has no `<`, `<=`, `>` or `>=`")
    }
    let sign = expression[start...].prefix { "<>=!".contains($0) }
    guard let comparison = Comparison(rawValue: String(sign)) else {
      throw refuse("`\(sign)` is no comparison; there are `<`, `<=`, `>` and `>=`")
    }
    let key = Self.trimmed(expression[..<start])
    guard !key.isEmpty else { throw refuse("nothing stands before `\(sign)`") }
    guard let path = DocumentPath(key) else { throw refuse("`\(key)` is no path of keys, such as `masked.kl.ci95[1]`") }
    let number = Self.trimmed(expression[sign.endIndex...])
    guard !number.isEmpty else { throw refuse("no number stands after `\(sign)`") }
    guard let limit = Double(number), limit.isFinite else {
      throw refuse("`\(number)` is no number\(number.hasSuffix("%") ? "; shares are written 0.05, not 5%" : "")")
    }
    (self.expression, self.key, self.comparison, self.limit, self.path) = (expression, key, comparison, limit, path)
  }

  private static func trimmed(_ text: Substring) -> String {
    String(text.drop { $0.isWhitespace }.reversed().drop { $0.isWhitespace }.reversed())
  }

  /// The number at the key; nil where nothing stands there, or something else.
  package func value(in document: JSONValue) -> Double? { path.value(in: document)?.double }

  /// Whether the document passes; a number that is missing does not, nor one that leaves out what is not finite.
  package func passes(_ document: JSONValue) -> Bool {
    guard let value = value(in: document), path.leftOut(in: document) == 0 else { return false }
    return !comparison.holds(value, limit)
  }

  /// Whether the part of the document that the key is in was measured at all.
  func hasSection(in document: JSONValue) -> Bool {
    guard let first = path.steps.first, let section = document.object?[first] else { return false }
    return !section.isNull && section.array != []
  }

  package func outcome(_ document: JSONValue) -> DriftReport.GateOutcome {
    let found = path.value(in: document)
    return DriftReport.GateOutcome(
      expression: expression, key: key,
      value: found?.int.map { .whole($0) } ?? found?.double.map { .real($0) }, limit: limit,
      leftOut: path.leftOut(in: document), passed: passes(document))
  }

  /// Why a gate cannot be told from the document, for `notes`; nil where it can.
  func complaint(_ document: JSONValue) -> String? {
    guard value(in: document) == nil else { return nil }
    guard let found = path.value(in: document) else {
      return "gate `\(expression)` fails because the report has no number at `\(key)`"
    }
    let inside = found.object?["mean"] == nil ? "" : "; its mean is at `\(key).mean`"
    return "gate `\(expression)` fails because `\(key)` is \(found.kind), not a number\(inside)"
  }
}
