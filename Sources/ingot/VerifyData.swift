import JSON
import Storage

/// A question of a prompts file.
struct VerifyPrompt: Equatable {
  var prompt: String
  var answer: String?
  /// A better and a worse answer, as preferences are collected.
  var chosen: String?
  var rejected: String?
  var task: String?
  /// Line in the file, from 1.
  var line = 0
}

/// What models are compared on, as a person gave it.
struct VerifyData {
  var source: String
  var prompts: [VerifyPrompt]
  /// Plain text to be scored, if some was given.
  var text: (source: String, content: String)?
  /// Keys of the prompts that nothing reads, sorted.
  var unusedKeys: [String] = []

  /// Questions that any model answers, so that `verify` works without data: of facts, order, spelling and form.
  static let builtIn: [String] = [
    "What is the capital of Egypt?", "What is the capital of Norway?", "What day comes after Tuesday?",
    "What month comes before May?", "What is 7 times 8?", "What is 12 + 30?", "Spell garden backwards.",
    "Sort 9 4 7 1", "Write JSON for Ada, age 36, born on Monday.", "Count from 3 to 9.", "Name three colours.",
    "What is the opposite of cold?",
  ]

  /// - Parameters: files as given; without a file of prompts the built-in ones are used.
  init(prompts path: String?, text: String?, limit: Int?) throws(Failure) {
    try TextInput.requireApart([("--prompts", path), ("--text", text)])
    if let path {
      source = path
      (prompts, unusedKeys) = try Self.prompts(in: path)
    } else {
      source = "built-in"
      prompts = Self.builtIn.map { VerifyPrompt(prompt: $0) }
    }
    if let limit { prompts = Array(prompts.prefix(limit)) }
    if let text {
      let content = try TextInput.string(try TextInput.contents(of: text), TextInput.named(text))
      guard !content.isEmpty else { throw Failure(emptyText: text) }
      self.text = (text, content)
    }
  }

  /// Where something of a prompt stands, as a person would look for it.
  func place(of prompt: VerifyPrompt, _ key: String) -> String { "\(place(of: prompt)), `\(key)`" }

  func place(of prompt: VerifyPrompt) -> String {
    let source = TextInput.named(source)
    return prompt.line > 0 ? "\(source), line \(prompt.line)" : source
  }

  /// Lines of JSON, each an object with `prompt` and what else there is.
  private static func prompts(in path: String) throws(Failure) -> ([VerifyPrompt], unusedKeys: [String]) {
    var prompts: [VerifyPrompt] = []
    var unused: Set<String> = []
    for (index, line) in try TextInput.contents(of: path).split(
      separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false
    ).enumerated() {
      guard line.contains(where: { $0 != 0x20 && $0 != 0x09 && $0 != 0x0D }) else { continue }
      prompts.append(try prompt(Array(line), path, line: index + 1, unused: &unused))
    }
    guard !prompts.isEmpty else { throw Failure(prompts: path, line: nil, detail: "holds no prompts") }
    return (prompts, unused.sorted())
  }

  private static let keys: Set<String> = ["prompt", "answer", "chosen", "rejected", "task"]

  private static func prompt(
    _ bytes: [UInt8], _ path: String, line: Int, unused: inout Set<String>
  ) throws(Failure) -> VerifyPrompt {
    let document: JSONValue
    do throws(JSONError) { document = try unsafe JSONParser.parse(bytes.span.bytes, .settings) } catch {
      throw Failure(prompts: path, line: line, detail: "\(error.reason) at byte \(error.byteOffset) of the line")
    }
    guard let object = document.object else {
      throw Failure(prompts: path, line: line, detail: "is \(document.kind), not an object")
    }
    for member in object.members where !keys.contains(member.key) { unused.insert(member.key) }
    func text(_ key: String) throws(Failure) -> String? {
      guard let value = object[key], !value.isNull else { return nil }
      guard let text = value.string else {
        throw Failure(prompts: path, line: line, detail: "`\(key)` is \(value.kind), not a string")
      }
      return text
    }
    guard let prompt = try text("prompt"), !prompt.isEmpty else {
      throw Failure(prompts: path, line: line, detail: "has no `prompt`")
    }
    let result = VerifyPrompt(
      prompt: prompt, answer: try text("answer"), chosen: try text("chosen"), rejected: try text("rejected"),
      task: try text("task"), line: line)
    guard (result.chosen == nil) == (result.rejected == nil) else {
      throw Failure(prompts: path, line: line, detail: "has one of `chosen` and `rejected`; a pair needs both")
    }
    return result
  }
}
