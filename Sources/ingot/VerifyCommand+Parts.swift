import ArgumentParser
import Drift
import Glibc
import JSON
import Journals
import Pack
import Storage
import Text
import Verification

// Verifying in parts, and going on with what was interrupted.

/// The options of `verify` that divide the work among processes, or sittings.
struct DivisionArguments: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Measure only one part of the prompts: 2/8 is the third of eight, since parts count from 0; task/8 takes the number "
        + "from SLURM_ARRAY_TASK_ID. Gates, --record and --attach wait for --merge; --html and --json are given to it alone.",
      valueName: "i/N"))
  var part: PartNumber?

  @Option(name: .shortAndLong, help: ArgumentHelp("The file of a part.", valueName: "file"))
  var output: String?

  @Option(
    parsing: .upToNextOption,
    help: ArgumentHelp(
      "Make the report of parts that were measured with the same options, all of them in any order.",
      valueName: "part"))
  var merge: [String] = []

  @Flag(
    help: ArgumentHelp(
      "Go on where the same command was stopped, in whatever way. What is finished is kept until the end in a journal "
        + "beside the output: FILE.journal, FILE being that of -o, --record or --html, else CANDIDATE.verify.journal in the "
        + "working directory."))
  var resume = false

  @Option(
    help: ArgumentHelp(
      "Prompts that are decoded and scored together. More read a model less often that is larger than memory; fewer can "
        + "be spread over more parts, and are less to repeat after an interruption. The last digits of a report depend on "
        + "it. (default: 64)", valueName: "count"))
  var together: Int?

  func validate(attribute: Attribution.Subject?) throws {
    if let together, !(1...65536).contains(together) { throw ValidationError("--together must be 1 to 65536") }
    guard (part == nil) == (output == nil) else {
      throw ValidationError(
        part == nil ? "-o names the file of a --part; a report goes to --html or stdout" : "--part needs -o FILE")
    }
    if !merge.isEmpty, part != nil || resume {
      throw ValidationError("--merge measures nothing: leave out --part and --resume")
    }
    if part != nil, attribute == .experts {
      throw ValidationError("--attribute experts looks at what all prompts say; it cannot be done in parts")
    }
  }
}

/// Which part of how many, as typed: `0/8`, `task/8`.
struct PartNumber: ExpressibleByArgument {
  let share: Share

  init?(argument: String) {
    let words = argument.split(separator: "/", omittingEmptySubsequences: false)
    guard words.count == 2, let count = Int(words[1]), (1...PartCount.limit).contains(count) else { return nil }
    let index = words[0] == "task" ? Self.task.flatMap { Int($0) } : Int(words[0])
    guard let index, (0..<count).contains(index) else { return nil }
    share = Share(index: index, count: count)
  }

  private static var task: String? {
    unsafe getenv("SLURM_ARRAY_TASK_ID").map { unsafe String(cString: $0) }
  }

  static var allValueStrings: [String] { [] }
}

extension VerifyCommand {
  /// Where the journal lies, with `--resume`.
  var journalPath: String? {
    guard division.resume else { return nil }
    let model = OutputFile.split(candidate ?? reference).name
    return Journal.path(beside: division.output ?? record ?? html ?? "\(model).verify")
  }

  /// Whether outputs may be replaced: those of a run that ended while they were written are its own. To be asked before the work, at
  /// whose end the journal would say so of any run.
  var mayReplace: Bool { force || journalPath.map(Journal.isDone) ?? false }

  func keeping(replacing replaces: Bool) -> Keeping {
    if !division.merge.isEmpty { return .parts(division.merge) }
    if let part = division.part, let output = division.output {
      return .part(part.share, path: output, replaces: replaces, journal: journalPlace)
    }
    return journalPlace.map { .journal($0) } ?? .nothing
  }

  private var journalPlace: JournalPlace? {
    // A pack that the report is put into is another file then; its hash says that it is the same.
    let models = [reference, attach ? nil : candidate, versus].compactMap(\.self)
    return journalPath.map { JournalPlace(path: $0, source: .array(models.map(SourceState.json(of:)))) }
  }

  /// What a person should know of the way in which the work is divided.
  func notes(_ options: VerificationOptions, prompts: Int) -> [String] {
    let groups = (prompts + options.together - 1) / options.together
    guard let part = division.part, groups < part.share.count else { return [] }
    return [
      "there are \(groups) groups of prompts for \(part.share.count) parts; a smaller --together, the same for all, makes more"
    ]
  }

  func endPart(_ journal: Journal?) throws(Failure) {
    try end(journal)
    guard let output = division.output else { return }
    Console.data(FileName.bytes(of: output) + [UInt8(ascii: "\n")])
  }

  func end(_ journal: Journal?) throws(Failure) {
    do throws(JournalError) { try journal?.remove() } catch { throw Failure(error) }
  }
}

extension VerifyCommand.Opened {
  /// XXH3 of a record.
  func recordHash() throws(Failure) -> UInt64? {
    guard case .record(_, let path) = self else { return nil }
    do throws(FileError) {
      let file = try MappedFile(path: path)
      return XXH3.hash(file.bytes)
    } catch { throw Failure(error) }
  }
}
