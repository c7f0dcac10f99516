import Journals
import Text
import Verification

// Every sentence about journals and parts that cannot be used.

extension Failure {
  init(_ error: JournalError) {
    switch error {
    case .file(let error): self.init(error)
    case .busy(let path):
      self.init(
        what: "another process is at work with this journal", place: "`\(path)`",
        hint: "wait until it is done, or give this run another output", code: .temporary)
    case .foreign(let path):
      self.init(
        what: "this is no journal of ingot, or it is damaged from its first line on", place: "`\(path)`",
        hint: "remove it, or give this run another output", code: .integrity)
    case .other(let key, let now, let then, let path):
      self.init(
        what: "the journal is of another run: `\(key)` was \(then) and is \(now)", place: "`\(path)`",
        hint: "give the options and files of that run, or remove the journal to begin anew", code: .integrity)
    }
  }

  init(_ error: ReportPartError) {
    switch error {
    case .file(let error): self.init(error)
    case .foreign(let path):
      self.init(
        what: "this is no part of a verification", place: "`\(path)`",
        hint: "parts are written by `ingot verify … --part i/N -o PART`", code: .integrity)
    case .version(let version, let path):
      self.init(
        what: "the part is of version `\(version)`, which this ingot does not know", place: "`\(path)`",
        hint: "measure it again with this ingot", code: .integrity)
    case .broken(let detail, let path):
      self.init(
        what: "the part is damaged: \(detail)", place: path.isEmpty ? nil : "`\(path)`",
        hint: "measure it again with the same --part and --force", code: .integrity)
    case .other(let key, let here, let there, let path):
      self.init(
        what: "the part is of another run: `\(key)` is \(there) there and \(here) here", place: "`\(path)`",
        hint: "give the same models, data and options to all parts and to --merge", code: .integrity)
    case .division(let count, let first, let path):
      self.init(
        what: "this is a part of \(count), where parts of \(first) are joined", place: "`\(path)`",
        hint: "join parts that were made with the same --part …/N", code: .integrity)
    case .otherShare(let index, let count, let path):
      self.init(
        what: "this is part \(index) of \(count), which another part would replace", place: "`\(path)`",
        hint: "give this part another -o FILE", code: .integrity)
    case .repeated(let index, let path, let other):
      self.init(
        what: "part \(index) is given twice", place: "`\(path)` and `\(other)`",
        hint: "give each part once", code: .integrity)
    case .missing(let parts, let count): self.init(missing: parts, of: count)
    }
  }

  init(missing parts: [Int], of count: Int) {
    let shown = parts.prefix(8).map { "\($0)" }.joined(separator: ", ") + (parts.count > 8 ? ", …" : "")
    self.init(
      what: "of \(count) parts these are missing: \(shown)", hint: "make them with --part i/\(count), and give all",
      code: .integrity)
  }
}
