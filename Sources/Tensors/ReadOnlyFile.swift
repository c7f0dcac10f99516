import Glibc

/// A file read by position into buffers, never through a mapping.
///
/// What is in the page cache is copied from there; the rest comes past it, and does not push out what others use.
package final class ReadOnlyFile: Sendable {
  /// Asked what is in the page cache; its bytes are never touched.
  private let mapping: MappedFile
  private let direct: DirectFile?

  package var path: String { mapping.path }
  package var byteCount: Int { mapping.byteCount }

  /// - Throws: what `open`, `fstat` or `mmap` says; EISDIR or ENODEV for what is no regular file.
  package init(path: String) throws(FileError) {
    mapping = try MappedFile(path: path)
    direct = mapping.direct()
  }

  /// The length a buffer must have for a range of this length.
  package static func bufferByteCount(_ byteCount: Int) -> Int { DirectFile.bufferByteCount(byteCount) }

  /// Reads all bytes of the range.
  ///
  /// - Returns: where in the buffer they are.
  /// - Throws: what `pread` says; EIO when the file ends before the range does.
  package func read(_ range: Range<Int>, into buffer: inout AlignedBuffer) throws(FileError) -> Range<Int> {
    if let direct, !mapping.isResident(range) { return try direct.read(range, into: &buffer) }
    let (found, code) = readAll(mapping.descriptor, range.count, at: range.lowerBound, into: &buffer)
    guard code == 0, found == range.count else { throw FileError("read", path, code: code == 0 ? EIO : code) }
    return 0..<found
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
