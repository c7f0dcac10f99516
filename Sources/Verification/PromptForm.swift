import JSON

/// How lines of prompts name what they hold: our own way, and sets of questions as they are published.
package struct PromptForm: Sendable {
  package let name: String
  /// The key of the question.
  let question: String
  /// The key of the answer.
  let answer: String
  /// The key of tests that the question ends with: the program that is asked for shall pass them.
  let tests: String?

  private init(_ name: String, _ question: String, _ answer: String, tests: String? = nil) {
    (self.name, self.question, self.answer, self.tests) = (name, question, answer, tests)
  }

  package static let own = PromptForm("ours", "prompt", "answer")

  /// A line has the first form whose keys it has.
  package static let published: [PromptForm] = [
    PromptForm("HumanEval", "prompt", "canonical_solution"),
    PromptForm("MBPP", "text", "code", tests: "test_list"),
    PromptForm("sanitized MBPP", "prompt", "code", tests: "test_list"),
    PromptForm("GSM8K", "question", "answer"),
  ]

  var keys: [String] { [question, answer] + [tests].compactMap(\.self) }

  /// The keys, in a few words.
  package var summary: String {
    "\(name) (\(question)\(tests.map { " with \($0)" } ?? ""), \(answer))"
  }

  /// The form of a line. A `prompt` is the question wherever there is one.
  static func of(_ line: JSONObject) -> PromptForm {
    published.first { form in
      form.keys.allSatisfy { line[$0] != nil } && (form.question == own.question || line[own.question] == nil)
    } ?? own
  }

  /// The question with its tests, in the words of the paper that brought MBPP (Austin et al. 2021).
  func prompt(_ question: String, tests: [String]) -> String {
    guard self.tests != nil else { return question }
    return
      "You are an expert Python programmer, and here is your task: \(question) Your code should pass these tests:\n\n"
      + tests.joined(separator: "\n")
  }
}
