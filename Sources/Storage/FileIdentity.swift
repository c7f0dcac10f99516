import Glibc

/// Which file it is, by whatever name: its device and its number there.
package struct FileIdentity: Hashable, Sendable {
  private let device: UInt
  private let number: UInt

  private init(_ status: stat) {
    device = UInt(status.st_dev)
    number = UInt(status.st_ino)
  }

  /// The identity of what a path leads to, through links; nil where that is nothing.
  package init?(of path: String) {
    guard let status = SystemCall.status(of: path) else { return nil }
    self.init(status)
  }

  /// The identity of an open file.
  package init?(of descriptor: Int32) {
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0 else { return nil }
    self.init(status)
  }
}
