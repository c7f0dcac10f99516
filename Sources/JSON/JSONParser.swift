import Text

/// Why a document is not JSON we accept, and where.
package struct JSONError: Error, Equatable {
  private let problem: String
  /// The innermost key in whose value the fault lies, if there is one.
  private var key: String?
  /// Position of the offending byte, counted from the start of the document.
  package let byteOffset: Int

  fileprivate init(_ problem: String, byteOffset: Int) {
    self.problem = problem
    self.byteOffset = byteOffset
  }

  /// What is wrong, with the key it is wrong in; no place.
  package var reason: String { key.map { "\(problem) (in the value of `\($0)`)" } ?? problem }

  fileprivate func inValue(of key: String) -> JSONError {
    var error = self
    error.key = self.key ?? key
    return error
  }
}

/// How much a document may ask for: a tree takes many times the bytes of its text.
package struct JSONLimits: Sendable {
  package let byteCount: Int
  /// Values at any depth, of the document or, where it is read piece by piece, of a piece.
  package let valueCount: Int

  package init(byteCount: Int, valueCount: Int) {
    self.byteCount = byteCount
    self.valueCount = valueCount
  }

  /// What a person writes or a program settles with: configurations, recipes, a line of prompts.
  package static let settings = JSONLimits(byteCount: 16 << 20, valueCount: 1 << 18)
  /// What lists something: vocabularies, tensors, numbers of a report. The largest published tokenizers have 35 MB.
  package static let listing = JSONLimits(byteCount: 64 << 20, valueCount: 1 << 22)
}

