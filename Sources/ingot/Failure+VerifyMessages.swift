import Drift

// Every sentence a person can see when `ingot verify` fails.

extension Failure {
  init(_ error: DriftError) {
    switch error {
    case .model(let error): self.init(error)
    case .decoding(let error): self.init(error, prompt: "", longest: 0)
    case .interrupted: self.init(what: "interrupted", code: Interrupt.status)
    }
  }

  /// - Parameter line: from 1; nil for the whole file.
  init(prompts path: String, line: Int?, detail: String) {
    self.init(
      what: line.map { "line \($0) \(detail)" } ?? detail, place: "`\(path)`",
      hint: #"each line is an object such as {"prompt": "What is 2 + 3?", "answer": "5"}"#)
  }

  init(incomparable difference: String, _ reference: String, _ candidate: String) {
    self.init(
      what: "the models cannot be compared: \(difference)", place: "`\(candidate)` and `\(reference)`",
      hint: "a candidate is verified against the checkpoint that it was made from")
  }

  /// - Parameter source: the file of prompts.
  init(_ error: AnswerError, in source: String) {
    let (line, detail) =
      switch error {
      case .invalidPattern(let line, let detail): (line, "has an answer that is no regular expression: \(detail)")
      case .noNumber(let line): (line, "has an answer without a number")
      case .empty(let line): (line, "has an empty answer, which every text contains")
      }
    self.init(
      what: "line \(line) \(detail)", place: "`\(source)`", hint: "choose another way to compare with --match",
      code: .usage)
  }

  init(notAttachable path: String) {
    self.init(
      what: "a report can be put into a pack only", place: "`\(path)`", hint: "write it with --html or --json",
      code: .usage)
  }
}
