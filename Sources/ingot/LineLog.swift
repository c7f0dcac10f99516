import Glibc
import JSON
import Storage

/// Lines of JSON, appended as they come, each with one call, rather than written beside and renamed: the lines in the file are whole
/// whatever ends the run, and it can be watched while it grows.
final class LineLog {
  private let path: String
  private let descriptor: Int32
  /// Bytes of whole lines.
  private var byteCount: Int

  /// - Parameters:
  ///   - descriptor: of the file, open to be appended to; closed with the log.
  ///   - byteCount: of the lines that are there.
  init(path: String, descriptor: Int32, byteCount: Int = 0) {
    self.path = path
    self.descriptor = descriptor
    self.byteCount = byteCount
  }

  deinit { close(descriptor) }

  func append(_ line: JSONValue) throws(FileError) {
    let line = Array((line.text(indented: false) + "\n").utf8)
    var rest = line[...]
    while !rest.isEmpty {
      let count = unsafe rest.withUnsafeBytes { unsafe write(descriptor, $0.baseAddress, $0.count) }
      if count < 0 {
        if errno == EINTR { continue }
        let error = FileError("write", path)
        // What was written of the line is taken back; a pipe or a device keeps it.
        ftruncate(descriptor, off_t(byteCount))
        throw error
      }
      rest = rest.dropFirst(count)
    }
    byteCount += line.count
  }
}
