import Storage
import Text

// Every sentence a person can see when `ingot run --batch` fails.

extension Failure {
  /// - Parameter place: file and line.
  init(batchLine detail: String, place: String) {
    self.init(
      what: "a prompt cannot be read: \(detail)", place: place,
      hint:
        "each line is an object with `prompt` or `messages` and, where they differ from the command line's, its own options; "
        + "Formats/run.md §6 lists them", code: .usage)
  }

  init(noPromptsIn path: String) {
    self.init(
      what: "there are no prompts", place: Shown.input(path), hint: "give a line of JSON for each, with `prompt`")
  }

  /// - Parameter needed: bytes of `--max-memory`.
  init(sequenceOf positions: Int, needs needed: Int, of limit: Int, place: String) {
    self.init(
      what:
        "prompt and answer take \(Format.count(positions)) positions, more than --max-memory \(Format.bytes(limit)) has room for",
      place: place, hint: "raise --max-memory to at least \((needed >> 20) + 1)MiB, or ask for fewer tokens",
      code: .limit)
  }

  init(batchInUse path: String) {
    self.init(
      what: "another run is writing these answers", place: "`\(path)`",
      hint: "wait for it, or choose another name with -o",
      code: .temporary)
  }

  init(noBatchLog path: String) {
    self.init(
      what: "`\(path)` exists and is not a batch file", place: nil,
      hint: "answers are kept there until the batch is done; move it away, or choose another name with -o")
  }

  /// - Parameter key: what differs.
  init(otherBatch path: String, key: String, answers: Int) {
    self.init(
      what: "the answers kept here are another run's: `\(key)` differs", place: "`\(path)`",
      hint:
        "repeat that run's command to go on with it, or begin anew with --force, which discards its \(answers) answers",
      code: .usage)
  }

  init(markedBatch path: String) {
    self.init(
      what: "the answers kept here are damaged: they begin with a byte order mark, which an editor may have put there",
      place: "`\(path)`", hint: "take the first three bytes out, or delete the file to begin anew", code: .integrity)
  }

  init(damagedBatch path: String, line: Int) {
    self.init(
      what: "line \(line) of the answers kept here is damaged", place: "`\(path)`",
      hint: "take the line out to have its prompt answered again, or delete the file to begin anew", code: .integrity)
  }

  /// Answers that cannot be written; those before are kept.
  init(batch error: FileError) {
    self.init(error)
    guard error.isNoRoom else { return }
    let advice = error.isFileSizeLimit ? "raise the limit on the size of files (ulimit -f)" : "free some room"
    hint = "\(advice) and run the command again; it goes on with the answers that are kept"
  }
}
