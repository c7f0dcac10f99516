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
}
