package import JSON

// The report as JSON: written and read here.

extension DriftReport {
  package var json: JSONValue { JSONValue(encoding: self) }

  /// Why a document is no report.
  package enum ReadingError: Error, Sendable, Equatable {
    case noSchema
    case schema(String)
    case broken(JSONTypeError)
  }

  /// Reads a report that anybody may have written. A section or number that is not as documented is left out.
  ///
  /// - Parameter leftOut: told of what is left out.
  /// - Throws: ``ReadingError`` where the schema is another, or what every report has is missing.
  package init(json document: JSONValue, leftOut: @escaping (JSONTypeError) -> Void = { _ in }) throws(ReadingError) {
    guard let schema = document.object?["schema"]?.string else { throw .noSchema }
    guard schema == Self.currentSchema else { throw .schema(schema) }
    do throws(JSONTypeError) { self = try document.decoded(lenient: leftOut) } catch { throw .broken(error) }
  }
}
