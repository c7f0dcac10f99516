import Decoding
import Storage
import Text
import Tokenizers

// Every sentence a person can see when `ingot run --batch` or `ingot score` fails.

extension Failure {
  /// - Parameter place: file and line.
  init(batchLine detail: String, place: String, _ kind: BatchKind) {
    self.init(what: "this line cannot be used: \(detail)", place: place, hint: kind.lineHint, code: .usage)
  }

  init(noLinesIn path: String, _ kind: BatchKind) {
    self.init(what: "there are no lines to work on", place: Shown.input(path), hint: kind.lineHint)
  }

  /// Why a continuation cannot be scored; nothing was computed.
  ///
  /// - Parameter place: file and line.
  init(scoring error: DecodingError, place: String, tokenizer: Tokenizer?) {
    switch error {
    case .tooLong(let positions, let limit):
      self.init(
        what:
          "context and continuation take \(Format.count(positions)) positions, the model has \(Format.count(limit))",
        place: place, hint: "shorten one of them")
    default: self.init(error, prompt: place, longest: 0, tokenizer: tokenizer)
    }
  }

  init(scoringNextToken model: String) {
    self.init(
      what: "`ingot score` gives the bound of models that denoise blocks, and this one predicts the next token",
      place: Shown.input(model),
      hint: "`ingot verify` measures its drift; what runs the published checkpoint gives likelihoods as they are")
  }

  /// Some lines have an error in place of a result; the output is there.
  ///
  /// - Parameter first: the first of these lines.
  init(noResults count: Int, of all: Int, first: Int, output: String, _ kind: BatchKind) {
    self.init(
      what:
        "\(Format.count(count)) of \(Format.count(all)) lines have an error in place of \(kind.aResult); the first is line \(first)",
      place: "`\(output)`, which is written", hint: Self.notFiniteHint)
  }

  /// - Parameter needed: bytes of `--max-memory`.
  init(sequenceOf positions: Int, needs needed: Int, of limit: Int, place: String) {
    self.init(
      what:
        "the sequence takes \(Format.count(positions)) positions, more than --max-memory \(Format.bytes(limit)) has room for",
      place: place, hint: "raise --max-memory to at least \((needed >> 20) + 1)MiB, or make it shorter",
      code: .limit)
  }

  init(batchInUse path: String) {
    self.init(
      what: "another run is writing these results", place: "`\(path)`",
      hint: "wait for it, or choose another name with -o",
      code: .temporary)
  }

  init(noBatchLog path: String, _ kind: BatchKind) {
    self.init(
      what: "`\(path)` exists and is not a batch file", place: nil,
      hint: "\(kind.results) are kept there until the batch is done; move it away, or choose another name with -o")
  }

  /// - Parameter key: what differs.
  init(otherBatch path: String, key: String, kept: Int, _ kind: BatchKind) {
    self.init(
      what: "the \(kind.results) kept here are another run's: `\(key)` differs", place: "`\(path)`",
      hint:
        "repeat that run's command to go on with it, or begin anew with --force, which discards its \(kept) \(kind.results)",
      code: .usage)
  }

  init(markedBatch path: String, _ kind: BatchKind) {
    self.init(
      what:
        "the \(kind.results) kept here are damaged: they begin with a byte order mark, which an editor may have put there",
      place: "`\(path)`", hint: "take the first three bytes out, or delete the file to begin anew", code: .integrity)
  }

  init(damagedBatch path: String, line: Int, _ kind: BatchKind) {
    self.init(
      what: "line \(line) of the \(kind.results) kept here is damaged", place: "`\(path)`",
      hint: "take the line out to have that made anew, or delete the file to begin anew", code: .integrity)
  }

  /// Results that cannot be written; those before are kept.
  init(batch error: FileError, _ kind: BatchKind) {
    self.init(error)
    guard error.isNoRoom else { return }
    let advice = error.isFileSizeLimit ? "raise the limit on the size of files (ulimit -f)" : "free some room"
    hint = "\(advice) and run the command again; it goes on with the \(kind.results) that are kept"
  }
}
