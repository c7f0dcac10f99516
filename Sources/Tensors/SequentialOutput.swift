/// Writes a file from front to back past the page cache, in whole pages; bytes left out are zero.
///
/// Runs that start on a page of the file and of memory go to the device from where they are. Others are gathered.
package struct SequentialOutput: ~Copyable {
  /// What is gathered before it is written. Anonymous memory of each output.
  package static let gatheredByteCount = 2 << 20
  /// From here on a run is worth a write of its own.
  private static let leastDirectByteCount = 64 << 10

  private var file: OutputFile
  private var gathered: AlignedBuffer
  /// Where the gathered bytes belong: a multiple of the alignment.
  private var start = 0
  private var count = 0

  /// Where the next byte goes.
  package var end: Int { start + count }

  package init(_ file: consuming OutputFile) {
    self.file = file
    self.file.isDirect = true
    gathered = AlignedBuffer(byteCount: Self.gatheredByteCount)
  }

  /// Writes at a position.
  ///
  /// - Precondition: the position is not before ``end``.
  package mutating func append(_ bytes: RawSpan, at position: Int) throws(FileError) {
    precondition(position >= end)
    try skip(to: position)
    var rest = bytes
    let isOnPage = unsafe bytes.withUnsafeBytes { unsafe Int(bitPattern: $0.baseAddress) % DirectAccess.alignment == 0 }
    if position % DirectAccess.alignment == 0, isOnPage, bytes.byteCount >= Self.leastDirectByteCount {
      try flush()
      let length = bytes.byteCount / DirectAccess.alignment * DirectAccess.alignment
      try file.write(bytes.extracting(first: length), at: position)
      start = position + length
      rest = bytes.extracting(length...)
    }
    while rest.byteCount > 0 {
      let length = min(rest.byteCount, Self.gatheredByteCount - count)
      let place = count
      var room = gathered.mutableBytes
      room.write(rest.extracting(first: length), at: place)
      count += length
      rest = rest.extracting(length...)
      if count == Self.gatheredByteCount { try flush() }
    }
  }

  /// Writes what was gathered and lets go of the file, which now takes bytes at any position.
  package consuming func finish() throws(FileError) -> OutputFile {
    file.isDirect = false
    let rest = gathered.bytes.extracting(first: count)
    try file.write(rest, at: start)
    return file
  }

  private mutating func skip(to position: Int) throws(FileError) {
    let zeros = [UInt8](repeating: 0, count: DirectAccess.alignment)
    while end < position {
      let length = min(position - end, zeros.count, Self.gatheredByteCount - count)
      let place = count
      var room = gathered.mutableBytes
      room.write(zeros.bytes.extracting(first: length), at: place)
      count += length
      if count == Self.gatheredByteCount { try flush() }
    }
  }

  /// - Precondition: whole pages were gathered.
  private mutating func flush() throws(FileError) {
    guard count > 0 else { return }
    precondition(count % DirectAccess.alignment == 0)
    try file.write(gathered.bytes.extracting(first: count), at: start)
    start += count
    count = 0
  }
}
