import Glibc

/// A file of lines that only one process at a time adds to. What `append` returned from outlasts the process.
package final class LockedLog: Sendable {
  private let file: OpenFile
  package let path: String

  private init(path: String, _ file: OpenFile) {
    self.path = path
    self.file = file
  }

  /// Opens or creates the file.
  ///
  /// - Returns: nil where another process has it open.
  /// - Throws: what `open` says.
  package static func open(_ path: String) throws(FileError) -> LockedLog? {
    let descriptor = SystemCall.open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, mode: 0o666)
    guard descriptor >= 0 else { throw FileError("open", path) }
    let file = OpenFile(path: path, descriptor: descriptor, isUnnamed: false)
    // A file system without locks has nobody who holds one.
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK else { return nil }
    return LockedLog(path: path, file)
  }

  /// All that is in it.
  package func contents() throws(FileError) -> [UInt8] {
    let mapping = try MappedFile(path: path)
    return mapping.bytes.array
  }

  /// Adds bytes at the end.
  package func append(_ bytes: [UInt8]) throws(FileError) {
    try file.write(bytes.bytes, at: 0)  // Linux writes at the end whatever the position
  }

  /// Drops what is behind a position.
  package func cut(at byteCount: Int) throws(FileError) {
    guard ftruncate(file.descriptor, off_t(byteCount)) == 0 else { throw FileError("shorten", path) }
  }
}
