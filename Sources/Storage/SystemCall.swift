import CLinux
package import Glibc
import Text

/// Calls of the system that take the name of a file. All go through here, because a name is bytes (``FileName``).
package enum SystemCall {
  package static func open(_ path: String, _ flags: Int32, mode: mode_t = 0) -> Int32 {
    unsafe named(path) { unsafe Glibc.open($0, flags, mode) }
  }

  /// What the name leads to; nil, and `errno`, where it leads nowhere.
  package static func status(of path: String) -> stat? {
    var status = stat()
    return unsafe named(path) { unsafe stat($0, &status) } == 0 ? status : nil
  }

  /// The same of a link itself.
  package static func statusOfLink(_ path: String) -> stat? {
    var status = stat()
    return unsafe named(path) { unsafe lstat($0, &status) } == 0 ? status : nil
  }

  package static func access(_ path: String, _ mode: Int32) -> Int32 {
    unsafe named(path) { unsafe Glibc.access($0, mode) }
  }

  package static func statusOfFileSystem(_ path: String) -> statvfs? {
    var status = statvfs()
    return unsafe named(path) { unsafe statvfs($0, &status) } == 0 ? status : nil
  }

  package static func unlink(_ path: String) -> Int32 { unsafe named(path) { unsafe Glibc.unlink($0) } }

  package static func rename(_ old: String, _ new: String) -> Int32 {
    unsafe named(old) { old in unsafe named(new) { unsafe Glibc.rename(old, $0) } }
  }

  package static func makeDirectory(_ path: String) -> Int32 { unsafe named(path) { unsafe mkdir($0, 0o777) } }

  package static func removeDirectory(_ path: String) -> Int32 { unsafe named(path) { unsafe rmdir($0) } }

  /// Fails with EEXIST where the new name is taken. File systems that cannot look and rename at once get both in turn.
  package static func renameUnlessTaken(_ old: String, _ new: String) -> Int32 {
    let unlessTaken: UInt32 = 1  // RENAME_NOREPLACE
    let result = unsafe named(old) { old in
      unsafe named(new) { unsafe renameat2(AT_FDCWD, old, AT_FDCWD, $0, unlessTaken) }
    }
    guard result != 0, [EINVAL, ENOSYS].contains(errno) else { return result }
    guard statusOfLink(new) == nil else {
      errno = EEXIST
      return -1
    }
    return rename(old, new)
  }

  /// Two names change places.
  package static func exchange(_ first: String, _ second: String) -> Int32 {
    let exchange: UInt32 = 2  // RENAME_EXCHANGE
    return unsafe named(first) { first in
      unsafe named(second) { unsafe renameat2(AT_FDCWD, first, AT_FDCWD, $0, exchange) }
    }
  }

  package static func link(_ old: String, _ new: String, flags: Int32) -> Int32 {
    unsafe named(old) { old in unsafe named(new) { unsafe linkat(AT_FDCWD, old, AT_FDCWD, $0, flags) } }
  }

  /// What is written in a link; nil where the path is none.
  package static func target(ofLink path: String) -> String? {
    var buffer = [UInt8](repeating: 0, count: Int(PATH_MAX))
    let count = unsafe buffer.withUnsafeMutableBytes { buffer in
      let start = unsafe buffer.baseAddress!.assumingMemoryBound(to: CChar.self)
      return unsafe named(path) { unsafe readlink($0, start, Int(PATH_MAX)) }
    }
    return count < 0 ? nil : FileName.decode(Array(buffer[..<count]))
  }

  /// A copy of the name as the system takes it, to be freed with `free`; nil without memory.
  package static func copy(of path: String) -> UnsafeMutablePointer<CChar>? { unsafe named(path) { unsafe strdup($0) } }

  /// The name without links in it; nil where it leads nowhere.
  package static func realPath(_ path: String) -> String? {
    guard let real = unsafe named(path, { unsafe realpath($0, nil) }) else { return nil }
    defer { unsafe free(real) }
    return unsafe name(real)
  }

  /// Names in a directory, itself and the one above among them; nil where it cannot be read.
  package static func names(in directory: String) -> [String]? {
    guard let stream = unsafe named(directory, { unsafe opendir($0) }) else { return nil }
    defer { unsafe _ = closedir(stream) }
    var names: [String] = []
    while let entry = unsafe readdir(stream) {
      names.append(
        unsafe withUnsafePointer(to: &entry.pointee.d_name) {
          unsafe name(UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
        })
    }
    return names
  }

  /// The words of the command line behind the program's name.
  package static let arguments: [String] = (1..<max(1, Int(CommandLine.argc))).compactMap {
    unsafe CommandLine.unsafeArgv[$0].map { unsafe name($0) }
  }

  private static func name(_ text: UnsafePointer<CChar>) -> String {
    unsafe FileName.decode(Array(UnsafeRawBufferPointer(start: text, count: strlen(text))))
  }

  private static func named<Result>(_ path: String, _ call: (UnsafePointer<CChar>) -> Result) -> Result {
    guard FileName.isEscaped(path) else { return unsafe path.withCString(call) }
    let bytes = FileName.bytes(of: path).map { CChar(bitPattern: $0) } + [0]
    return unsafe bytes.withUnsafeBufferPointer { unsafe call($0.baseAddress!) }  // holds a zero at least
  }
}
