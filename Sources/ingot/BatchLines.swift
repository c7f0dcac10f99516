import JSON
import Models
import Text
import Tokenizers

/// The input of a batch, read: lines of JSON, each an object (Formats/run.md §6, Formats/score.md §1).
struct BatchLines<Line> {
  private(set) var lines: [Line] = []
  /// Keys that nothing reads, sorted.
  private(set) var unusedKeys: [String] = []

  /// - Parameters:
  ///   - path: what messages call the file.
  ///   - keys: that lines may have.
  ///   - read: makes a line of what stands there; gets its number, from 1.
  init(
    _ bytes: [UInt8], path: String, _ kind: BatchKind, keys: Set<String>,
    _ read: (inout LineReader, Int) throws(Failure) -> Line
  ) throws(Failure) {
    var unused: Set<String> = []
    for (index, line) in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).enumerated() {
      guard line.contains(where: { $0 != 0x20 && $0 != 0x09 && $0 != 0x0D }) else { continue }
      var reader = try LineReader(Array(line), "\(Shown.input(path)), line \(index + 1)", kind, keys: keys)
      lines.append(try read(&reader, index + 1))
      unused.formUnion(reader.unused)
    }
    guard !lines.isEmpty else { throw Failure(noLinesIn: path, kind) }
    unusedKeys = unused.sorted()
  }

  /// What a person should know of them.
  func remarks(_ path: String) -> [String] {
    unusedKeys.isEmpty ? [] : ["\(Shown.input(path)) has keys that nothing reads: \(SourceNote.list(unusedKeys))"]
  }
}

/// Reads the members of a line, each with its own complaint.
struct LineReader {
  let object: JSONObject
  /// File and line.
  let place: String
  /// Keys that nothing reads.
  private(set) var unused: Set<String> = []
  private let kind: BatchKind

  fileprivate init(_ bytes: [UInt8], _ place: String, _ kind: BatchKind, keys: Set<String>) throws(Failure) {
    self.place = place
    self.kind = kind
    let document: JSONValue
    do throws(JSONError) { document = try unsafe JSONParser.parse(bytes.span.bytes, .settings) } catch {
      throw Failure(batchLine: "\(error.reason) at byte \(error.byteOffset) of the line", place: place, kind)
    }
    guard let object = document.object else {
      throw Failure(batchLine: "it is \(document.kind), not an object", place: place, kind)
    }
    self.object = object
    for member in object.members where !keys.contains(member.key) { unused.insert(member.key) }
  }

  func failure(_ detail: String) -> Failure { Failure(batchLine: detail, place: place, kind) }

  /// Nil for a key that is absent or null.
  func value<Value>(
    _ key: String, _ wanted: String, _ convert: (JSONValue) -> Value?
  ) throws(Failure) -> Value? {
    guard let value = object[key], !value.isNull else { return nil }
    guard let converted = convert(value) else { throw failure("`\(key)` is \(value.kind) and must be \(wanted)") }
    return converted
  }

  /// A string or an array of them.
  func texts(_ key: String) throws(Failure) -> [String]? {
    guard let value = object[key], !value.isNull else { return nil }
    let strings = (value.array ?? [value]).map(\.string)
    let texts = strings.compactMap(\.self)
    guard texts.count == strings.count, !texts.contains("") else {
      throw failure("`\(key)` must be a string or an array of them, none empty")
    }
    return texts
  }

  /// Ids of tokens.
  func tokens(_ key: String) throws(Failure) -> [Int]? {
    guard let value = object[key], !value.isNull else { return nil }
    let ids = value.array?.compactMap(\.int)
    guard let ids, ids.count == value.array?.count else { throw failure("`\(key)` must be an array of token ids") }
    return ids
  }

  /// What is to be gone on from.
  ///
  /// - Parameter keys: of which one must be there: `prompt`, `messages` or `prompt_tokens`.
  mutating func prompt(_ keys: [String]) throws(Failure) -> BatchPrompt {
    let given = keys.filter { !(object[$0]?.isNull ?? true) }
    guard given.count < 2 else { throw failure("it has both `\(given[0])` and `\(given[1])`") }
    let content: BatchPrompt.Content
    switch given.first {
    case "messages": content = .messages(try messages())
    case "prompt_tokens": content = .tokens(try tokens("prompt_tokens") ?? [])
    case "prompt": content = .text(try value("prompt", "a string", \.string) ?? "")
    default: throw failure("it has no `prompt`")
    }
    return BatchPrompt(
      content: content, raw: try value("raw", "true or false", \.bool),
      system: try value("system", "a string", \.string))
  }

  private mutating func messages() throws(Failure) -> [ChatTemplate.Message] {
    guard let messages = try value("messages", "an array", \.array) else { return [] }
    guard !messages.isEmpty else { throw failure("`messages` is empty") }
    var read: [ChatTemplate.Message] = []
    for message in messages {
      for member in message.object?.members ?? [] where member.key != "role" && member.key != "content" {
        unused.insert("messages: \(member.key)")
      }
      guard let role = (message.object?["role"]?.string).flatMap({ ChatTemplate.Message.Role(rawValue: $0) }),
        let content = message.object?["content"]?.string
      else {
        throw failure(
          "`messages` must have objects with `role`, which is system, user or assistant, and `content`, a string")
      }
      read.append(ChatTemplate.Message(role, content))
    }
    return read
  }
}
