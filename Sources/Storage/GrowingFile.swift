import Glibc

/// A file that is written piece by piece and may end in the middle of one: each piece is on the disk when the call returns.
///
/// Whoever has it open has it alone, by a lock that ends with the process however that ends.
package final class GrowingFile {
  package let path: String
  private let descriptor: Int32
  private var byteCount: Int

  /// Opens a file that is there.
  ///
  /// - Throws: what `open` says; EWOULDBLOCK where another process has it.
  package init(path: String) throws(FileError) {
    let descriptor = SystemCall.open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW)
    guard descriptor >= 0 else { throw FileError("open", path) }
    // A file system without locks has nobody who keeps others out.
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK else {
      let error = FileError("lock", path)
      close(descriptor)
      throw error
    }
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      let error = FileError("open", path, code: ENODEV)
      close(descriptor)
      throw error
    }
    self.path = path
    self.descriptor = descriptor
    byteCount = Int(status.st_size)
  }

  deinit { close(descriptor) }

  /// Leaves out what stands behind a position.
  package func end(at position: Int) throws(FileError) {
    guard ftruncate(descriptor, off_t(position)) == 0 else { throw FileError("shorten", path) }
    byteCount = position
  }

  /// Writes behind what is there, and waits for the disk. What could not be written whole is taken away again.
  package func append(_ bytes: RawSpan) throws(FileError) {
    var done = 0
    while done < bytes.byteCount {
      let written = unsafe bytes.withUnsafeBytes { buffer in
        unsafe pwrite(descriptor, buffer.baseAddress! + done, buffer.count - done, off_t(byteCount + done))
      }
      if written < 0, errno == EINTR { continue }
      guard written >= 0 else {
        let error = FileError("write", path)
        _ = ftruncate(descriptor, off_t(byteCount))
        throw error
      }
      done += written
    }
    guard fdatasync(descriptor) == 0 else { throw FileError("sync", path) }
    byteCount += done
  }

  /// Removes the name.
  package func remove() throws(FileError) {
    guard SystemCall.unlink(path) == 0 || errno == ENOENT else { throw FileError("remove", path) }
  }
}
