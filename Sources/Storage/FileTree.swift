import Glibc

/// What lies below a name.
package enum FileTree {
  /// Takes a file, or a directory with all that is in it, away from its name in one step: it gets a temporary name of the output that it
  /// lies beside, then it is removed. What a process leaves that ends between the two goes with the leftovers of that output
  /// (``OutputFile/removeLeftovers(of:)``).
  ///
  /// - Throws: what `rename` says; that there is nothing is no error.
  package static func removeAtOnce(_ path: String, beside output: String) throws(FileError) {
    let (directory, name) = OutputFile.split(output)
    let temporary = TemporaryName(in: directory, for: name) { SystemCall.renameUnlessTaken(path, $0) == 0 ? 0 : errno }
    guard temporary != nil || errno == ENOENT else { throw FileError("remove", path) }
  }

  /// What lies below a directory, by its path there; links are not followed, and a directory counts only where it is empty.
  package static func names(in directory: String) -> [String] {
    var found: [String] = []
    for name in SystemCall.names(in: directory) ?? [] where name != "." && name != ".." {
      guard let status = SystemCall.statusOfLink("\(directory)/\(name)") else { continue }
      let below = status.st_mode & S_IFMT == S_IFDIR ? names(in: "\(directory)/\(name)") : []
      found += below.isEmpty ? [name] : below.map { "\(name)/\($0)" }
    }
    return found
  }

  /// Removes a file, or a directory with all that is in it. Links are removed, not followed.
  ///
  /// - Returns: the bytes of all files; nil where something is left.
  static func remove(_ path: String) -> Int? {
    guard let status = SystemCall.statusOfLink(path) else { return nil }
    guard status.st_mode & S_IFMT == S_IFDIR else { return SystemCall.unlink(path) == 0 ? Int(status.st_size) : nil }
    var byteCount = 0
    for name in SystemCall.names(in: path) ?? [] where name != "." && name != ".." {
      guard let removed = remove("\(path)/\(name)") else { return nil }
      byteCount += removed
    }
    return SystemCall.removeDirectory(path) == 0 ? byteCount : nil
  }
}
