import Conversion
import Storage
import Text

// Every sentence about plans, parts, and runs that go on.

extension Failure {
  /// - Parameter named: plan and parts as they were named; nil where there is none.
  init(_ error: PartError, _ named: NamedPlan? = nil) {
    let anew = "make a plan anew with `ingot plan`"
    switch error {
    case .system(let error): self.init(error)
    case .notPlan(let detail, let path):
      self.init(what: "this is no plan: \(detail)", place: "`\(path)`", hint: anew, code: .integrity)
    case .planSchema(let schema, let path):
      self.init(
        what: "the plan is `\(Shown.text(schema))`, which this ingot does not know", place: "`\(path)`",
        hint: "use the ingot that wrote it, or \(anew)", code: .integrity)
    case .planEdited(let path):
      self.init(
        what: "the plan was edited: its hash is of something else", place: "`\(path)`",
        hint:
          "\(anew), with options for what should be different; the place of the checkpoint is an argument of its own",
        code: .integrity)
    case .planDiffers(let member, let path):
      self.init(
        what:
          "the plan does not agree with this ingot and this checkpoint: planning here gives another `\(Shown.text(member))`",
        place: "`\(path)`",
        hint: "use the same build of ingot everywhere, or \(anew)", code: .integrity)
    case .otherSource(let name, let directory):
      self.init(
        what: "`\(Shown.text(name))` is not the file that the plan was made of", place: "`\(directory)`",
        hint: "name the checkpoint that was planned, as an argument; or \(anew)", code: .integrity)
    case .otherStates(let path):
      self.init(
        what: "the states are not those that the plan was made with", place: "`\(path)`",
        hint: "name their file with --calibration, or \(anew)", code: .integrity)
    case .shardsMissing(let names, let directory):
      self.init(
        what:
          "this part reads \(names.count == 1 ? "a file" : "files") that \(names.count == 1 ? "is" : "are") not here: "
          + names.prefix(5).map { "`\(Shown.text($0))`" }.joined(separator: ", ") + (names.count > 5 ? ", …" : ""),
        place: "`\(directory)`", hint: "fetch what is missing, or make this part where it is", code: .temporary)
    case .tooManyParts(let wanted, let most):
      self.init(
        what: "\(Format.count(wanted)) parts are too many: there are \(Format.count(most)) chunks",
        hint: "ask for at most that many with --parts", code: .usage)
    case .noPart(let number, let count):
      self.init(
        what: "there is no part \(number): the plan has \(Format.count(count)), and they count from 0",
        hint: "give a number below \(Format.count(count)) with --part", code: .usage)
    case .foreignPart(let path):
      self.init(
        what: "`\(path)` belongs to another plan, or is another part of this one",
        hint: "use another --parts-dir for each plan, or remove the file", code: .integrity)
    case .damagedPart(let part, let what, let path, let range):
      let place = range.map { ", bytes \(Format.count($0.lowerBound)) to \(Format.count($0.upperBound))" } ?? ""
      self.init(
        what: "part \(part) is damaged: \(what)", place: "`\(path)`\(place)",
        hint: named.map { "make it again: \($0.command(of: part))" }, code: .integrity)
    case .partsMissing(let parts, let directory):
      let shown = parts.prefix(8).map { "\($0)" }.joined(separator: ", ") + (parts.count > 8 ? ", …" : "")
      self.init(
        what: parts.count == 1
          ? "part \(shown) is missing" : "\(Format.count(parts.count)) parts are missing: \(shown)",
        place: "`\(directory)`",
        hint: named.flatMap { named in
          parts.first.map { "make \(parts.count == 1 ? "it" : "them"): \(named.command(of: $0))" }
        }, code: .integrity)
    case .foreignJournal(let path):
      self.init(
        what: "`\(path)` was not made by a run that can go on, and --resume needs that name",
        hint: "move it away, or choose another output")
    case .brokenJournal(let path):
      self.init(
        what: "what an earlier run kept cannot be read: its plan is damaged", place: "`\(path)`",
        hint: "remove that directory, then begin anew", code: .integrity)
    case .otherRun(let member, let path):
      self.init(
        what: "`\(path)` keeps the work of another run: \(Self.difference(member))",
        hint: "give the same command as then; or begin anew with --force, which also replaces the output",
        code: .integrity)
    case .busy(let path):
      self.init(
        what: "another process is writing the same output", place: "`\(path)`", hint: "wait until it ends",
        code: .temporary)
    }
  }

  /// What of a run differs, by the member of its plan.
  private static func difference(_ member: String) -> String {
    switch member {
    case "versions": "another version of ingot or of the zstd library began it"
    case "options": "it has another recipe or other options"
    case "calibration": "it has other states"
    case "files", "sources": "the files of the checkpoint were others, or were written to since"
    default: "its `\(member)` differs"
    }
  }

  init(planWithoutStates path: String) {
    self.init(
      what: "the plan was made without states: there is nothing that --calibration could give", place: "`\(path)`",
      hint: "leave out --calibration, or make a plan with it", code: .usage)
  }

  /// What stopped a run that keeps nothing of what it has done.
  ///
  /// - Parameter couldResume: whether the same run could have kept it.
  init(_ error: ConversionError, output: String, couldResume: Bool) {
    self.init(error, output: output)
    var isInterrupted = false
    if case .interrupted = error { isInterrupted = true }
    guard couldResume, isInterrupted || code == .temporary else { return }
    let way = "with --resume a run keeps what is done, and the same command goes on"
    hint = hint.map { "\($0); \(way)" } ?? way
  }

  /// What stopped a run that keeps what it has done.
  init(_ error: ConversionError, keptIn directory: String) {
    if case .interrupted = error {
      self.init(
        what: "interrupted; what is done is kept in `\(directory)`",
        hint: "the same command, with --resume, goes on", code: Interrupt.status)
      return
    }
    self.init(error, output: directory)
    guard code == .temporary || code == .failed else { return }
    let way = "what is done is kept in `\(directory)`: the same command, with --resume, goes on"
    hint = hint.map { "\($0); \(way)" } ?? way
  }
}
