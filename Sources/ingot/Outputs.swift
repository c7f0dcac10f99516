import Glibc
import JSON
import Pack
import Safetensors
import Storage

/// What a command is going to write: all of it is looked at before any work, so that nothing is found out at the end of it,
/// and so that nothing takes the place of a file that could not be made again.
///
/// Files are told by device and number, not by their names. Whoever names a link gets a file in the link's place; what it
/// leads to stays. A log is written where the link leads, and a pack is amended there.
struct Outputs {
  private let force: Bool
  private let isQuiet: Bool
  private let sources: Set<FileIdentity>
  /// The outputs required so far, and where stdout goes.
  private var others: [(place: Place, name: String)] = []

  /// - Parameters:
  ///   - models: packs, single files, and directories, of which all that a checkpoint is made of is read.
  ///   - files: what else is read.
  init(models: [String], files: [String?] = [], force: Bool, isQuiet: Bool) {
    self.force = force
    self.isQuiet = isQuiet
    let paths = models.flatMap(Self.files) + files.compactMap(\.self) + ["/dev/stdin"]
    sources = Set(paths.compactMap { FileIdentity(of: $0) })
    others = ["/dev/stdout", "/dev/stderr"].compactMap { path in
      guard Machine.isRegularFile(path), let file = FileIdentity(of: path) else { return nil }
      return (.file(file), path)
    }
  }

  /// The files of a model. In the directory of a checkpoint may also lie what ingot writes.
  private static func files(ofModel path: String) -> [String] {
    guard let names = SystemCall.names(in: path) else {
      let (directory, _) = OutputFile.split(path)
      // Config and tokenizer may lie beside it.
      if path.hasSuffix(Checkpoint.ggufSuffix) { return Checkpoint.ggufFiles(of: path) + files(ofModel: directory) }
      return path.hasSuffix(".safetensors") ? [path, "\(directory)/config.json"] : [path]
    }
    let written = [".ingot", ".html", ".npy", ".jsonl", ".record", ".calibration"]
    return names.filter { name in !written.contains { name.hasSuffix($0) } }.map { "\(path)/\($0)" }
  }

  /// Refuses a file that cannot be written, or that may not be replaced.
  mutating func require(_ path: String) throws(Failure) {
    if Machine.isStream(path) { throw Failure(outputIsStream: path) }
    removeLeftovers(of: path)
    try requireFree(path)
    do throws(FileError) {
      // Whether there is the directory, and whether it may be written, nothing tells as surely as writing there.
      _ = try OutputFile(path: path)
    } catch { throw Failure(error) }
    if force, !isQuiet, let target = SystemCall.target(ofLink: path) { Console.note(note(replacing: path, to: target)) }
  }

  /// Takes away what killed writers of a file left.
  func removeLeftovers(of path: String) {
    for (name, byteCount) in OutputFile.removeLeftovers(of: path) where !isQuiet {
      Console.note(note(removed: name, byteCount))
    }
  }

  /// The same of a directory. What is there is replaced only if it is empty, or holds nothing but what its manifest says was written.
  mutating func requireDirectory(_ path: String, holding manifest: String) throws(Failure) {
    if Machine.isStream(path) { throw Failure(outputIsStream: path) }
    if Machine.isRegularFile(path) { throw Failure(directoryIsFile: path) }
    guard force || !Machine.isTaken(path) else {
      throw Failure(outputExists: path, target: SystemCall.target(ofLink: path))
    }
    let names = FileTree.names(in: path)
    guard names.isEmpty || names.contains(manifest) else { throw Failure(directoryIsForeign: path) }
    for name in names where FileIdentity(of: "\(path)/\(name)").map(sources.contains) ?? false {
      throw Failure(directoryHoldsSource: path, source: name)
    }
    let written = Self.written(by: "\(path)/\(manifest)")
    if let other = names.first(where: { $0 != manifest && !written.contains($0) }) {
      throw Failure(directoryHoldsOther: path, other)
    }
    do throws(FileError) {
      for (name, byteCount) in OutputFile.removeLeftovers(of: path) where !isQuiet {
        Console.note(note(removed: name, byteCount))
      }
      _ = try OutputDirectory(path: path, replaces: force)
    } catch { throw Failure(error) }
    if force, !isQuiet, let target = SystemCall.target(ofLink: path) { Console.note(note(replacing: path, to: target)) }
  }

