import Glibc

/// A failed call of the operating system, or what was found instead of the file: which call, on what, why.
package struct FileError: Error, Equatable {
  /// What is there afterwards of a file that was to be written.
  package enum Remains: Sendable {
    case unsaid
    case nothing
    /// All of it, under its name; what failed is the last step of making that outlast a loss of power.
    case everything
  }

  package let operation: String
  package let path: String
  /// The system's error number, or one of ours below 0.
  package let code: Int32
  package let remains: Remains

  package init(_ operation: String, _ path: String, code: Int32 = Glibc.errno, remains: Remains = .unsaid) {
    self.operation = operation
    self.path = path
    self.code = code
    self.remains = remains
  }

  /// A Git LFS pointer lies where the file should be.
  package static let pointer: Int32 = -1
  /// The file is not what it was when it was opened.
  package static let changed: Int32 = -2
  /// A link has the name and leads to nothing.
  package static let dangling: Int32 = -3

  /// Whether there is no more room to write in: the disk, a quota or a limit on the size of files is exhausted.
  package var isNoRoom: Bool { [ENOSPC, EDQUOT, EFBIG].contains(code) }

  /// Whether a limit on the size of files was met, rather than a full disk.
  package var isFileSizeLimit: Bool { code == EFBIG }

  /// Whether the file is not open for what was wanted of it.
  package var isClosed: Bool { code == EBADF }

  /// Whether memory or address space is exhausted.
  package var isNoMemory: Bool { code == ENOMEM }

  /// Whether the name is longer than the file system takes.
  package var isNameTooLong: Bool { code == ENAMETOOLONG }

  /// Whether the process, or the system, has as many files open as it may.
  package var isTooManyOpen: Bool { code == EMFILE || code == ENFILE }

  /// Whether a file system that lies elsewhere did not answer, or what it answered no longer holds: it may do better later.
  package var isPassing: Bool {
    [ESTALE, ETIMEDOUT, EHOSTDOWN, EHOSTUNREACH, ENETDOWN, ENETUNREACH, ENOTCONN, ECONNRESET, ENOLINK].contains(code)
  }

  /// Whether there is simply no file of this name.
  package var isMissing: Bool { code == ENOENT }

  /// The system's words for the number, or ours: "No such file or directory".
  package var reason: String {
    switch code {
    case Self.pointer: "it is a Git LFS pointer, not the file itself"
    case Self.dangling: "it is a link that leads nowhere"
    case Self.changed: "it was changed while it was being read"
    default: unsafe String(cString: strerror(code))
    }
  }
}
