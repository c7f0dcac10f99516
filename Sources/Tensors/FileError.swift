import Glibc

/// A failed call of the operating system: which, on what, why.
package struct FileError: Error, Equatable {
  package let operation: String
  package let path: String
  /// The system's error number.
  package let code: Int32

  package init(_ operation: String, _ path: String, code: Int32 = Glibc.errno) {
    self.operation = operation
    self.path = path
    self.code = code
  }

  /// The error number of a full disk.
  package static var noSpace: Int32 { ENOSPC }

  /// Whether there is simply no file of this name.
  package var isMissing: Bool { code == ENOENT }

  /// The system's words for the number: "No such file or directory".
  package var reason: String { unsafe String(cString: strerror(code)) }
}
