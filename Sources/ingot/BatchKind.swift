import JSON

/// What a batch makes: its words, and what its lines are.
enum BatchKind {
  case answers, scores

  /// Of what an interrupted run leaves.
  var schema: String {
    switch self {
    case .answers: "ingot.batch/1"
    case .scores: "ingot.score/1"
    }
  }

  var results: String {
    switch self {
    case .answers: "answers"
    case .scores: "scores"
    }
  }

  /// What lines of the input must be.
  var lineHint: String {
    switch self {
    case .answers:
      "each line is an object with `prompt` or `messages` and, where they differ from the command line's, its own options; "
        + "Formats/run.md §6 lists them"
    case .scores:
      "each line is an object with `prompt`, `messages` or `prompt_tokens`, and `continuation` or `continuation_tokens`; "
        + "Formats/score.md §1 lists all keys"
    }
  }

  /// One of them.
  var aResult: String {
    switch self {
    case .answers: "an answer"
    case .scores: "a score"
    }
  }

  /// The key of a result by which it is known.
  var resultKey: String {
    switch self {
    case .answers: "text"
    case .scores: "bound"
    }
  }

  /// Whether the value of that key is one.
  func isResult(_ value: JSONValue) -> Bool {
    switch self {
    case .answers: value.string != nil
    case .scores: value.double != nil
    }
  }
}
