import Drift
import Safetensors
import Text
import Verification

// Every sentence a person can see when `ingot verify` fails.

extension Failure {
  init(_ error: VerificationError) {
    switch error {
    case .model(let error), .drift(.model(let error)): self.init(error)
    case .inspection(let error): self.init(error)
    case .drift(.decoding(let error)): self.init(error, prompt: "", longest: 0)
    case .drift(.interrupted): self.init(what: "interrupted", code: Interrupt.status)
    case .record(let error): self.init(error)
    case .tokenizer(let error, let path): self.init(error, of: path)
    case .decoding(let error, let place, let longest, let tokenizer, let path):
      self.init(error, prompt: place, longest: longest, model: path, tokenizer: tokenizer)
    case .tooLong(let byteCount, let least, let positions, let place):
      self.init(tooLong: byteCount, leastTokens: least, positions: positions, source: place)
    case .prompts(let detail, let path, let line):
      self.init(
        what: line.map { "line \($0) \(detail)" } ?? detail, place: Shown.input(path),
        hint: #"each line is an object such as {"prompt": "What is 2 + 3?", "answer": "5"}"#)
    case .answer(let error, let source): self.init(error, in: source)
    case .incomparable(let difference, let reference, let candidate):
      self.init(
        what: "the models cannot be compared: \(difference)", place: "`\(candidate)` and `\(reference)`",
        hint: "a candidate is verified against the checkpoint that it was made from")
    case .nothingToScore(let source):
      self.init(
        what: "there is nothing to be scored: no answers, no text that is long enough, and nothing was generated",
        place: source, hint: "give prompts with answers, or a text with --text")
    case .textsNeed(let needed, let limit, let source): self.init(textsNeed: needed, of: limit, source: source)
    case .unrecordable(let finding):
      self.init(
        what: "no record was written: \(finding.summary)",
        place: "\(finding.source), position \(Format.count(finding.position ?? 0))", hint: Self.notFiniteHint)
    case .journal(let error): self.init(error)
    case .part(let error): self.init(error)
    }
  }

  /// What is wrong and where, in one sentence for a report.
  var sentence: String { what + (place.map { ", in \($0)" } ?? "") }

  private init(_ error: RecordError) {
    switch error {
    case .file(let error):
      self.init(error)
      // What cannot be read as the file that it says it is was changed after it was written.
      if case .system(_) = error.reason { return }
      code = .integrity
      hint = Self.recordHint
    case .version(let version, let path):
      self.init(
        what: "the record has version \(version), this ingot reads 1 to \(DriftRecord.version)", place: "`\(path)`",
        hint: "a newer ingot wrote it; update to read it, or record the reference again")
    case .broken(let detail, let path):
      self.init(what: "the record is damaged: \(detail)", place: "`\(path)`", hint: Self.recordHint, code: .integrity)
    }
  }

  private static let recordHint = "copy it again, or record the reference again with --record"

  init(recordAsCandidate path: String) {
    self.init(
      what: "a record is no model that could be measured", place: "`\(path)`",
      hint: "it stands for a reference: ingot verify CANDIDATE --reference \(path)", code: .usage)
  }

  init(recordOfRecord path: String) {
    self.init(
      what: "the reference is a record already", place: "`\(path)`",
      hint: "copy it, or record the model itself with other options", code: .usage)
  }

  init(option: String, ofDataWith path: String) {
    self.init(
      what: "\(option) chooses data, but the record has the data that its reference was asked", place: "`\(path)`",
      hint: "leave it out, or make another record with it", code: .usage)
  }

  init(option: String, needsModelBeside path: String) {
    self.init(
      what: "\(option) needs the reference itself, which a record does not hold", place: "`\(path)`",
      hint: "name the model with --reference, or leave it out", code: .usage)
  }

  init(option: String, given: String, recorded: String, path: String) {
    self.init(
      what: "\(option) is \(given), but the record was made with \(recorded)", place: "`\(path)`",
      hint: "leave it out, or make another record with it", code: .usage)
  }

  init(level: String, notIn path: String) {
    self.init(
      what: "--level \(level) needs what the record does not hold", place: "`\(path)`",
      hint: "make a record without --level, which holds all", code: .usage)
  }

  /// - Parameter source: the file of prompts.
  private init(_ error: AnswerError, in source: String) {
    let other = "choose another way to compare with --match"
    let (line, detail, hint) =
      switch error {
      case .invalidPattern(let line, let error):
        (
          line, "has an answer that cannot be used as a regular expression: \(error.text)",
          "\(Self.patternHint); or \(other)"
        )
      case .noNumber(let line): (line, "has an answer without a number", other)
      case .empty(let line): (line, "has an empty answer, which every text contains", other)
      }
    self.init(what: "line \(line) \(detail)", place: Shown.input(source), hint: hint, code: .usage)
  }

  /// Texts that are too many for what `--max-memory` leaves for them.
  private init(textsNeed needed: Int, of limit: Int, source: String) {
    self.init(
      what:
        "scoring these texts takes \(Format.bytes(needed)) beside the models' hidden states; --max-memory leaves "
        + "\(Format.bytes(limit)) for that", place: Shown.input(source),
      hint:
        "raise --max-memory to at least \((2 * needed >> 20) + 1)MiB, score a part of the text, or fewer --mask-ratios",
      code: .limit)
  }

  /// A text that is too long to be cut into tokens.
  init(textOf byteCount: Int, needs needed: Int, limit: Int, source: String) {
    self.init(
      what:
        "a text of \(Format.bytes(byteCount)) takes up to \(Format.bytes(needed)) to be cut into tokens, --max-memory "
        + "is \(Format.bytes(limit))", place: Shown.input(source),
      hint: "raise --max-memory to at least \((needed >> 20) + 1)MiB, or score a part of the text", code: .limit)
  }

  init(notAttachable path: String) {
    self.init(
      what: "a report can be put into a pack only", place: "`\(path)`", hint: "write it with --html or --json",
      code: .usage)
  }

  init(emptyText path: String) {
    self.init(
      what: "there is no text to be scored", place: Shown.input(path),
      hint: "leave --text out, or name another file")
  }
}
