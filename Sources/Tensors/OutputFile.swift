import Glibc

/// A file that appears under its name only when it is whole.
///
/// Bytes go to a temporary sibling; `commit` syncs it, renames it and syncs the directory. Until then the name is
/// untouched, and a writer that is dropped removes its temporary file.
package struct OutputFile: ~Copyable {
  package let path: String
  package let temporaryPath: String
  private let descriptor: Int32
  private let replaces: Bool
  private var committed = false

  /// Creates the temporary sibling `.NAME.PID.tmp`.
  ///
  /// - Parameter replaces: whether `commit` may replace a file that has the name by then.
  /// - Throws: what `open` says, e.g. no such directory, no permission, read-only file system; EISDIR where the name is a
  ///   directory's and ENOENT where there is none, which `commit` would find out only at the end of the work.
  package init(path: String, replaces: Bool = true) throws(FileError) {
    let (directory, name) = Self.split(path)
    self.path = path
    self.replaces = replaces
    temporaryPath = "\(directory)/.\(name).\(getpid()).tmp"
    var status = stat()
    let isDirectory = unsafe stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    guard !isDirectory, !name.isEmpty else {
      descriptor = -1
      throw FileError("create", path, code: isDirectory ? EISDIR : ENOENT)
    }
    // What a killed process of the same number left is removed, not followed if somebody made it a link.
    unsafe _ = unlink(temporaryPath)
    descriptor = unsafe open(temporaryPath, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
    guard descriptor >= 0 else { throw FileError("create", path) }
  }

  deinit {
    close(descriptor)
    if !committed { unsafe _ = unlink(temporaryPath) }
  }

  private static func split(_ path: String) -> (directory: String, name: String) {
    guard let slash = path.lastIndex(of: "/") else { return (".", path) }
    let directory = path[..<slash]
    return (directory.isEmpty ? "/" : String(directory), String(path[path.index(after: slash)...]))
  }

  /// Writes all of `bytes` at a position, whatever the order of calls.
  package func write(_ bytes: RawSpan, at position: Int) throws(FileError) {
    var done = 0
    while done < bytes.byteCount {
      let written = unsafe bytes.withUnsafeBytes { buffer in
        unsafe pwrite(descriptor, buffer.baseAddress! + done, buffer.count - done, off_t(position + done))
      }
      if written < 0 {
        if errno == EINTR { continue }
        throw FileError("write", path)
      }
      done += written
    }
  }

  /// Syncs, gives the final name, and syncs the directory so that the name survives a crash too.
  ///
  /// - Throws: EEXIST where the name was taken meanwhile and must not be replaced.
  package consuming func commit() throws(FileError) {
    guard fsync(descriptor) == 0 else { throw FileError("sync", path) }
    // A link fails where the name is taken, at whatever moment that happened; file systems without links get a rename.
    let isLinked = unsafe !replaces && link(temporaryPath, path) == 0
    if isLinked {
      unsafe _ = unlink(temporaryPath)
    } else {
      guard replaces || errno != EEXIST else { throw FileError("create", path, code: EEXIST) }
      guard unsafe rename(temporaryPath, path) == 0 else { throw FileError("rename", path) }
    }
    committed = true
    let directory = unsafe open(Self.split(path).directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard directory >= 0 else { return }  // a directory we may write but not read: nothing more can be done
    fsync(directory)
    close(directory)
  }
}
