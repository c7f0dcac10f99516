import Storage

extension Checkpoint {
  /// What names of GGUF files end with.
  package static var ggufSuffix: String { ".gguf" }

  /// The key of a GGUF under which its family stands.
  package static var architectureKey: String { "general.architecture" }

  /// Whether the weights are of GGUF files.
  package var isGGUF: Bool { files.first?.isGGUF ?? false }

  /// Opens a GGUF, and the others of a model that is split: any of them may be named.
  ///
  /// - Parameter companions: where config and tokenizer lie; nil for beside the file.
  init(gguf path: String, companions: String?) throws(SafetensorsError) {
    var files: [SafetensorsFile] = []
    for part in Self.ggufFiles(of: path) {
      do throws(SafetensorsError) { files.append(try SafetensorsFile(path: part)) } catch {
        guard part != path, case .system(let cause) = error.reason, cause.isMissing, SystemCall.status(of: path) != nil
        else { throw error }
        throw SafetensorsError(.shardMissing(Self.split(part).name), path: path)
      }
    }
    try Self.requireSplit(files)
    // Of a split model the first file says what it is.
    guard let first = files.first, first.metadata[Self.architectureKey] != nil else {
      throw SafetensorsError(.gguf("has no `\(Self.architectureKey)`"), path: files.first?.path ?? path)
    }
    try self.init(directory: companions ?? Self.split(path).directory, files: files)
  }

  /// The paths of all files of the model that one is of.
  package static func ggufFiles(of path: String) -> [String] {
    let (directory, name) = split(path)
    guard let names = names(ofSplit: name) else { return [path] }
    return names.map { directory == "." && path == name ? $0 : "\(directory)/\($0)" }
  }

  /// The names of all files of a split model; nil for a name that is not of one.
  private static func names(ofSplit name: String) -> [String]? {
    let words = name.dropLast(ggufSuffix.count).split(separator: "-", omittingEmptySubsequences: false)
    guard words.count >= 4, words[words.count - 2] == "of", let count = number(words[words.count - 1]),
      let own = number(words[words.count - 3]), (1...count).contains(own)
    else { return nil }
    let stem = words.dropLast(3).joined(separator: "-")
    return (1...count).map { "\(stem)-\(padded($0))-of-\(padded(count))\(ggufSuffix)" }
  }

  /// Of five digits, as tools write it.
  private static func number(_ word: Substring) -> Int? {
    guard word.utf8.count == 5, word.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let number = Int(word) else {
      return nil
    }
    return number > 0 ? number : nil
  }

  private static func padded(_ number: Int) -> String {
    let digits = "\(number)"
    return String(repeating: "0", count: max(0, 5 - digits.count)) + digits
  }

  /// Each file says which it is of how many, and how many tensors they have together.
  private static func requireSplit(_ files: [SafetensorsFile]) throws(SafetensorsError) {
    let total = files.reduce(0) { $0 + $1.tensors.count }
    for (place, file) in files.enumerated() {
      let expected = ["split.no": place, "split.count": files.count, "split.tensors.count": total]
      for (key, wanted) in expected.sorted(by: { $0.key < $1.key }) {
        // A file that is whole need not say so.
        guard let found = file.metadata[key] ?? (files.count == 1 ? "\(wanted)" : nil) else {
          throw SafetensorsError(.gguf("has no `\(key)`, as a part of a split model has"), path: file.path)
        }
        guard found == "\(wanted)" || files.count == 1 && key == "split.count" && found == "0" else {
          throw SafetensorsError(
            .gguf(
              "says `\(key)` \(found), but it is number \(place) of \(files.count) files with \(total) tensors"),
            path: file.path)
        }
      }
    }
  }

  /// The GGUF of a directory that has one model; nil where it has none.
  static func gguf(in directory: String) throws(SafetensorsError) -> String? {
    let names = (SystemCall.names(in: directory) ?? []).filter { $0.hasSuffix(ggufSuffix) }.sorted()
    guard let first = names.first else { return nil }
    guard Set(names).isSubset(of: Self.names(ofSplit: first) ?? [first]) else {
      throw SafetensorsError(.twoCheckpoints, path: directory)
    }
    return "\(directory)/\(first)"
  }

  static func split(_ path: String) -> (directory: String, name: String) {
    guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return (".", path) }
    return (slash == path.startIndex ? "/" : String(path[..<slash]), String(path[path.utf8.index(after: slash)...]))
  }
}
