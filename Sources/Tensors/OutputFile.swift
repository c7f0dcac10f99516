import Glibc

/// A file that appears under its name only when it is whole.
///
/// Bytes go to a temporary sibling; `commit` syncs it, renames it and syncs the directory. Until then the name is
/// untouched, and a writer that is dropped removes its temporary file.
package struct OutputFile: ~Copyable {
  package let path: String
  package let temporaryPath: String
  private let descriptor: Int32
  private var committed = false

  /// Creates the temporary sibling `.NAME.PID.tmp`.
  ///
  /// - Throws: what `open` says, e.g. no such directory, no permission, read-only file system; EISDIR where the name is a
  ///   directory's, which `commit` would find out only at the end of the work.
  package init(path: String) throws(FileError) {
    let (directory, name) = Self.split(path)
    self.path = path
    temporaryPath = "\(directory)/.\(name).\(getpid()).tmp"
    var status = stat()
    if unsafe stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR {
      descriptor = -1
      throw FileError("create", path, code: EISDIR)
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

  /// Syncs, renames to the final name, and syncs the directory so that the name survives a crash too.
  package consuming func commit() throws(FileError) {
    guard fsync(descriptor) == 0 else { throw FileError("sync", path) }
    guard unsafe rename(temporaryPath, path) == 0 else { throw FileError("rename", path) }
    committed = true
    let directory = unsafe open(Self.split(path).directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard directory >= 0 else { return }  // a directory we may write but not read: nothing more can be done
    fsync(directory)
    close(directory)
  }
}
