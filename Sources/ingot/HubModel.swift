import Glibc
import Models
import Storage
import Text

/// Models that are named as on the hub of Hugging Face.
enum HubModel {
  /// Makes an id the path of the snapshot in the cache, unless there is something of this name here. Other names stay.
  static func find(_ name: inout String, isQuiet: Bool) throws(Failure) {
    try requireSnapshot(name)
    guard !Machine.exists(name), let id = HubID(name),
      let cache = HubCache(environment: { name in unsafe getenv(name).map { unsafe String(cString: $0) } })
    else { return }
    do throws(HubError) {
      let path = try cache.snapshot(of: id)
      if !isQuiet { Console.notes(["`\(name)` is `\(path)`"]) }
      name = path
    } catch { throw Failure(error) }
  }

  /// Refuses the folder in which the hub's cache keeps all that it has of a model.
  private static func requireSnapshot(_ path: String) throws(Failure) {
    let snapshots = SystemCall.names(in: path + "/snapshots") ?? []
    guard let some = snapshots.filter({ !$0.hasPrefix(".") }).max(), SystemCall.names(in: path + "/blobs") != nil
    else { return }
    throw Failure(
      what: "this is the folder in which the hub's cache keeps a model, not a checkpoint", place: "`\(path)`",
      hint: "name the model by its id, OWNER/NAME, or give the directory of a snapshot, `\(path)/snapshots/\(some)`",
      code: .usage)
  }

  static func find(_ name: inout String?, isQuiet: Bool) throws(Failure) {
    guard var found = name else { return }
    try find(&found, isQuiet: isQuiet)
    name = found
  }
}

extension Failure {
  init(_ error: HubError) {
    switch error {
    case .absent(let id, let cache):
      self.init(
        what: "there is no `\(id.owner)/\(id.name)`, neither here nor among the models downloaded from the hub",
        place: "`\(cache)`", hint: "a model of the hub is downloaded with `\(id.downloadCommand)`")
    case .noRevision(let id, let commits, let cache):
      let known = commits.isEmpty ? "none" : commits.map { "`\($0)`" }.joined(separator: ", ")
      self.init(
        what: "`\(id.owner)/\(id.name)` is downloaded, but not its revision `\(id.revision ?? "main")`",
        place: "`\(cache)`",
        hint: "there is \(known); name it behind an @, or download with `\(id.downloadCommand)`")
    case .incomplete(let id, let missing, let partial, let snapshot):
      self.init(
        what: "the download of `\(id.owner)/\(id.name)` is incomplete"
          + (missing.isEmpty ? "" : ": there is no \(SourceNote.list(missing))")
          + (partial > 0 ? "; \(Format.bytes(partial)) lie in files that are not whole" : ""),
        place: "`\(snapshot)`", hint: "`\(id.downloadCommand)` fetches the rest")
    }
  }
}
