import Glibc
import JSON
import Text
import Tokenizers

/// Where a prompt comes from, read and checked.
enum PromptSource {
  /// All of stdin, without one line end at its end.
  static func standardInput() throws(Failure) -> String {
    if isatty(STDIN_FILENO) == 1 { Console.note("type the prompt; end it with Ctrl-D") }
    var bytes = try TextInput.contents(of: TextInput.standardInput)
    if bytes.last == UInt8(ascii: "\n") { bytes.removeLast() }
    if bytes.last == UInt8(ascii: "\r") { bytes.removeLast() }
    return try TextInput.string(bytes, TextInput.named(TextInput.standardInput))
  }

  /// Ids between white space, or a JSON array of them; `-` is stdin.
  static func tokens(file path: String) throws(Failure) -> [Int] {
    let source = TextInput.named(path)
    let bytes = try TextInput.contents(of: path)
    let isArray = bytes.first { !isSpace($0) } == UInt8(ascii: "[")
    return isArray ? try arrayTokens(bytes, source) : try plainTokens(bytes, source)
  }

  /// An array of functions, as chat templates take them.
  static func tools(file path: String) throws(Failure) -> JSONValue {
    let bytes = try TextInput.contents(of: path)
    let document: JSONValue
    do throws(JSONError) { document = try unsafe JSONParser.parse(bytes.span.bytes) } catch {
      throw Failure(tools: path, detail: "\(error.reason), at byte \(error.byteOffset)")
    }
    guard let elements = document.array else { throw Failure(tools: path, detail: "it holds \(document.kind)") }
    guard elements.allSatisfy({ $0.object != nil }), ChatTemplate.canPass(document) else {
      throw Failure(tools: path, detail: "an element is no object, or holds a whole number of more than 64 bits")
    }
    return document
  }

  private static func arrayTokens(_ bytes: [UInt8], _ source: String) throws(Failure) -> [Int] {
    let document: JSONValue
    do throws(JSONError) { document = try unsafe JSONParser.parse(bytes.span.bytes) } catch {
      throw Failure(tokens: source, detail: error.reason, byteOffset: error.byteOffset)
    }
    let elements = document.array ?? []
    if let wrong = elements.firstIndex(where: { $0.int == nil }) {
      throw Failure(
        tokens: source, detail: "the array holds \(elements[wrong].kind) that is no integer",
        byteOffset: start(ofElement: wrong, bytes))
    }
    return elements.compactMap(\.int)
  }

  /// Where an element of an array that was parsed stands.
  private static func start(ofElement index: Int, _ bytes: [UInt8]) -> Int {
    var (depth, commas, isInString) = (0, 0, false)
    var offset = 0
    while offset < bytes.count {
      let byte = bytes[offset]
      if depth == 1, commas == index, !isInString, !isSpace(byte), byte != UInt8(ascii: ",") { return offset }
      switch byte {
      case UInt8(ascii: "\\") where isInString: offset += 1
      case UInt8(ascii: "\""): isInString.toggle()
      case _ where isInString: break
      case UInt8(ascii: "["), UInt8(ascii: "{"): depth += 1
      case UInt8(ascii: "]"), UInt8(ascii: "}"): depth -= 1
      case UInt8(ascii: ",") where depth == 1: commas += 1
      default: break
      }
      offset += 1
    }
    return 0
  }

  private static func plainTokens(_ bytes: [UInt8], _ source: String) throws(Failure) -> [Int] {
    var ids: [Int] = []
    var start = 0
    for word in bytes.split(omittingEmptySubsequences: false, whereSeparator: isSpace) {
      defer { start = word.endIndex + 1 }
      guard !word.isEmpty else { continue }
      let text = String(decoding: word, as: UTF8.self)
      guard let id = Int(text) else {
        throw Failure(tokens: source, detail: "`\(Shown.text(text, limit: 40))` is no integer", byteOffset: start)
      }
      ids.append(id)
    }
    return ids
  }

  private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }
}

/// Lines of stdin, one by one.
struct InputLines {
  private var rest: [UInt8] = []
  private var isAtEnd = false

  /// The next line without its end; nil when there is none.
  mutating func next() throws(Failure) -> [UInt8]? {
    while true {
      if let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
        var line = Array(rest[..<end])
        rest.removeFirst(end + 1)
        if line.last == UInt8(ascii: "\r") { line.removeLast() }
        return line
      }
      if isAtEnd {
        guard !rest.isEmpty else { return nil }
        defer { rest = [] }
        return rest
      }
      if let more = try TextInput.read() { rest += more } else { isAtEnd = true }
    }
  }
}
