package import Decoding
package import Drift
package import Inspection
package import Journals
package import Models
package import Tokenizers

/// Why models could not be compared, or a level not be measured. Places are words for a person: a file, and its line.
package enum VerificationError: Error {
  case model(ModelError)
  case inspection(InspectionError)
  case drift(DriftError)
  case record(RecordError)
  /// A text that is no input of the tokenizer of the model at `path`.
  case tokenizer(TokenizerError, path: String)
  /// What is wrong with tokens or options; `tokenizer` is what made the tokens of a text, `longest` how many could be asked
  /// for behind a prompt, and `path` the model that decodes.
  case decoding(DecodingError, place: String, longest: Int = 0, tokenizer: Tokenizer? = nil, path: String = "")
  /// Text that has too many tokens whatever they are.
  case tooLong(byteCount: Int, leastTokens: Int, positions: Int, place: String)
  /// A prompts file; a line from 1, or nil for the whole file.
  case prompts(String, path: String, line: Int?)
  case answer(AnswerError, source: String)
  case incomparable(String, reference: String, candidate: String)
  case nothingToScore(source: String)
  /// Bytes that scoring would take beside hidden states.
  case textsNeed(Int, limit: Int, source: String)
  /// A reference that was to be recorded and did not say numbers everywhere.
  case unrecordable(NonFiniteFinding)
  case journal(JournalError)
  case part(ReportPartError)

  var isOfKeeping: Bool {
    switch self {
    case .journal, .part: true
    default: false
    }
  }
}