/// A strict reader of RFC 8259 JSON for files from strangers.
///
/// Stricter than most: a repeated key is an error (two readers could each believe another value), strings must be
/// valid UTF-8 without lone surrogates, and nesting is limited. Errors carry the byte position.
package struct JSONParser: ~Copyable, ~Escapable {
  /// Deeper documents are refused: configs nest 3 deep, tokenizers 6.
  package static var maximumDepth: Int { 64 }

  private let bytes: RawSpan
  private let valueLimit: Int
  /// Whether values are counted anew for each piece of the document.
  private let readsPieces: Bool
  /// Whether objects and arrays keep what they hold; otherwise the document is only looked at.
  private let keepsValues: Bool
  private var offset = 0
  private var valueCount = 0

  @_lifetime(copy bytes)
  private init(
    _ bytes: RawSpan, _ limits: JSONLimits, readsPieces: Bool = false, keepsValues: Bool = true
  ) throws(JSONError) {
    guard bytes.byteCount <= limits.byteCount else {
      let (size, limit) = (Format.bytes(bytes.byteCount), Format.bytes(limits.byteCount))
      throw JSONError("the document has \(size), the limit is \(limit)", byteOffset: 0)
    }
    self.bytes = bytes
    valueLimit = limits.valueCount
    self.readsPieces = readsPieces
    self.keepsValues = keepsValues
  }

  /// Reads one document that fills `bytes`; white space around it is allowed.
  package static func parse(_ bytes: RawSpan, _ limits: JSONLimits = .listing) throws(JSONError) -> JSONValue {
    var parser = try JSONParser(bytes, limits)
    let value = try parser.value(depth: 0)
    try parser.requireEnd()
    return value
  }

  /// Whether a document is one that ``parse(_:_:)`` would read, without making its tree. Keys that are repeated are not
  /// looked for.
  package static func check(_ bytes: RawSpan, _ limits: JSONLimits = .listing) throws(JSONError) {
    var parser = try JSONParser(bytes, limits, keepsValues: false)
    _ = try parser.value(depth: 0)
    try parser.requireEnd()
  }

  package static func parse(_ text: String) throws(JSONError) -> JSONValue {
    try unsafe parse(Array(text.utf8).span.bytes)
  }

  /// Reads a document that is an object member by member, so that its tree is never there as a whole. That keys are not
  /// repeated is for the caller to see.
  ///
  /// - Parameter each: returns false to stop.
  /// - Returns: false if the document is no object.
  package static func parse(
    membersOf bytes: RawSpan, _ limits: JSONLimits, _ each: (JSONObject.Member) -> Bool
  ) throws(JSONError) -> Bool {
    try parse(bytes, limits, opening: "{") { parser throws(JSONError) in
      try parser.members(depth: 0) { _, member throws(JSONError) in each(member) }
    }
  }

  /// Reads a document that is an array element by element.
  ///
  /// - Parameter each: gets an element and where it starts; returns false to stop.
  /// - Returns: false if the document is no array.
  package static func parse(
    elementsOf bytes: RawSpan, _ limits: JSONLimits, _ each: (JSONValue, Int) -> Bool
  ) throws(JSONError) -> Bool {
    try parse(bytes, limits, opening: "[") { parser throws(JSONError) in
      try parser.elements(depth: 0) { _, value, start in each(value, start) }
    }
  }

  private static func parse(
    _ bytes: RawSpan, _ limits: JSONLimits, opening: Unicode.Scalar,
    _ pieces: (inout JSONParser) throws(JSONError) -> Bool
  ) throws(JSONError) -> Bool {
    var parser = try JSONParser(bytes, limits, readsPieces: true)
    parser.skipSpace()
    guard parser.peek() == UInt8(ascii: opening) else { return false }
    if try pieces(&parser) { try parser.requireEnd() }
    return true
  }

  private mutating func requireEnd() throws(JSONError) {
    skipSpace()
    guard offset == bytes.byteCount else { throw error("text after the end of the document") }
  }

  private func error(_ reason: String, at position: Int? = nil) -> JSONError {
    JSONError(reason, byteOffset: position ?? offset)
  }

  private func peek() -> UInt8? {
    offset < bytes.byteCount ? unsafe bytes.unsafeLoad(fromByteOffset: offset, as: UInt8.self) : nil
  }

  private mutating func skipSpace() {
    while let byte = peek(), byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { offset += 1 }
  }

  private mutating func expect(_ byte: UInt8, _ what: String) throws(JSONError) {
    guard peek() == byte else { throw error("expected \(what)") }
    offset += 1
  }

  private mutating func literal(_ text: StaticString, _ value: JSONValue) throws(JSONError) -> JSONValue {
    for byte in text.description.utf8 { try expect(byte, "`\(text)`") }
    return value
  }

  private mutating func value(depth: Int) throws(JSONError) -> JSONValue {
    guard depth < Self.maximumDepth else { throw error("nested deeper than \(Self.maximumDepth)") }
    skipSpace()
    valueCount = readsPieces && depth == 1 ? 1 : valueCount + 1
    guard valueCount <= valueLimit else { throw error("there are more than \(Format.count(valueLimit)) values") }
    switch peek() {
    case UInt8(ascii: "{"): return .object(try object(depth: depth))
    case UInt8(ascii: "["): return .array(try array(depth: depth))
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"): return try literal("true", .bool(true))
    case UInt8(ascii: "f"): return try literal("false", .bool(false))
    case UInt8(ascii: "n"): return try literal("null", .null)
    case UInt8(ascii: "-") where has(Array("-I".utf8)): throw error(notAValue)
    case UInt8(ascii: "-"), 0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39: return .number(try number())
    case nil: throw error("the document ends where a value is expected")
    default: throw error(notAValue)
    }
  }

  /// What stands where a value is expected: the kinds of text that are almost JSON are called by their names.
  private var notAValue: String {
    let mark: [UInt8] = [0xEF, 0xBB, 0xBF]
    if offset == 0, has(mark) { return "a byte order mark stands before the document; save the file without one" }
    for word in ["Infinity", "NaN", "-Infinity"] where has(Array(word.utf8)) {
      return "`\(word)` is no number of JSON; write null, or take the key out"
    }
    return "expected a value"
  }

  private func has(_ text: [UInt8]) -> Bool {
    offset + text.count <= bytes.byteCount
      && text.indices.allSatisfy { unsafe bytes.unsafeLoad(fromByteOffset: offset + $0, as: UInt8.self) == text[$0] }
  }

  /// The value of a key; an error says which key that is.
  private mutating func value(depth: Int, of key: String) throws(JSONError) -> JSONValue {
    do throws(JSONError) { return try value(depth: depth) } catch { throw error.inValue(of: key) }
  }

  private mutating func object(depth: Int) throws(JSONError) -> JSONObject {
    var object = JSONObject()
    _ = try members(depth: depth) { parser, member throws(JSONError) in
      guard !parser.keepsValues || object.append(member) else {
        throw parser.error("key \"\(member.key)\" appears twice in one object", at: member.byteOffset)
      }
      return true
    }
    return object
  }

  private mutating func array(depth: Int) throws(JSONError) -> [JSONValue] {
    var array: [JSONValue] = []
    _ = try elements(depth: depth) { parser, value, _ in
      if parser.keepsValues { array.append(value) }
      return true
    }
    return array
  }

  /// The members of an object, as far as `each` wants them; whether it wanted all.
  private mutating func members(
    depth: Int, _ each: (borrowing JSONParser, JSONObject.Member) throws(JSONError) -> Bool
  ) throws(JSONError) -> Bool {
    offset += 1
    skipSpace()
    if peek() == UInt8(ascii: "}") { offset += 1; return true }
    while true {
      skipSpace()
      let start = offset
      guard peek() == UInt8(ascii: "\"") else { throw error("expected a key in quotes") }
      let key = try string()
      skipSpace()
      try expect(UInt8(ascii: ":"), "`:`")
      let value = try value(depth: depth + 1, of: key)
      guard try each(self, JSONObject.Member(key: key, value: value, byteOffset: start)) else { return false }
      skipSpace()
      if peek() == UInt8(ascii: ",") { offset += 1; continue }
      try expect(UInt8(ascii: "}"), "`,` or `}`")
      return true
    }
  }

  /// The elements of an array, as far as `each` wants them; whether it wanted all.
  private mutating func elements(
    depth: Int, _ each: (borrowing JSONParser, JSONValue, Int) throws(JSONError) -> Bool
  ) throws(JSONError) -> Bool {
    offset += 1
    skipSpace()
    if peek() == UInt8(ascii: "]") { offset += 1; return true }
    while true {
      skipSpace()
      let start = offset
      guard try each(self, try value(depth: depth + 1), start) else { return false }
      skipSpace()
      if peek() == UInt8(ascii: ",") { offset += 1; continue }
      try expect(UInt8(ascii: "]"), "`,` or `]`")
      return true
    }
  }

  /// `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`
  private mutating func number() throws(JSONError) -> String {
    let start = offset
    if peek() == UInt8(ascii: "-") { offset += 1 }
    if peek() == UInt8(ascii: "0") { offset += 1 } else { try digits() }
    if peek() == UInt8(ascii: ".") { offset += 1; try digits() }
    if peek() == UInt8(ascii: "e") || peek() == UInt8(ascii: "E") {
      offset += 1
      if peek() == UInt8(ascii: "+") || peek() == UInt8(ascii: "-") { offset += 1 }
      try digits()
    }
    return text(start..<offset) ?? ""
  }

  private mutating func digits() throws(JSONError) {
    let start = offset
    while let byte = peek(), (0x30...0x39).contains(byte) { offset += 1 }
    guard offset > start else { throw error("expected a digit") }
  }

  /// The bytes as text, or nil when they are not UTF-8.
  private func text(_ range: Range<Int>) -> String? {
    // Not `String(validating:as:)`: its generic code looks up metadata on every call.
    let part = Span<UInt8>(_bytes: bytes.extracting(range))
    guard let valid = try? UTF8Span(validating: part) else { return nil }
    return String(copying: valid)
  }

  private mutating func string() throws(JSONError) -> String {
    let opening = offset
    offset += 1
    var result = ""
    var run = offset  // start of the bytes not yet copied
    while let byte = peek() {
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"):
        guard let plain = text(run..<offset) else { throw error("string is not valid UTF-8", at: run) }
        result += plain
        offset += 1
        if byte == UInt8(ascii: "\"") { return result }
        result.unicodeScalars.append(try escape())
        run = offset
      case 0..<0x20: throw error("control character in a string")
      default: offset += 1
      }
    }
    throw error("string without an end", at: opening)
  }

  private mutating func escape() throws(JSONError) -> Unicode.Scalar {
    let start = offset - 1
    guard let byte = peek() else { throw error("string without an end") }
    offset += 1
    switch byte {
    case UInt8(ascii: "\""): return "\""
    case UInt8(ascii: "\\"): return "\\"
    case UInt8(ascii: "/"): return "/"
    case UInt8(ascii: "b"): return "\u{8}"
    case UInt8(ascii: "f"): return "\u{C}"
    case UInt8(ascii: "n"): return "\n"
    case UInt8(ascii: "r"): return "\r"
    case UInt8(ascii: "t"): return "\t"
    case UInt8(ascii: "u"):
      let high = try hex4()
      guard (0xD800..<0xE000).contains(high) else { return Unicode.Scalar(high)! }  // not a surrogate
      guard high < 0xDC00, peek() == UInt8(ascii: "\\") else { throw error("lone surrogate in a string", at: start) }
      offset += 1
      try expect(UInt8(ascii: "u"), "the second half of a surrogate pair")
      let low = try hex4()
      guard (0xDC00..<0xE000).contains(low) else { throw error("lone surrogate in a string", at: start) }
      return Unicode.Scalar(0x10000 + (high - 0xD800) << 10 + (low - 0xDC00))!  // pairs are always scalars
    default: throw error("unknown escape in a string", at: start)
    }
  }

  private mutating func hex4() throws(JSONError) -> UInt32 {
    var value: UInt32 = 0
    for _ in 0..<4 {
      guard let byte = peek(), let digit = Character(Unicode.Scalar(byte)).hexDigitValue, byte < 0x80 else {
        throw error("expected four hexadecimal digits")
      }
      value = value << 4 | UInt32(digit)
      offset += 1
    }
    return value
  }
}
