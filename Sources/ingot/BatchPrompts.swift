import Decoding
import JSON
import Text
import Tokenizers

/// The prompts of `run --batch`: lines of JSON (Formats/run.md §6).
struct BatchPrompts {
  /// A prompt and what it says of its own decoding; nil is left to the command line.
  struct Line {
    enum Content {
      case text(String)
      case messages([ChatTemplate.Message])
    }
    /// In the file, from 1.
    let line: Int
    let content: Content
    let id: JSONValue?
    let raw: Bool?
    let system: String?
    let stop: [String]?
    let generationLength: Int?
    let blockLength: Int?
    let steps: Int?
    let threshold: Float?
    let temperature: Float?
    let topK: Int?
    let topP: Float?
    let seed: UInt64?

    /// Bytes of the prompt's text.
    var byteCount: Int {
      switch content {
      case .text(let text): text.utf8.count
      case .messages(let messages): messages.reduce(0) { $0 + $1.content.utf8.count }
      }
    }

    /// - Parameter stepsAreGiven: whether the command line says how many; otherwise they follow the block length.
    func options(over options: DecodingOptions, stepsAreGiven: Bool) -> DecodingOptions {
      var own = options
      own.generationLength = generationLength ?? options.generationLength
      own.blockLength = blockLength ?? options.blockLength
      own.steps = steps ?? (stepsAreGiven ? options.steps : own.blockLength)
      own.threshold = threshold ?? options.threshold
      own.temperature = temperature ?? options.temperature
      own.topK = topK ?? options.topK
      own.topP = topP ?? options.topP
      own.seed = seed ?? options.seed
      return own
    }
  }

  private(set) var lines: [Line] = []
  /// Keys that nothing reads, sorted.
  private(set) var unusedKeys: [String] = []

  /// - Parameter path: what messages call the file.
  init(_ bytes: [UInt8], path: String) throws(Failure) {
    var unused: Set<String> = []
    for (index, line) in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).enumerated() {
      guard line.contains(where: { $0 != 0x20 && $0 != 0x09 && $0 != 0x0D }) else { continue }
      let place = "\(Shown.input(path)), line \(index + 1)"
      lines.append(try LineReader(Array(line), place).line(index + 1, unused: &unused))
    }
    guard !lines.isEmpty else { throw Failure(noPromptsIn: path) }
    unusedKeys = unused.sorted()
  }
}

/// Reads the members of a line, each with its own complaint.
private struct LineReader {
  private let object: JSONObject
  private let place: String

  private static let keys: Set<String> = [
    "prompt", "messages", "id", "raw", "system", "stop", "gen_length", "block_length", "steps", "threshold",
    "temperature",
    "top_k", "top_p", "seed",
  ]

  init(_ bytes: [UInt8], _ place: String) throws(Failure) {
    self.place = place
    let document: JSONValue
    do throws(JSONError) { document = try unsafe JSONParser.parse(bytes.span.bytes, .settings) } catch {
      throw Failure(batchLine: "\(error.reason) at byte \(error.byteOffset) of the line", place: place)
    }
    guard let object = document.object else {
      throw Failure(batchLine: "it is \(document.kind), not an object", place: place)
    }
    self.object = object
  }

  func line(_ number: Int, unused: inout Set<String>) throws(Failure) -> BatchPrompts.Line {
    for member in object.members where !Self.keys.contains(member.key) { unused.insert(member.key) }
    return BatchPrompts.Line(
      line: number, content: try content(unused: &unused), id: object["id"],
      raw: try value("raw", "true or false", \.bool),
      system: try value("system", "a string", \.string), stop: try stop(),
      generationLength: try value("gen_length", "an integer", \.int),
      blockLength: try value("block_length", "an integer", \.int), steps: try value("steps", "an integer", \.int),
      threshold: try value("threshold", "a number", \.double).map { Float($0) },
      temperature: try value("temperature", "a number", \.double).map { Float($0) },
      topK: try value("top_k", "an integer", \.int), topP: try value("top_p", "a number", \.double).map { Float($0) },
      seed: try value("seed", "an integer from 0 on", \.seed))
  }

  private func content(unused: inout Set<String>) throws(Failure) -> BatchPrompts.Line.Content {
    let text = try value("prompt", "a string", \.string)
    guard let messages = try value("messages", "an array", \.array) else {
      guard let text else { throw Failure(batchLine: "it has no `prompt`", place: place) }
      guard !text.isEmpty else { throw Failure(batchLine: "`prompt` is empty", place: place) }
      return .text(text)
    }
    guard text == nil else { throw Failure(batchLine: "it has both `prompt` and `messages`", place: place) }
    guard !messages.isEmpty else { throw Failure(batchLine: "`messages` is empty", place: place) }
    return .messages(
      try messages.map { message throws(Failure) in
        for member in message.object?.members ?? [] where member.key != "role" && member.key != "content" {
          unused.insert("messages: \(member.key)")
        }
        guard let role = (message.object?["role"]?.string).flatMap({ ChatTemplate.Message.Role(rawValue: $0) }),
          let content = message.object?["content"]?.string
        else {
          throw Failure(
            batchLine:
              "`messages` must have objects with `role`, which is system, user or assistant, and `content`, a string",
            place: place)
        }
        return ChatTemplate.Message(role, content)
      })
  }

  /// A string or an array of them.
  private func stop() throws(Failure) -> [String]? {
    guard let value = object["stop"], !value.isNull else { return nil }
    let strings = (value.array ?? [value]).map(\.string)
    let texts = strings.compactMap(\.self)
    guard texts.count == strings.count, !texts.contains("") else {
      throw Failure(batchLine: "`stop` must be a string or an array of them, none empty", place: place)
    }
    return texts
  }

  /// Nil for a key that is absent or null.
  private func value<Value>(
    _ key: String, _ wanted: String, _ convert: (JSONValue) -> Value?
  ) throws(Failure) -> Value? {
    guard let value = object[key], !value.isNull else { return nil }
    guard let converted = convert(value) else {
      throw Failure(batchLine: "`\(key)` is \(value.kind) and must be \(wanted)", place: place)
    }
    return converted
  }
}

extension JSONValue {
  fileprivate var seed: UInt64? { if case .number(let text) = self { UInt64(text) } else { nil } }
}
