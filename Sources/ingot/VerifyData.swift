import Decoding
import Drift
import JSON
import Tensors
import Tokenizers

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

  /// Questions that any model answers, so that `verify` works without data: of facts, order, spelling and form.
  static let builtIn: [String] = [
    "What is the capital of Egypt?", "What is the capital of Norway?", "What day comes after Tuesday?",
    "What month comes before May?", "What is 7 times 8?", "What is 12 + 30?", "Spell garden backwards.",
    "Sort 9 4 7 1", "Write JSON for Ada, age 36, born on Monday.", "Count from 3 to 9.", "Name three colours.",
    "What is the opposite of cold?",
  ]

  /// - Parameters: files as given; without a file of prompts the built-in ones are used.
  init(prompts path: String?, text: String?, limit: Int?) throws(Failure) {
    if let path {
      source = path
      prompts = try Self.prompts(in: path)
    } else {
      source = "built-in"
      prompts = Self.builtIn.map { VerifyPrompt(prompt: $0) }
    }
    if let limit { prompts = Array(prompts.prefix(limit)) }
    if let text {
      let content = try PromptSource.string(try Self.contents(of: text), "`\(text)`")
      guard !content.isEmpty else { throw Failure(emptyText: text) }
      self.text = (text, content)
    }
  }

  private static func contents(of path: String) throws(Failure) -> [UInt8] {
    do throws(FileError) {
      let file = try MappedFile(path: path)
      return file.bytes.array
    } catch { throw Failure(error) }
  }

  /// Lines of JSON, each an object with `prompt` and what else there is.
  private static func prompts(in path: String) throws(Failure) -> [VerifyPrompt] {
    var prompts: [VerifyPrompt] = []
    for (index, line) in try contents(of: path).split(
      separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false
    ).enumerated() {
      guard line.contains(where: { $0 != 0x20 && $0 != 0x09 && $0 != 0x0D }) else { continue }
      prompts.append(try prompt(Array(line), path, line: index + 1))
    }
    guard !prompts.isEmpty else { throw Failure(prompts: path, line: nil, detail: "holds no prompts") }
    return prompts
  }

  private static func prompt(_ bytes: [UInt8], _ path: String, line: Int) throws(Failure) -> VerifyPrompt {
    let document: JSONValue
    do throws(JSONError) { document = try unsafe JSONParser.parse(bytes.span.bytes) } catch {
      throw Failure(prompts: path, line: line, detail: "\(error.reason) at byte \(error.byteOffset) of the line")
    }
    guard let object = document.object else {
      throw Failure(prompts: path, line: line, detail: "is \(document.kind), not an object")
    }
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

/// The data as token ids: what a record keeps.
struct EncodedData {
  /// By prompt: the ids with the chat template around.
  var prompts: [[Int]] = []
  var texts: [ScoredText] = []
  var pairs: [ScoredDrift.Pair] = []
  /// What the texts are: `answers`, `generations`, or a file.
  var textSource = "answers"
  /// Answers that do not fit the model's positions.
  var cut = 0

  /// Texts from answers and pairs; of a file, windows of whole blocks.
  ///
  /// - Parameters:
  ///   - fill: the end token, with which the last block of an answer is filled as decoding would.
  ///   - longest: positions of the longest text, a multiple of the block length.
  init(_ data: VerifyData, _ tokenizer: Tokenizer, blockLength: Int, windowLength: Int, fill: Int, longest: Int)
    throws(TokenizerError)
  {
    for prompt in data.prompts {
      let ids = try tokenizer.encode(conversation: [.init(.user, prompt.prompt)])
      prompts.append(ids)
      func add(_ answer: String) throws(TokenizerError) {
        let all = try ids + tokenizer.encode(answer, findingSpecial: false) + [fill]
        if all.count > longest { cut += 1 }
        let tokens = Array(all.prefix(longest))
        guard tokens.count > ids.count else { return }
        texts.append(
          ScoredText(tokens: tokens, scored: ids.count..<tokens.count, blockLength: blockLength, fill: fill))
      }
      if let answer = prompt.answer { try add(answer) }
      if let chosen = prompt.chosen, let rejected = prompt.rejected {
        let count = texts.count
        try add(chosen)
        try add(rejected)
        if texts.count == count + 2 { pairs.append(.init(chosen: count, rejected: count + 1)) }
      }
    }
    guard let text = data.text else { return }
    textSource = texts.isEmpty ? text.source : "answers and \(text.source)"
    let ids = try tokenizer.encode(text.content, findingSpecial: false)
    let length = max(blockLength, min(windowLength, longest) / blockLength * blockLength)
    for start in stride(from: 0, to: ids.count, by: length) {
      let window = Array(ids[start..<min(ids.count, start + length)])
      // A short rest would be scored with next to no context.
      guard window.count >= min(blockLength, ids.count) else { continue }
      texts.append(ScoredText(tokens: window, scored: 0..<window.count, blockLength: blockLength, fill: nil))
    }
  }

  /// Outputs of the reference as the texts, where there are no others.
  mutating func addGenerations(_ outputs: [BlockDiffusion.Output], blockLength: Int, fill: Int) {
    textSource = "generations"
    for (prompt, output) in zip(prompts, outputs) where !output.tokens.isEmpty {
      let tokens = prompt + output.tokens
      texts.append(
        ScoredText(
          tokens: tokens, scored: prompt.count..<tokens.count, blockLength: blockLength,
          fill: output.stopped ? fill : nil))
    }
  }
}
