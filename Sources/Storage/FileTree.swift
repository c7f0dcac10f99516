import Glibc

/// What lies below a name.
enum FileTree {
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
