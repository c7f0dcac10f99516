/// Why a document is not one of a type.
package struct JSONTypeError: Error, Sendable, Equatable, CustomStringConvertible {
  /// Keys and indices: `masked.kl.mean`; empty for the document.
  package let path: String
  /// Completes a sentence that begins with the path: "is a string, not a number".
  package let detail: String

  package var description: String { "\(path.isEmpty ? "the document" : "`\(path)`") \(detail)" }
}

extension JSONValue {
  /// A value from its document, as `JSONValue(encoding:)` made it. Unknown keys are ignored.
  ///
  /// - Parameter lenient: where it is given, it is told of each optional part that is not as it should be, and the part is nil.
  ///   Without it such a part is an error like any other.
  package func decoded<T: Decodable>(
    as type: T.Type = T.self, lenient: ((JSONTypeError) -> Void)? = nil
  ) throws(JSONTypeError) -> T {
    do { return try TreeDecoder(tree: self, path: "", lenient: lenient).decode(T.self) } catch {
      throw error as? JSONTypeError ?? JSONTypeError(path: "", detail: "cannot be read: \(error)")
    }
  }
}

private struct TreeDecoder: Decoder {
  let tree: JSONValue
  let path: String
  let lenient: ((JSONTypeError) -> Void)?
  let codingPath: [any CodingKey] = []
  let userInfo: [CodingUserInfoKey: Any] = [:]

  func error(_ detail: String) -> JSONTypeError { JSONTypeError(path: path, detail: detail) }

  func at(_ tree: JSONValue, _ path: String) -> TreeDecoder { TreeDecoder(tree: tree, path: path, lenient: lenient) }

  func decode<T: Decodable>(_ type: T.Type) throws -> T {
    func found<Value>(_ value: Value?, _ name: String) throws -> T {
      guard let value = value as? T else { throw error("is \(tree.kind), not \(name)") }
      return value
    }
    switch type {
    case is Bool.Type: return try found(tree.bool, "true or false")
    case is String.Type: return try found(tree.string, "a string")
    case is Int.Type: return try found(tree.int, "a whole number")
    case is UInt64.Type: return try found(text.flatMap { UInt64($0) }, "a whole number from 0")
    case is Double.Type: return try found(tree.double.flatMap { $0.isFinite ? $0 : nil }, "a finite number")
    case is Float.Type:
      return try found(text.flatMap { Float($0) }.flatMap { $0.isFinite ? $0 : nil }, "a finite number")
    default:
      do { return try T(from: self) } catch let found as JSONTypeError { throw found } catch {
        // What the standard library's own types find wrong, such as ends of a range in the wrong order.
        throw self.error("does not make sense")
      }
    }
  }

  private var text: String? { if case .number(let text) = tree { text } else { nil } }

  func container<Key: CodingKey>(keyedBy type: Key.Type) throws -> KeyedDecodingContainer<Key> {
    guard let object = tree.object else { throw error("is \(tree.kind), not an object") }
    return KeyedDecodingContainer(Members(decoder: self, object: object))
  }

  func unkeyedContainer() throws -> any UnkeyedDecodingContainer {
    guard let elements = tree.array else { throw error("is \(tree.kind), not an array") }
    return Elements(decoder: self, elements: elements)
  }

  func singleValueContainer() -> any SingleValueDecodingContainer { Single(decoder: self) }

  /// A value inside a value is a value: nobody asks for containers in containers.
  static var isOneLevel: Never { preconditionFailure("containers do not nest") }
}

private struct Members<Key: CodingKey>: KeyedDecodingContainerProtocol {
  let decoder: TreeDecoder
  let object: JSONObject
  let codingPath: [any CodingKey] = []

  var allKeys: [Key] { object.members.compactMap { Key(stringValue: $0.key) } }
  private func value(_ key: Key) -> JSONValue? { object[JSONValue.key(key.stringValue)] }
  func contains(_ key: Key) -> Bool { value(key) != nil }
  func decodeNil(forKey key: Key) -> Bool { value(key)?.isNull ?? true }

  func decode<T: Decodable>(_ type: T.Type, forKey key: Key) throws -> T {
    let name = JSONValue.key(key.stringValue)
    let path = decoder.path.isEmpty ? name : "\(decoder.path).\(name)"
    guard let value = object[name] else { throw JSONTypeError(path: path, detail: "is missing") }
    return try decoder.at(value, path).decode(T.self)
  }

  private func optional<T: Decodable>(_ type: T.Type, _ key: Key) throws -> T? {
    if decodeNil(forKey: key) { return nil }
    do { return try decode(T.self, forKey: key) } catch let error as JSONTypeError {
      guard let lenient = decoder.lenient else { throw error }
      lenient(error)
      return nil
    }
  }

  func decodeIfPresent(_ type: Bool.Type, forKey key: Key) throws -> Bool? { try optional(type, key) }
  func decodeIfPresent(_ type: String.Type, forKey key: Key) throws -> String? { try optional(type, key) }
  func decodeIfPresent(_ type: Int.Type, forKey key: Key) throws -> Int? { try optional(type, key) }
  func decodeIfPresent(_ type: UInt64.Type, forKey key: Key) throws -> UInt64? { try optional(type, key) }
  func decodeIfPresent(_ type: Double.Type, forKey key: Key) throws -> Double? { try optional(type, key) }
  func decodeIfPresent(_ type: Float.Type, forKey key: Key) throws -> Float? { try optional(type, key) }
  func decodeIfPresent<T: Decodable>(_ type: T.Type, forKey key: Key) throws -> T? { try optional(type, key) }

  func nestedContainer<K: CodingKey>(keyedBy: K.Type, forKey: Key) -> KeyedDecodingContainer<K> {
    TreeDecoder.isOneLevel
  }
  func nestedUnkeyedContainer(forKey: Key) -> any UnkeyedDecodingContainer { TreeDecoder.isOneLevel }
  func superDecoder() -> any Decoder { TreeDecoder.isOneLevel }
  func superDecoder(forKey: Key) -> any Decoder { TreeDecoder.isOneLevel }
}

private struct Elements: UnkeyedDecodingContainer {
  let decoder: TreeDecoder
  let elements: [JSONValue]
  let codingPath: [any CodingKey] = []
  private(set) var currentIndex = 0

  init(decoder: TreeDecoder, elements: [JSONValue]) {
    self.decoder = decoder
    self.elements = elements
  }

  var count: Int? { elements.count }
  var isAtEnd: Bool { currentIndex >= elements.count }

  mutating func decodeNil() -> Bool {
    guard !isAtEnd, elements[currentIndex].isNull else { return false }
    currentIndex += 1
    return true
  }

  mutating func decode<T: Decodable>(_ type: T.Type) throws -> T {
    guard !isAtEnd else { throw decoder.error("has \(elements.count) elements, which are too few") }
    let value = try decoder.at(elements[currentIndex], "\(decoder.path)[\(currentIndex)]").decode(T.self)
    currentIndex += 1
    return value
  }

  func nestedContainer<K: CodingKey>(keyedBy: K.Type) -> KeyedDecodingContainer<K> { TreeDecoder.isOneLevel }
  func nestedUnkeyedContainer() -> any UnkeyedDecodingContainer { TreeDecoder.isOneLevel }
  func superDecoder() -> any Decoder { TreeDecoder.isOneLevel }
}

private struct Single: SingleValueDecodingContainer {
  let decoder: TreeDecoder
  let codingPath: [any CodingKey] = []

  func decodeNil() -> Bool { decoder.tree.isNull }
  func decode<T: Decodable>(_ type: T.Type) throws -> T { try decoder.decode(T.self) }
}
