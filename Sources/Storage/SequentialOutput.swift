import Dispatch
import Synchronization

/// Writes a file from front to back past the page cache, in whole pages; bytes left out are zero.
///
/// Runs that start on a page of the file go to the device from where they are. Others are gathered. A few writes are under
/// way at once, on threads that wait for them, so that the device has one when it is done with the last.
package struct SequentialOutput: ~Copyable {
  /// Writes under way that pay: the device is busy with one while the other is made.
  package static let usefulDepth = 2
  private static let gatheredByteCount = 1 << 20
  /// From here on a run is worth a write of its own.
  private static let leastDirectByteCount = 64 << 10

  private var file: OutputFile
  private let reserved: Int
  private let writes: WriteQueue
  private let pool = BufferPool(capacity: gatheredByteCount)
  private var gathered: AlignedBuffer
  /// Where the gathered bytes belong: a multiple of the alignment.
  private var start = 0
  private var count = 0
  /// Whether nothing is gathered.
  private let isImmediate: Bool

  /// Where the next byte goes.
  package var end: Int { start + count }

  /// Anonymous memory of an output, beside the buffers it is given.
  package static func workingBytes(depth: Int) -> Int { (1 + depth) * gatheredByteCount }

  /// - Parameters:
  ///   - depth: writes that may be under way when a call returns; each keeps its buffer.
  ///   - byteCount: the length that the file is going to have, if known; room for it is taken at once.
  /// - Throws: where there is no such room.
  package init(_ file: consuming OutputFile, depth: Int = 0, byteCount: Int? = nil) throws(FileError) {
    if let byteCount { try file.reserve(byteCount) }
    self.file = file
    reserved = byteCount ?? 0
    self.file.isDirect = true
    let open = self.file.open
    writes = WriteQueue(depth: depth) { (bytes, position) throws(FileError) in try open.write(bytes, at: position) }
    gathered = pool.take()
    isImmediate = false
  }

  /// Goes on with a file of which some bytes are there, and gathers nothing: what `append` returned from outlasts the process but for
  /// as many writes as are under way.
  ///
  /// - Parameters:
  ///   - position: where the next byte goes; what the file holds behind it is gone.
  ///   - depth: as above.
  package init(continuing file: consuming OutputFile, at position: Int, depth: Int) throws(FileError) {
    try file.end(at: position)
    let output = ScatteredOutput(file)
    self.file = file
    reserved = 0
    writes = WriteQueue(depth: depth) { (bytes, position) throws(FileError) in try output.write(bytes, at: position) }
    gathered = pool.take()
    start = position
    isImmediate = true
  }

  /// Writes the first bytes of a buffer at a position.
  ///
  /// - Precondition: the position is not before ``end``.
  /// - Throws: the error of this or an earlier write.
  package mutating func append(_ buffer: SharedBuffer, byteCount: Int, at position: Int) throws(FileError) {
    if isImmediate { return try appendAtOnce(buffer, byteCount: byteCount, at: position) }
    var done = 0
    if position % DirectAccess.alignment == 0, byteCount >= Self.leastDirectByteCount {
      try skip(to: position)
      try flush()
      done = byteCount / DirectAccess.alignment * DirectAccess.alignment
      try writes.write(buffer, 0..<done, at: position)
      start = position + done
    }
    try append(buffer.bytes.extracting(done..<byteCount), at: position + done)
  }

  /// What is left out is a hole, which reads as zeros.
  private mutating func appendAtOnce(_ buffer: SharedBuffer, byteCount: Int, at position: Int) throws(FileError) {
    precondition(position >= end)
    // Past the page cache go bytes that lie in a page of memory where they lie in one of the file.
    let shift = position % DirectAccess.alignment
    if shift == 0 || byteCount < Self.leastDirectByteCount {
      try writes.write(buffer, 0..<byteCount, at: position)
    } else {
      var shifted = AlignedBuffer(byteCount: shift + byteCount)
      var room = shifted.mutableBytes
      room.write(buffer.bytes.extracting(first: byteCount), at: shift)
      try writes.write(shifted.share(), shift..<shift + byteCount, at: position)
    }
    start = position + byteCount
  }

  /// Gathers bytes.
  ///
  /// - Precondition: the position is not before ``end``.
  package mutating func append(_ bytes: RawSpan, at position: Int) throws(FileError) {
    if isImmediate {
      precondition(position >= end)
      try file.write(bytes, at: position)
      start = position + bytes.byteCount
      return
    }
    try skip(to: position)
    var rest = bytes
    while rest.byteCount > 0 {
      let length = min(rest.byteCount, Self.gatheredByteCount - count)
      try gather(rest.extracting(first: length))
      rest = rest.extracting(length...)
    }
  }

  /// Writes what was gathered and lets go of the file, which now takes bytes at any position.
  package consuming func finish() throws(FileError) -> OutputFile {
    try writes.wait()
    file.isDirect = false
    let rest = gathered.bytes.extracting(first: count)
    try file.write(rest, at: start)
    if end < reserved { try file.end(at: end) }
    return file
  }

  private mutating func skip(to position: Int) throws(FileError) {
    precondition(position >= end)
    let zeros = [UInt8](repeating: 0, count: DirectAccess.alignment)
    while end < position {
      let length = min(position - end, zeros.count, Self.gatheredByteCount - count)
      try gather(zeros.bytes.extracting(first: length))
    }
  }

  private mutating func gather(_ bytes: RawSpan) throws(FileError) {
    let place = count
    var room = gathered.mutableBytes
    room.write(bytes, at: place)
    count += bytes.byteCount
    if count == Self.gatheredByteCount { try flush() }
  }

  /// - Precondition: whole pages were gathered.
  private mutating func flush() throws(FileError) {
    guard count > 0 else { return }
    precondition(count % DirectAccess.alignment == 0)
    var full = pool.take()
    swap(&full, &gathered)
    try writes.write(full.share(), 0..<count, at: start)
    start += count
    count = 0
  }
}

/// Writes that wait for the device on threads of their own.
private final class WriteQueue: Sendable {
  private let write: @Sendable (RawSpan, Int) throws(FileError) -> Void
  private let queue: WorkQueue
  private let state = State()

  private final class State: Sendable {
    /// One for each write that may begin.
    let slots = DispatchSemaphore(value: 0)
    let failure = Mutex<FileError?>(nil)
  }

  /// - Parameter write: puts bytes at a position of the file.
  init(depth: Int, write: @escaping @Sendable (RawSpan, Int) throws(FileError) -> Void) {
    self.write = write
    queue = WorkQueue(threads: depth)
    // Not as the initial value: a semaphore that is let go below that traps.
    for _ in 0..<queue.threadCount { state.slots.signal() }
  }

  /// Begins a write as soon as a thread is free for it; without threads, does it.
  func write(_ buffer: SharedBuffer, _ range: Range<Int>, at position: Int) throws(FileError) {
    guard queue.threadCount > 0 else {
      return try write(buffer.bytes.extracting(range), position)
    }
    state.slots.wait()
    if let failure = state.failure.withLock({ $0 }) {
      state.slots.signal()
      throw failure
    }
    queue.async { [write, state] in
      do throws(FileError) {
        try write(buffer.bytes.extracting(range), position)
      } catch {
        state.failure.withLock { $0 = $0 ?? error }
      }
      state.slots.signal()
    }
  }

  /// Waits until all are done.
  func wait() throws(FileError) {
    for _ in 0..<queue.threadCount { state.slots.wait() }
    for _ in 0..<queue.threadCount { state.slots.signal() }
    if let failure = state.failure.withLock({ $0 }) { throw failure }
  }
}
