import Storage
import Text

// Every sentence a person can see about a file that is to be written.

extension Failure {
  init(outputIsDirectory path: String) { self.init(what: "`\(path)` is a directory", hint: "name a file in it") }

  init(outputIsStream path: String) {
    self.init(
      what: "`\(path)` is a pipe, a device or a socket", hint: "this output appears whole or not at all; name a file")
  }

  init(outputIsSource path: String) {
    self.init(what: "`\(path)` is one of the files to be read", hint: "choose another name")
  }

  /// - Parameter target: where the path leads if it is a link.
  init(outputExists path: String, target: String?) {
    if let target {
      self.init(
        what: "`\(path)` exists already: it is a link to `\(target)`",
        hint: "choose another name, or replace the link with --force; what it leads to stays")
    } else {
      self.init(what: "`\(path)` exists already", hint: "choose another name, or replace it with --force")
    }
  }

  init(output path: String, same other: String) {
    let isStandard = other.hasPrefix("/dev/")
    self.init(
      what: isStandard
        ? "`\(path)` is the file that \(other.dropFirst("/dev/".count)) goes to"
        : "`\(path)` and `\(other)` are the same file",
      hint: "choose another name for one of them", code: .usage)
  }

  init(cardOfCheckpoint path: String) {
    self.init(
      what: "a card is about a pack", place: "`\(path)`",
      hint: "make one with `ingot quantize`; `ingot inspect --markdown` tells of a checkpoint", code: .usage)
  }

  /// - Parameter source: what messages call the report.
  init(driftReport problem: String, of source: String) {
    self.init(
      what: "the drift report cannot be put on the card: \(Shown.text(problem))", place: source,
      hint: "measure this pack again with `ingot verify PACK --reference CHECKPOINT --json`, or with --attach")
  }

  init(amendingStored path: String, target: String) {
    self.init(
      what: "`\(path)` is a link into a store whose files are named by their contents", place: "`\(target)`",
      hint: "copy the pack with `cp -L`, and attach the report to the copy")
  }

  init(_ error: FileError) {
    self.init(
      what: "cannot \(error.operation) `\(error.path)`: \(error.reason)", hint: Self.hint(error),
      code: error.isNoRoom || error.isNoMemory || error.isPassing ? .temporary : .failed)
  }

  /// What was meant for stdout and could not be delivered.
  init(stdout error: FileError) {
    self.init(
      what: "the result cannot be written to stdout" + (error.isClosed ? ", which is closed" : ": \(error.reason)"),
      hint: "files that were asked for are written; send stdout to a file or a program that takes it",
      code: error.isNoRoom ? .temporary : .failed)
  }

  /// How to mend what the system refused, where we know.
  static func hint(_ error: FileError) -> String? {
    if error.remains == .everything {
      return
        "the file is complete and has its name; whether it would outlast a loss of power is not certain: run `sync`"
    }
    if error.isNoMemory { return "raise this process's limit of memory (ulimit -v, or the control group's)" }
    if error.isTooManyOpen { return "this process may open too few files; first say: ulimit -n 4096" }
    if error.isNameTooLong { return "most file systems take names of at most 255 bytes; choose a shorter one" }
    if error.isNoRoom {
      let way =
        error.isFileSizeLimit
        ? "raise the limit on the size of files (ulimit -f)" : "free some room and run the command again"
      return way + (error.remains == .nothing ? "; nothing is left of this attempt" : "")
    }
    switch error.code {
    case FileError.pointer: return "fetch the file itself with `git lfs pull`"
    case FileError.dangling: return "the download is probably incomplete; fetch this file again"
    case FileError.changed: return "wait until nothing writes to it any more, then run the command again"
    default: return nil
    }
  }
}

extension Outputs {
  func note(replacing path: String, to target: String) -> String {
    "note: `\(path)` is a link to `\(target)`; the new file takes the link's place, and `\(target)` stays as it is"
  }

  func note(removed name: String, _ byteCount: Int) -> String {
    "note: removed `\(name)`, \(Format.bytes(byteCount)) that a killed run left"
  }
}
