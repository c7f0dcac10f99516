import JSON
import Pack

/// An object of a record's document, whose fields are asked for by name; what is missing or of another kind is an error that
/// names it.
struct RecordFields {
  let object: JSONObject
  /// What it is called in errors; empty for the document.
  let name: String
  let path: String

  /// - Parameter value: an object.
  init(_ value: JSONValue, _ name: String, path: String) throws(RecordError) {
    guard let object = value.object else {
      throw .broken("`\(name)` of the document is \(value.kind), not an object", path: path)
    }
    self.object = object
    self.name = name
    self.path = path
  }

  private func full(_ key: String) -> String { name.isEmpty ? key : "\(name).\(key)" }

  func error(_ key: String, _ detail: String) -> RecordError {
    .broken("`\(full(key))` of the document \(detail)", path: path)
  }

  func value(_ key: String) throws(RecordError) -> JSONValue {
    guard let value = object[key] else { throw error(key, "is missing") }
    return value
  }

  func fields(_ key: String) throws(RecordError) -> RecordFields {
    try RecordFields(try value(key), full(key), path: path)
  }

  func array(_ key: String) throws(RecordError) -> [JSONValue] {
    guard let array = try value(key).array else { throw error(key, "is no array") }
    return array
  }

  /// An array of objects.
  func list(_ key: String) throws(RecordError) -> [RecordFields] {
    var list: [RecordFields] = []
    for (index, value) in try array(key).enumerated() {
      list.append(try RecordFields(value, "\(full(key))[\(index)]", path: path))
    }
    return list
  }

  func text(_ key: String) throws(RecordError) -> String {
    guard let text = try value(key).string else { throw error(key, "is no text") }
    return text
  }

  func bool(_ key: String) throws(RecordError) -> Bool {
    guard let bool = try value(key).bool else { throw error(key, "is neither true nor false") }
    return bool
  }

  /// - Parameter range: of what makes sense.
  func int(_ key: String, in range: Range<Int> = 0..<1 << 31) throws(RecordError) -> Int {
    try int(value(key), key, in: range)
  }

  private func int(_ value: JSONValue, _ key: String, in range: Range<Int>) throws(RecordError) -> Int {
    guard let int = value.int else { throw error(key, "is no whole number") }
    guard range.contains(int) else {
      throw error(key, "is \(int), outside \(range.lowerBound) … \(range.upperBound - 1)")
    }
    return int
  }

  func ints(_ key: String, in range: Range<Int>) throws(RecordError) -> [Int] {
    var ints: [Int] = []
    for value in try array(key) { ints.append(try int(value, key, in: range)) }
    return ints
  }

  /// `[first, end]`.
  func range(_ key: String, of count: Int) throws(RecordError) -> Range<Int> {
    let ends = try ints(key, in: 0..<count + 1)
    guard ends.count == 2, ends[0] <= ends[1] else { throw error(key, "is no range") }
    return ends[0]..<ends[1]
  }

  /// A finite number with all its bits: from its text, not by way of a wider type.
  func number<T: BinaryFloatingPoint & LosslessStringConvertible>(
    _ key: String, as type: T.Type = T.self
  ) throws(RecordError) -> T {
    guard let number: T = Self.number(try value(key)) else { throw error(key, "is no number") }
    return number
  }

  static func number<T: BinaryFloatingPoint & LosslessStringConvertible>(_ value: JSONValue) -> T? {
    guard case .number(let text) = value, let number = T(text), number.isFinite else { return nil }
    return number
  }

  func unsigned(_ key: String) throws(RecordError) -> UInt64 {
    guard case .number(let text) = try value(key), let number = UInt64(text) else {
      throw error(key, "is no whole number from 0")
    }
    return number
  }

  /// Sixteen hexadecimal digits.
  func hash(_ key: String) throws(RecordError) -> UInt64 {
    guard let hash = XXH3.parse(try text(key)) else { throw error(key, "is no hash") }
    return hash
  }

  func isNull(_ key: String) throws(RecordError) -> Bool { try value(key).isNull }
}
