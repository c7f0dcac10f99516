/// A JSON document as a tree, with the byte position of every object member.
///
/// Numbers keep their text, so that nothing is rounded on the way in and integers can be told from floats.
package enum JSONValue: Sendable, Equatable {
  case null
  case bool(Bool)
  /// The number as written, e.g. `1e-06`.
  case number(String)
  case string(String)
  case array([JSONValue])
  case object(JSONObject)

  /// An integer written without fraction and exponent, or nil.
  package var int: Int? {
    guard case .number(let text) = self, text.utf8.allSatisfy({ $0 == 0x2D || (0x30...0x39).contains($0) }) else {
      return nil
    }
    return Int(text)
  }

  /// Any number as a double, or nil.
  package var double: Double? {
    if case .number(let text) = self { Double(text) } else { nil }
  }

  package var string: String? { if case .string(let value) = self { value } else { nil } }
  package var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
  package var array: [JSONValue]? { if case .array(let value) = self { value } else { nil } }
  package var object: JSONObject? { if case .object(let value) = self { value } else { nil } }
  package var isNull: Bool { self == .null }

  /// What kind of value this is, for messages: "a number", "an object".
  package var kind: String {
    switch self {
    case .null: "null"
    case .bool: "a boolean"
    case .number: "a number"
    case .string: "a string"
    case .array: "an array"
    case .object: "an object"
    }
  }
}

/// The members of an object in the order written. Keys are unique.
package struct JSONObject: Sendable, Equatable {
  package struct Member: Sendable, Equatable {
    package let key: String
    package let value: JSONValue
    /// Where the key starts in the document, in bytes; 0 for an object made in memory.
    package let byteOffset: Int

    package init(key: String, value: JSONValue, byteOffset: Int = 0) {
      self.key = key
      self.value = value
      self.byteOffset = byteOffset
    }
  }

  package private(set) var members: [Member] = []
  /// Where each key stands; empty as long as the members are few, when a search is cheaper than a table.
  private var index: [ExactKey: Int] = [:]

  private static var indexedCount: Int { 8 }

  /// Keys are equal when their bytes are; Swift's `String` would also equate composed and decomposed letters.
  private struct ExactKey: Hashable {
    let key: String
    static func == (a: ExactKey, b: ExactKey) -> Bool {
      a.key.utf8.count == b.key.utf8.count && a.key.utf8.elementsEqual(b.key.utf8)
    }
    func hash(into hasher: inout Hasher) {
      var key = key
      key.withUTF8 { unsafe hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
    }
  }

  package init() {}

  private func position(of key: String) -> Int? {
    let key = ExactKey(key: key)
    return index.isEmpty ? members.firstIndex { ExactKey(key: $0.key) == key } : index[key]
  }

  /// Adds a member; false, and no change, when the key is there already.
  @discardableResult
  package mutating func append(_ member: Member) -> Bool {
    guard position(of: member.key) == nil else { return false }
    members.append(member)
    if !index.isEmpty {
      index[ExactKey(key: member.key)] = members.count - 1
    } else if members.count > Self.indexedCount {
      for (position, member) in members.enumerated() { index[ExactKey(key: member.key)] = position }
    }
    return true
  }

  package subscript(key: String) -> JSONValue? { member(key)?.value }
  package func member(_ key: String) -> Member? { position(of: key).map { members[$0] } }

  package static func == (a: JSONObject, b: JSONObject) -> Bool {
    a.members.count == b.members.count
      && zip(a.members, b.members).allSatisfy { $0.key == $1.key && $0.value == $1.value }
  }
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByBooleanLiteral, ExpressibleByIntegerLiteral,
  ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
  package init(stringLiteral value: String) { self = .string(value) }
  package init(booleanLiteral value: Bool) { self = .bool(value) }
  package init(integerLiteral value: Int) { self = .number("\(value)") }
  package init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
  /// Members keep the order of the literal; a repeated key keeps its first value.
  package init(dictionaryLiteral elements: (String, JSONValue)...) {
    var object = JSONObject()
    for (key, value) in elements { object.append(.init(key: key, value: value)) }
    self = .object(object)
  }

  package init(_ value: Int) { self = .number("\(value)") }
  package init(_ value: UInt64) { self = .number("\(value)") }
  package init(_ value: String) { self = .string(value) }
  package init(_ value: Bool) { self = .bool(value) }
  /// The shortest text that reads back as the same double; JSON has no infinities or NaN, they become null.
  package init(_ value: Double) { self = value.isFinite ? .number("\(value)") : .null }
  /// The shortest text that reads back as the same float.
  package init(_ value: Float) { self = value.isFinite ? .number("\(value)") : .null }
}
