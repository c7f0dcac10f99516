// Types as documents: what the compiler knows of a type is what stands in the JSON.

extension JSONValue {
  /// The document of a value. Names of properties become keys, `nonFinite` as `non_finite`, in the order in which they are
  /// declared; what is nil is null, so that every key stands.
  ///
  /// The value's `encode(to:)` must not throw, as those that the compiler writes do not.
  package init(encoding value: some Encodable) {
    do { self = try TreeEncoder.tree(of: value) } catch { preconditionFailure("\(type(of: value)): \(error)") }
  }

  /// `klFullMean` as `kl_full_mean`, `relativeRMSE` as `relative_rmse`, `firstKDenseReplace` as `first_k_dense_replace`; what
  /// has no capitals stays.
  static func key(_ name: String) -> String {
    let characters = Array(name)
    var key = ""
    for (index, character) in characters.enumerated() {
      if index > 0, character.isUppercase {
        let next = index + 1 < characters.count ? characters[index + 1] : nil
        if !characters[index - 1].isUppercase || next?.isLowercase == true { key += "_" }
      }
      key += character.lowercased()
    }
    return key
  }
}

/// Makes the tree of one value.
private final class TreeEncoder: Encoder {
  let codingPath: [any CodingKey] = []
  let userInfo: [CodingUserInfoKey: Any] = [:]
  /// Null until a container is asked for.
  var tree = JSONValue.null

  static func tree(of value: some Encodable) throws -> JSONValue {
    switch value {
    case let value as Bool: return JSONValue(value)
    case let value as String: return JSONValue(value)
    case let value as Int: return JSONValue(value)
    case let value as UInt64: return JSONValue(value)
    case let value as Double: return JSONValue(value)
    case let value as Float: return JSONValue(value)
    default:
      let encoder = TreeEncoder()
      try value.encode(to: encoder)
      return encoder.tree
    }
  }

  func container<Key: CodingKey>(keyedBy type: Key.Type) -> KeyedEncodingContainer<Key> {
    if tree.object == nil { tree = .object(JSONObject()) }
    return KeyedEncodingContainer(Members(encoder: self))
  }

  func unkeyedContainer() -> any UnkeyedEncodingContainer {
    if tree.array == nil { tree = [] }
    return Elements(encoder: self)
  }

  func singleValueContainer() -> any SingleValueEncodingContainer { Single(encoder: self) }

  /// A value inside a value is a value: nobody asks for containers in containers.
  static var isOneLevel: Never { preconditionFailure("containers do not nest") }
}

private struct Members<Key: CodingKey>: KeyedEncodingContainerProtocol {
  let encoder: TreeEncoder
  let codingPath: [any CodingKey] = []

  private func append(_ key: Key, _ value: JSONValue) {
    var object = encoder.tree.object ?? JSONObject()
    encoder.tree = .null  // so that the members are not copied
    object.append(.init(key: JSONValue.key(key.stringValue), value: value))
    encoder.tree = .object(object)
  }

  func encodeNil(forKey key: Key) { append(key, .null) }
  func encode<T: Encodable>(_ value: T, forKey key: Key) throws { append(key, try TreeEncoder.tree(of: value)) }

  func encodeIfPresent(_ value: Bool?, forKey key: Key) throws { append(key, value.map { JSONValue($0) } ?? .null) }
  func encodeIfPresent(_ value: String?, forKey key: Key) throws { append(key, value.map { JSONValue($0) } ?? .null) }
  func encodeIfPresent(_ value: Int?, forKey key: Key) throws { append(key, value.map { JSONValue($0) } ?? .null) }
  func encodeIfPresent(_ value: UInt64?, forKey key: Key) throws { append(key, value.map { JSONValue($0) } ?? .null) }
  func encodeIfPresent(_ value: Double?, forKey key: Key) throws { append(key, value.map { JSONValue($0) } ?? .null) }
  func encodeIfPresent(_ value: Float?, forKey key: Key) throws { append(key, value.map { JSONValue($0) } ?? .null) }
  func encodeIfPresent<T: Encodable>(_ value: T?, forKey key: Key) throws {
    append(key, try value.map { try TreeEncoder.tree(of: $0) } ?? .null)
  }

  func nestedContainer<K: CodingKey>(keyedBy: K.Type, forKey: Key) -> KeyedEncodingContainer<K> {
    TreeEncoder.isOneLevel
  }
  func nestedUnkeyedContainer(forKey: Key) -> any UnkeyedEncodingContainer { TreeEncoder.isOneLevel }
  func superEncoder() -> any Encoder { TreeEncoder.isOneLevel }
  func superEncoder(forKey: Key) -> any Encoder { TreeEncoder.isOneLevel }
}

private struct Elements: UnkeyedEncodingContainer {
  let encoder: TreeEncoder
  let codingPath: [any CodingKey] = []
  var count: Int { encoder.tree.array?.count ?? 0 }

  private func append(_ value: JSONValue) {
    var elements = encoder.tree.array ?? []
    encoder.tree = .null  // so that the elements are not copied
    elements.append(value)
    encoder.tree = .array(elements)
  }

  func encodeNil() { append(.null) }
  func encode<T: Encodable>(_ value: T) throws { append(try TreeEncoder.tree(of: value)) }

  func nestedContainer<K: CodingKey>(keyedBy: K.Type) -> KeyedEncodingContainer<K> { TreeEncoder.isOneLevel }
  func nestedUnkeyedContainer() -> any UnkeyedEncodingContainer { TreeEncoder.isOneLevel }
  func superEncoder() -> any Encoder { TreeEncoder.isOneLevel }
}

private struct Single: SingleValueEncodingContainer {
  let encoder: TreeEncoder
  let codingPath: [any CodingKey] = []

  func encodeNil() { encoder.tree = .null }
  func encode<T: Encodable>(_ value: T) throws { encoder.tree = try TreeEncoder.tree(of: value) }
}
