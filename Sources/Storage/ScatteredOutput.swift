import Glibc

/// Writes to a file at any place, from any thread: whole pages past the page cache, where they lie in memory as they do in the
/// file, and what is left of a run through it.
///
/// - Precondition: the file has its length already, and no byte is written twice.
package final class ScatteredOutput: Sendable {
  /// Shorter runs are not worth two ways.
  private static let leastDirectByteCount = 64 << 10

  private let file: OpenFile
  /// Nil where the file system cannot.
  private let direct: OpenFile?

  package init(_ output: borrowing OutputFile) {
    file = output.open
    let descriptor = SystemCall.open(output.link, O_WRONLY | O_CLOEXEC | DirectAccess.flag)
    direct = descriptor < 0 ? nil : OpenFile(path: output.path, descriptor: descriptor, isUnnamed: file.isUnnamed)
  }

  package func write(_ bytes: RawSpan, at position: Int) throws(FileError) {
    let alignment = DirectAccess.alignment
    let first = position.roundedUp(to: alignment) - position
    let last = (position + bytes.byteCount) / alignment * alignment - position
    let address = unsafe bytes.withUnsafeBytes { UInt(bitPattern: $0.baseAddress) }
    guard let direct, last - first >= Self.leastDirectByteCount, (address + UInt(first)) % UInt(alignment) == 0 else {
      return try file.write(bytes, at: position)
    }
    try file.write(bytes.extracting(first: first), at: position)
    try direct.write(bytes.extracting(first..<last), at: position + first)
    try file.write(bytes.extracting(last...), at: position + last)
  }
}
