import JSON

/// Reads keys of a `config.json`: `read…` what is used, `expect…` what is silently assumed.
///
/// A key we use must be there, because the reference class has defaults unrelated to any released model; a key we assume
/// may be absent, but must not contradict us.
struct ConfigurationReader {
  let object: JSONObject
  let path: String
  /// What stands before the names of keys in messages; empty for those of the document itself.
  private let prefix: String

  init(bytes: [UInt8], path: String) throws(ModelError) {
    self.path = path
    prefix = ""
    let value: JSONValue
    do { value = try unsafe JSONParser.parse(bytes.span.bytes, .settings) } catch {
      throw .configuration(key: nil, detail: error.reason, path: path, byteOffset: error.byteOffset)
    }
    guard let object = value.object else {
      throw .configuration(key: nil, detail: "the document is \(value.kind), not an object", path: path, byteOffset: 0)
    }
    self.object = object
  }

  private init(_ object: JSONObject, in outer: String, path: String) {
    self.object = object
    self.path = path
    prefix = outer + "."
  }

  /// Reads the keys of an object that is the value of a key.
  func inside(_ key: String, _ object: JSONObject) -> ConfigurationReader {
    ConfigurationReader(object, in: prefix + key, path: path)
  }

  func error(_ key: String, _ detail: String) -> ModelError {
    .configuration(key: prefix + key, detail: detail, path: path, byteOffset: object.member(key)?.byteOffset)
  }

  /// An integer within a range; `default` stands for a key that is absent or null, nil makes it required.
  func readInt(_ key: String, in range: ClosedRange<Int>, default fallback: Int? = nil) throws(ModelError) -> Int {
    guard let value = object[key], !value.isNull else {
      guard let fallback else { throw error(key, "is missing") }
      return fallback
    }
    guard let int = value.int else { throw error(key, "must be an integer, is \(value.kind)") }
    guard range.contains(int) else {
      throw error(key, "is \(int), must be \(range.lowerBound) to \(range.upperBound)")
    }
    return int
  }

  func readDouble(_ key: String, default fallback: Double? = nil) throws(ModelError) -> Double {
    guard let value = object[key], !value.isNull else {
      guard let fallback else { throw error(key, "is missing") }
      return fallback
    }
    // The arithmetic is binary32: beyond its range a number would be 0 or infinite there.
    guard let double = value.double, double > 0, Float(double).isNormal else {
      throw error(
        key, "must be a positive number between \(Float.leastNormalMagnitude) and \(Float.greatestFiniteMagnitude)")
    }
    return double
  }

  func readBool(_ key: String, default fallback: Bool) throws(ModelError) -> Bool {
    guard let value = object[key], !value.isNull else { return fallback }
    guard let bool = value.bool else { throw error(key, "must be true or false, is \(value.kind)") }
    return bool
  }

  func readString(_ key: String) throws(ModelError) -> String {
    guard let string = object[key]?.string else { throw error(key, "must be a string") }
    return string
  }

  /// Ids of tokens: none for a key that is absent, null or negative, as configurations write "off"; one, or a list of them.
  func readTokens(_ key: String, below count: Int) throws(ModelError) -> [Int] {
    guard let value = object[key], !value.isNull else { return [] }
    var tokens: [Int] = []
    for element in value.array ?? [value] {
      guard let token = element.int else {
        throw error(key, "must be a token's id or a list of them, holds \(element.kind)")
      }
      guard token < count else { throw error(key, "is \(token), but the vocabulary ends with \(count - 1)") }
      if token >= 0, !tokens.contains(token) { tokens.append(token) }
    }
    return tokens
  }

  /// The id of one token; nil for "off".
  func readToken(_ key: String, below count: Int) throws(ModelError) -> Int? {
    let tokens = try readTokens(key, below: count)
    guard tokens.count <= 1 else { throw error(key, "must be one token's id, is a list") }
    return tokens.first
  }

  /// Whether a key is there without a value.
  func isNull(_ key: String) -> Bool { object[key]?.isNull ?? false }

  /// Whether a key that may be 0, false, null, empty or absent asks for nothing.
  func isOff(_ key: String) -> Bool { object[key]?.isOff ?? true }

  /// The one value that is supported, where a key that is absent means another.
  func require(_ key: String, _ value: JSONValue) throws(ModelError) {
    guard object[key] == value else {
      let found = object[key].map { "is \($0.text(indented: false))" } ?? "is missing"
      throw error(key, "\(found); only \(value.text(indented: false)) is supported")
    }
  }

  /// The one value that we assume, in any spelling; where it is "off", any that asks for nothing.
  func expect(_ key: String, _ assumed: JSONValue) throws(ModelError) {
    guard let value = object[key], value != assumed else { return }
    if let number = assumed.double, value.double == number { return }
    if assumed.isOff, value.isOff { return }
    throw error(key, "is \(value.text(indented: false)); only \(assumed.text(indented: false)) is supported")
  }
}

extension JSONValue {
  /// Whether this is one of the ways in which configurations write "off".
  fileprivate var isOff: Bool {
    switch self {
    case .null, .bool(false), .number("0"): true
    case .object(let object): object.members.isEmpty
    case .array(let array): array.isEmpty
    default: false
    }
  }
}
