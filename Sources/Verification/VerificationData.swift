import JSON
import Text

/// What models are compared on, as a person gave it.
package struct VerificationData: Sendable {
  /// A question of a prompts file.
  package struct Prompt: Sendable, Equatable {
    package var prompt: String
    package var answer: String?
    /// A better and a worse answer, as preferences are collected.
    package var chosen: String?
    package var rejected: String?
    package var task: String?
    /// Line in the file, from 1.
    package var line = 0
  }

  /// File of the prompts, or `built-in`.
  package var source: String
  package var prompts: [Prompt]
  /// Plain text to be scored, if some was given.
  package var text: (source: String, content: String)?
  /// Keys of the prompts that nothing reads, sorted.
  package var unusedKeys: [String] = []

  /// Questions that any model answers, so that `verify` works without data: of facts, order, spelling and form.
  private static let builtIn: [String] = [
    "What is the capital of Egypt?", "What is the capital of Norway?", "What day comes after Tuesday?",
    "What month comes before May?", "What is 7 times 8?", "What is 12 + 30?", "Spell garden backwards.",
    "Sort 9 4 7 1", "Write JSON for Ada, age 36, born on Monday.", "Count from 3 to 9.", "Name three colours.",
    "What is the opposite of cold?",
  ]

  /// The built-in prompts.
  package init() {
    source = "built-in"
    prompts = Self.builtIn.map { Prompt(prompt: $0) }
  }

  /// The prompts of a file: lines of JSON, each an object of one of the forms of ``PromptForm``.
  ///
  /// - Parameter path: what messages call it.
  package init(prompts bytes: [UInt8], path: String) throws(VerificationError) {
    source = path
    prompts = []
    var unused: Set<String> = []
    for (index, line) in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).enumerated() {
      guard line.contains(where: { $0 != 0x20 && $0 != 0x09 && $0 != 0x0D }) else { continue }
      prompts.append(try Self.prompt(Array(line), path, line: index + 1, unused: &unused))
    }
    guard !prompts.isEmpty else { throw .prompts("holds no prompts", path: path, line: nil) }
    unusedKeys = unused.sorted()
  }

  /// Where something of a prompt stands, as a person would look for it.
  func place(of prompt: Prompt, _ key: String) -> String { "\(place(of: prompt)), `\(key)`" }

  func place(of prompt: Prompt) -> String {
    prompt.line > 0 ? "\(Shown.input(source)), line \(prompt.line)" : Shown.input(source)
  }

  /// Keys of every form.
  private static let keys: Set<String> = ["chosen", "rejected", "task"]

  private static func prompt(
    _ bytes: [UInt8], _ path: String, line: Int, unused: inout Set<String>
  ) throws(VerificationError) -> Prompt {
    func refuse(_ detail: String) -> VerificationError { .prompts(detail, path: path, line: line) }
    let document: JSONValue
    do throws(JSONError) { document = try unsafe JSONParser.parse(bytes.span.bytes, .settings) } catch {
      throw refuse("\(error.reason) at byte \(error.byteOffset) of the line")
    }
    guard let object = document.object else { throw refuse("is \(document.kind), not an object") }
    let form = PromptForm.of(object)
    for member in object.members where !keys.contains(member.key) && !form.keys.contains(member.key) {
      unused.insert(member.key)
    }
    func text(_ key: String) throws(VerificationError) -> String? {
      guard let value = object[key], !value.isNull else { return nil }
      guard let text = value.string else { throw refuse("`\(key)` is \(value.kind), not a string") }
      return text
    }
    guard let question = try text(form.question), !question.isEmpty else { throw refuse("has no `\(form.question)`") }
    let tests = form.tests.map { object[$0]?.array?.map(\.string) ?? [nil] } ?? []
    guard !tests.contains(nil) else { throw refuse("`\(form.tests ?? "")` is no array of strings") }
    let result = Prompt(
      prompt: form.prompt(question, tests: tests.compactMap(\.self)), answer: try text(form.answer),
      chosen: try text("chosen"), rejected: try text("rejected"),
      task: try text("task"), line: line)
    guard (result.chosen == nil) == (result.rejected == nil) else {
      throw refuse("has one of `chosen` and `rejected`; a pair needs both")
    }
    return result
  }
}
