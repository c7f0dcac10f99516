import Glibc
import JSON
import Storage
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
    return try TextInput.string(bytes, Shown.input(TextInput.standardInput))
  }

  /// Ids between white space, or a JSON array of them; `-` is stdin.
  ///
  /// - Parameter limit: as many as a prompt can have; where there are more, reading stops.
  static func tokens(file path: String, limit: Int) throws(Failure) -> [Int] {
    let ids = TokenIDs(Shown.input(path), limit)
    guard path == TextInput.standardInput || Machine.isStream(path) else { return try ids.read(file: path) }
    return try ids.read(try TextInput.contents(of: path))
  }

  /// An array of functions, as chat templates take them.
  static func tools(file path: String) throws(Failure) -> JSONValue {
    let bytes = try TextInput.contents(of: path)
    let document: JSONValue
    do throws(JSONError) { document = try unsafe JSONParser.parse(bytes.span.bytes) } catch {
      throw Failure(tools: Shown.input(path), detail: "\(error.reason), at byte \(error.byteOffset)")
    }
    guard let elements = document.array else {
      throw Failure(tools: Shown.input(path), detail: "it holds \(document.kind)")
    }
    guard elements.allSatisfy({ $0.object != nil }), ChatTemplate.canPass(document) else {
      throw Failure(
        tools: Shown.input(path), detail: "an element is no object, or holds a whole number of more than 64 bits")
    }
    return document
  }
}

/// Token ids as they are written down.
private struct TokenIDs {
  private let source: String
  private let limit: Int

  init(_ source: String, _ limit: Int) {
    self.source = source
    self.limit = limit
  }

  func read(file path: String) throws(Failure) -> [Int] {
    let file: MappedFile
    do throws(FileError) { file = try MappedFile(path: path) } catch { throw Failure(error) }
    let hasMark = file.byteCount >= 3 && file.bytes.extracting(first: 3).array == TextInput.mark
    return try read(hasMark ? file.bytes.extracting(3...) : file.bytes)
  }

  func read(_ bytes: [UInt8]) throws(Failure) -> [Int] { try read(bytes.bytes) }

  private func read(_ bytes: RawSpan) throws(Failure) -> [Int] {
    var ids: [Int] = []
    var problem: Failure?
    func add(_ id: Int?, _ detail: () -> String, _ byteOffset: Int) -> Bool {
      if let id, ids.count < limit {
        ids.append(id)
      } else if id != nil {
        problem = Failure(tokensOf: source, limit: limit)
      } else {
        problem = Failure(tokens: source, detail: detail(), byteOffset: byteOffset)
      }
      return problem == nil
    }
    do throws(JSONError) {
      // The bytes are not a tree: of each element only the number is kept.
      let limits = JSONLimits(byteCount: .max, valueCount: JSONLimits.settings.valueCount)
      let isArray = try JSONParser.parse(elementsOf: bytes, limits) { value, start in
        add(value.int, { "the array holds \(value.kind) that is no integer" }, start)
      }
      if !isArray {
        Self.forEachWord(of: bytes) { word, start in
          add(Int(word), { "`\(Shown.text(word, limit: 40))` is no integer" }, start)
        }
      }
    } catch { throw Failure(tokens: source, detail: error.reason, byteOffset: error.byteOffset) }
    if let problem { throw problem }
    return ids
  }

  /// - Parameter each: gets a word and where it starts; returns false to stop.
  private static func forEachWord(of bytes: RawSpan, _ each: (String, Int) -> Bool) {
    var start = 0
    while start < bytes.byteCount {
      var end = start
      while end < bytes.byteCount, !isSpace(bytes.integer(at: end)) { end += 1 }
      let word = String(decoding: bytes.extracting(start..<end).array, as: UTF8.self)
      guard word.isEmpty || each(word, start) else { return }
      start = end + 1
    }
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