  /// The names of the files that a manifest lists.
  private static func written(by manifest: String) -> Set<String> {
    guard let bytes = try? TextInput.contents(of: manifest, limit: 64 << 20),
      let files = try? unsafe JSONParser.parse(bytes.span.bytes).object?["files"]?.object
    else { return [] }
    return Set(files.members.map(\.key))
  }

  /// The same of a log, which is appended to as it is made; a pipe or a device is written to as it is.
  mutating func requireLog(_ path: String) throws(Failure) {
    if !Machine.isStream(path) { try requireFree(path) }
  }

  /// Refuses a file beside an output that is read, or another output; what is there may stay.
  mutating func requireApart(_ path: String) throws(Failure) {
    if Machine.isStream(path) { throw Failure(outputIsStream: path) }
    if Machine.isDirectory(path) { throw Failure(outputIsDirectory: path) }
    if let file = FileIdentity(of: path), sources.contains(file) { throw Failure(outputIsSource: path) }
    let place = Place(path)
    if let other = others.first(where: { $0.place == place }) { throw Failure(output: path, same: other.name) }
    others.append((place, path))
  }

  /// Refuses a pack that no report can be put into.
  mutating func requireAmendable(_ path: String) throws(Failure) {
    guard let real = SystemCall.realPath(path) else { return }  // whoever opens it says so
    if Self.isInStore(real), OutputFile.split(real).name != OutputFile.split(path).name {
      throw Failure(amendingStored: path, target: real)
    }
    others.append((Place(path), path))
    do throws(FileError) {
      for (name, byteCount) in OutputFile.removeLeftovers(of: real) where !isQuiet {
        Console.note(note(removed: name, byteCount))
      }
      _ = try OutputFile(path: real)
    } catch { throw Failure(error) }
    if let needed = Machine.byteCount(of: real), let free = OutputFile.freeBytes(beside: real), free < needed {
      throw Failure(.diskSpace(needed: needed, free: free, path: real))
    }
  }

  /// Whether a name is made from the contents of its file, as in the cache of Hugging Face (`blobs/…`), git-annex and DVC:
  /// with other contents the name would be wrong.
  private static func isInStore(_ path: String) -> Bool {
    var run = 0
    for character in OutputFile.split(path).name.utf8 {
      run = Character(Unicode.Scalar(character)).isHexDigit ? run + 1 : 0
      if run >= 30 { return true }
    }
    return false
  }

  private mutating func requireFree(_ path: String) throws(Failure) {
    let place = Place(path)
    if let file = FileIdentity(of: path) {
      guard !Machine.isDirectory(path) else { throw Failure(outputIsDirectory: path) }
      guard !sources.contains(file) else { throw Failure(outputIsSource: path) }
      if let other = others.first(where: { $0.place == .file(file) }) { throw Failure(output: path, same: other.name) }
    }
    if let other = others.first(where: { $0.place == place }) { throw Failure(output: path, same: other.name) }
    // A link that leads nowhere is a taken name, too.
    guard force || !Machine.isTaken(path) else {
      throw Failure(outputExists: path, target: SystemCall.target(ofLink: path))
    }
    others.append((place, path))
  }

  /// What tells one output from another: the file, or where one will be.
  private enum Place: Equatable {
    case file(FileIdentity)
    case name(FileIdentity?, String)

    init(_ path: String) {
      let (directory, name) = OutputFile.split(path)
      self = FileIdentity(of: path).map { .file($0) } ?? .name(FileIdentity(of: directory), name)
    }
  }
}
