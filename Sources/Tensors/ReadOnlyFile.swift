import Glibc

/// A file read by position, without a mapping.
package final class ReadOnlyFile: Sendable {
  package let path: String
  package let byteCount: Int
  private let descriptor: Int32

  /// - Throws: what `open` or `fstat` says; EISDIR or ENODEV for what is no regular file.
  package init(path: String) throws(FileError) {
    (descriptor, byteCount) = try openRegularFile(path)
    self.path = path
  }

  deinit { close(descriptor) }

  /// Reads all bytes of the range.
  ///
  /// - Throws: what `pread` says; EIO when the file ends before the range does.
  package func read(_ range: Range<Int>) throws(FileError) -> AlignedBuffer {
    var buffer = AlignedBuffer(byteCount: range.count)
    var done = 0
    while done < range.count {
      var bytes = buffer.mutableBytes
      let count = unsafe bytes.withUnsafeMutableBytes { target in
        unsafe pread(descriptor, target.baseAddress! + done, range.count - done, off_t(range.lowerBound + done))
      }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw FileError("read", path, code: count < 0 ? errno : EIO) }
      done += count
    }
    return buffer
  }
}

/// Opens a regular file for reading; its descriptor and length.
func openRegularFile(_ path: String) throws(FileError) -> (descriptor: Int32, byteCount: Int) {
  // Not blocking: opening a pipe would wait for its writer.
  let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
  guard descriptor >= 0 else { throw FileError("open", path) }
  var status = stat()
  guard unsafe fstat(descriptor, &status) == 0 else {
    let error = FileError("stat", path)
    close(descriptor)
    throw error
  }
  guard status.st_mode & S_IFMT == S_IFREG else {
    close(descriptor)
    throw FileError("open", path, code: status.st_mode & S_IFMT == S_IFDIR ? EISDIR : ENODEV)
  }
  return (descriptor, Int(status.st_size))
}
