import JSON

/// A value of a tokenizer file that knows its path, so that every complaint says where.
struct Field {
  let file: TokenizerError.File
  let path: String
  let value: JSONValue
  /// Of the nearest key around the value.
  let byteOffset: Int

  /// The document itself, which must be an object.
  static func document(_ bytes: [UInt8], _ file: TokenizerError.File) throws(TokenizerError) -> Field {
    do throws(JSONError) {
      let value = try unsafe JSONParser.parse(bytes.span.bytes)
      return Field(file: file, path: "", value: value, byteOffset: 0)
    } catch {
      throw .json(file, error)
    }
  }

  var place: TokenizerError.Place { .init(file: file, path: path, byteOffset: byteOffset) }

  private func wrongKind(_ expected: String) -> TokenizerError {
    .wrongKind(place, expected: expected, found: value.kind)
  }

  func unsupported(_ what: String) -> TokenizerError { .unsupported(place, what: what) }

  func object() throws(TokenizerError) -> JSONObject {
    guard let object = value.object else { throw wrongKind("an object") }
    return object
  }

  func string() throws(TokenizerError) -> String {
    guard let string = value.string else { throw wrongKind("a string") }
    return string
  }

  func int() throws(TokenizerError) -> Int {
    guard let int = value.int else { throw wrongKind("an integer") }
    return int
  }

  func bool() throws(TokenizerError) -> Bool {
    guard let bool = value.bool else { throw wrongKind("a boolean") }
    return bool
  }

  func elements() throws(TokenizerError) -> [Field] {
    guard let array = value.array else { throw wrongKind("an array") }
    return array.enumerated().map { index, value in
      Field(file: file, path: "\(path)[\(index)]", value: value, byteOffset: byteOffset)
    }
  }

  /// A member, or nil when it is absent or null.
  func optional(_ key: String) throws(TokenizerError) -> Field? {
    guard let member = try object().member(key), !member.value.isNull else { return nil }
    let path = path.isEmpty ? key : "\(path).\(key)"
    return Field(file: file, path: path, value: member.value, byteOffset: member.byteOffset)
  }

  /// A member that must be there and not null.
  func required(_ key: String) throws(TokenizerError) -> Field {
    guard let field = try optional(key) else {
      throw .missing(.init(file: file, path: path.isEmpty ? key : "\(path).\(key)", byteOffset: byteOffset))
    }
    return field
  }

  /// A boolean member, false when absent or null.
  func flag(_ key: String) throws(TokenizerError) -> Bool { try optional(key)?.bool() ?? false }

  /// The `type` of a step of the pipeline.
  func type() throws(TokenizerError) -> String { try required("type").string() }
}
