import Glibc

/// Access past the page cache (`O_DIRECT`): the device moves the bytes straight to or from our memory.
///
/// Where the page cache is not needed, filling it costs more than the device: each new page is taken from the system,
/// zeroed or copied into, and given back later.
package enum DirectAccess {
  /// Positions, lengths and addresses are multiples of this; no sector is larger.
  package static let alignment = 4096

  // A macro that Swift does not import, and not the same everywhere.
  #if arch(arm64)
    static let flag: Int32 = 0o200000
  #else
    static let flag: Int32 = 0o40000
  #endif

  static func isOn(_ descriptor: Int32) -> Bool {
    let flags = fcntl(descriptor, F_GETFL)
    return flags >= 0 && flags & flag != 0
  }

  /// Turns it on or off for what is open already; false where the file system cannot.
  static func set(_ isOn: Bool, of descriptor: Int32) -> Bool {
    let flags = fcntl(descriptor, F_GETFL)
    guard flags >= 0 else { return false }
    return fcntl(descriptor, F_SETFL, isOn ? flags | flag : flags & ~flag) == 0
  }
}

/// Reads a file past the page cache into buffers that are used again.
package final class DirectFile: Sendable {
  private let file: MappedFile

  /// Nil where the file system cannot.
  init?(_ file: MappedFile) {
    self.file = file
    let descriptor = open()
    guard descriptor >= 0 else { return nil }
    close(descriptor)
  }

  /// Opens once more what is open: for each read, so that a model of many files takes one descriptor a file. It costs a few
  /// microseconds where a read takes hundreds.
  private func open() -> Int32 {
    // Not by its name, which may be another file's by now.
    SystemCall.open("/proc/self/fd/\(file.descriptor)", O_RDONLY | O_CLOEXEC | DirectAccess.flag)
  }

  /// The length a buffer must have for a range of this length.
  package static func bufferByteCount(_ byteCount: Int) -> Int { byteCount + 2 * DirectAccess.alignment }

  /// Reads all bytes of the range, and a few around it.
  ///
  /// - Returns: where in the buffer the bytes of the range are.
  /// - Throws: what `pread` says; EIO when the file ends before the range does.
  package func read(_ range: Range<Int>, into buffer: inout AlignedBuffer) throws(FileError) -> Range<Int> {
    let descriptor = open()
    guard descriptor >= 0 else { throw FileError("open", file.path) }
    defer { close(descriptor) }
    return try read(range, of: descriptor, into: &buffer, mayRetry: true)
  }

  private func read(
    _ range: Range<Int>, of descriptor: Int32, into buffer: inout AlignedBuffer, mayRetry: Bool
  ) throws(FileError) -> Range<Int> {
    let alignment = DirectAccess.alignment
    let start = range.lowerBound / alignment * alignment
    let length = (range.upperBound - start + alignment - 1) / alignment * alignment
    precondition(buffer.byteCount >= length)
    let (found, code) = readAll(descriptor, length, at: start, into: &buffer)
    if code == EINVAL, mayRetry, DirectAccess.set(false, of: descriptor) {
      // Sectors may be larger than all we know; then the cache has to do.
      return try read(range, of: descriptor, into: &buffer, mayRetry: false)
    }
    guard code == 0 else { throw FileError("read", file.path, code: code) }
    guard start + found >= range.upperBound else { throw FileError("read", file.path, code: EIO) }
    return range.lowerBound - start..<range.upperBound - start
  }
}

/// Reads up to `length` bytes, fewer only where the file ends.
///
/// - Returns: how many bytes were read, and an error number or 0.
func readAll(
  _ descriptor: Int32, _ length: Int, at position: Int, into buffer: inout AlignedBuffer
) -> (byteCount: Int, code: Int32) {
  var done = 0
  while done < length {
    var bytes = buffer.mutableBytes
    let count = unsafe bytes.withUnsafeMutableBytes { target in
      unsafe pread(descriptor, target.baseAddress! + done, length - done, off_t(position + done))
    }
    if count < 0, errno == EINTR { continue }
    if count < 0 { return (done, errno) }
    if count == 0 { break }
    done += count
  }
  return (done, 0)
}
