import Glibc

/// A directory that appears under its name only when all files in it are whole and synced.
///
/// Until `commit` it has a ``TemporaryName`` beside the final one. It is locked meanwhile, so that what a killed process left is
/// told from what is being written.
package struct OutputDirectory: ~Copyable {
  package let path: String
  private let replaces: Bool
  private let temporary: TemporaryName
  private let lock: OpenFile

  /// - Parameter replaces: whether `commit` may replace a directory that has the name by then; its files are removed.
  /// - Throws: what `mkdir` says; ENOENT where there is no name.
  package init(path: String, replaces: Bool) throws(FileError) {
    var path = path
    while path.utf8.count > 1, path.utf8.last == UInt8(ascii: "/") { path.removeLast() }
    let (directory, name) = OutputFile.split(path)
    guard !name.isEmpty, name != ".", name != ".." else { throw FileError("create", path, code: ENOENT) }
    var descriptor: Int32 = -1
    let temporary = TemporaryName(in: directory, for: name) { path in
      guard SystemCall.makeDirectory(path) == 0 else { return errno }
      descriptor = SystemCall.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
      return descriptor >= 0 && (flock(descriptor, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) ? 0 : errno
    }
    let error = FileError("create", path)
    guard let temporary else { throw error }
    self.path = path
    self.replaces = replaces
    self.temporary = temporary
    lock = OpenFile(path: path, descriptor: descriptor, isUnnamed: true)
  }

  /// A new file in the directory.
  ///
  /// - Parameter name: its path below the directory; what is above it is made.
  package func file(named name: String) throws(FileError) -> OutputFile {
    var above = temporary.path
    for part in name.split(separator: "/").dropLast() {
      above += "/\(part)"
      guard SystemCall.makeDirectory(above) == 0 || errno == EEXIST else { throw FileError("create", above) }
    }
    return try OutputFile(path: "\(temporary.path)/\(name)")
  }

  /// An error about one of the files, by the name that the file was going to have.
  package func named(_ error: FileError) -> FileError {
    guard error.path.hasPrefix(temporary.path) else { return error }
    let path = self.path + error.path.dropFirst(temporary.path.count)
    return FileError(error.operation, path, code: error.code, remains: error.remains)
  }

  /// Syncs, gives the final name, and syncs the directory above.
  ///
  /// - Throws: EEXIST where the name was taken meanwhile and must not be replaced.
  package consuming func commit() throws(FileError) {
    guard fsync(lock.descriptor) == 0 || errno == EINVAL else { throw lock.failure("sync") }
    // What had the name has the temporary one after an exchange, and goes with it.
    if !replaces || SystemCall.exchange(temporary.path, path) != 0 {
      guard SystemCall.renameUnlessTaken(temporary.path, path) == 0 else { throw lock.failure("rename") }
      temporary.letGo()
    }
    try OutputFile.syncDirectory(of: path)
  }
}
