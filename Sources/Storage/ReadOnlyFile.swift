import Glibc
import Synchronization

/// A file read by position into buffers, or looked at where the page cache holds it.
///
/// What is in the page cache is taken from there; the rest comes past it, and does not push out what others use.
package final class ReadOnlyFile: Sendable {
  private let mapping: MappedFile
  private let direct: DirectFile?

  package var path: String { mapping.path }
  package var byteCount: Int { mapping.byteCount }

  /// Whether the file system lets reads go past the page cache.
  package var passesCache: Bool { direct != nil }

  /// As of ``MappedFile``.
  package func willNeed(_ range: Range<Int>) { mapping.willNeed(range) }
  package func requireUnchanged() throws(FileError) { try mapping.requireUnchanged(mayBeReplaced: true) }

  /// - Throws: what `open`, `fstat` or `mmap` says; EISDIR or ENODEV for what is no regular file.
  package convenience init(path: String) throws(FileError) { self.init(try MappedFile(path: path)) }

  /// Opens again what is mapped already.
  package init(_ mapping: MappedFile) {
    self.mapping = mapping
    direct = mapping.direct()
  }

  /// The length a buffer must have for a range of this length.
  package static func bufferByteCount(_ byteCount: Int) -> Int { DirectFile.bufferByteCount(byteCount) }

  /// The bytes of the range in the page cache itself; nil where they have to be read, and where that is faster.
  ///
  /// All pages are in the mapping then, so a failing disk or a file that has become shorter gives nil, and an error when it
  /// is read. What remains is a file that is cut short while its bytes are in use: touching them raises SIGBUS. Others may
  /// write them meanwhile, so two looks may differ.
  @_lifetime(borrow self)
  package func cached(_ range: Range<Int>) -> RawSpan? {
    guard slowCount.load(ordering: .relaxed) < Self.mostSlow, mapping.isResident(range) else { return nil }
    let clock = ContinuousClock()
    let start = clock.now
    guard mapping.populate(range) else { return nil }
    if clock.now - start > .nanoseconds(range.count / Self.bytesPerNanosecond + 10_000) {
      slowCount.add(1, ordering: .relaxed)
    } else if slowCount.load(ordering: .relaxed) > 0 {
      slowCount.subtract(1, ordering: .relaxed)
    }
    let mapping = mapping  // 6.3.1 takes the field for a variable that ends before the bytes do
    return unsafe _overrideLifetime(mapping.bytes.extracting(range), borrowing: self)
  }

  /// Where the page cache is in single pages, as it is when memory is short, mapping it takes longer than copying it into a
  /// buffer that stays in the processor's cache: measured, 20 GB/s a thread, and 60 to 400 where it is in large pieces.
  private static let bytesPerNanosecond = 50
  private static let mostSlow = 64
  /// Ranges that were slow to map, less those that were not.
  private let slowCount = Atomic<Int>(0)

  /// Reads all bytes of the range.
  ///
  /// - Returns: where in the buffer they are.
  /// - Throws: what `pread` says; EIO when the file ends before the range does.
  package func read(_ range: Range<Int>, into buffer: inout AlignedBuffer) throws(FileError) -> Range<Int> {
    if let direct, !isCached(range) { return try direct.read(range, into: &buffer) }
    return try readThroughCache(range, into: &buffer)
  }

  /// The bytes of the range where the page cache holds them, or else read past it into a buffer: a content, and where in it they
  /// are.
  ///
  /// - Parameter buffers: of at least ``bufferByteCount(_:)``.
  package func held(
    _ range: Range<Int>, _ buffers: BufferPool
  ) throws(FileError) -> (content: SharedBytes, place: Range<Int>) {
    guard let direct, !isCached(range) else { return (SharedBytes(mapping, range), 0..<range.count) }
    var buffer = buffers.take()
    let place = try direct.read(range, into: &buffer)
    return (SharedBytes(buffer), place)
  }

  /// Goes once through the bytes of a range, in order. What was in the page cache is looked at there, in one piece; all else is
  /// read past it piece by piece or, without buffers, mapped in one piece and let go of, so that a file larger than memory does not
  /// push everything else out of the cache.
  ///
  /// - Parameters:
  ///   - wasCached: what ``isCached(_:)`` said before anything was read ahead.
  ///   - step: bytes of a piece.
  ///   - buffers: of at least ``bufferByteCount(_:)`` of a piece; nil where there is no memory for them.
  ///   - failure: makes an error of one of the system.
  ///   - body: takes a piece, and where it begins in the range.
  package func forEachPiece<Failure: Error>(
    of range: Range<Int>, wasCached: Bool, step: Int, _ buffers: BufferPool?, failure: (FileError) -> Failure,
    _ body: (RawSpan, Int) throws(Failure) -> Void
  ) throws(Failure) {
    guard !wasCached, let direct, let buffers else {
      let mapping = mapping  // as in ``cached(_:)``
      try body(mapping.bytes.extracting(range), 0)
      if !wasCached { mapping.release(range) }
      return
    }
    var buffer = buffers.take()
    for start in stride(from: 0, to: range.count, by: step) {
      let piece = range.lowerBound + start..<min(range.lowerBound + start + step, range.upperBound)
      let place: Range<Int>
      do throws(FileError) { place = try direct.read(piece, into: &buffer) } catch { throw failure(error) }
      try body(buffer.bytes.extracting(place), start)
    }
  }

  /// Whether the page cache holds the range, as far as its first and last page tell.
  package func isCached(_ range: Range<Int>) -> Bool { mapping.isResident(range) }

  /// The same as ``read(_:into:)`` without asking first: for the pieces of what is in the cache.
  package func readThroughCache(
    _ range: Range<Int>, into buffer: inout AlignedBuffer
  ) throws(FileError) -> Range<Int> {
    let (found, code) = readAll(mapping.descriptor, range.count, at: range.lowerBound, into: &buffer)
    guard code == 0, found == range.count else { throw FileError("read", path, code: code == 0 ? EIO : code) }
    return 0..<found
  }
}

/// What tells whether a file was written to: its length and times.
struct FileState: Equatable {
  let byteCount: Int
  /// Seconds and nanoseconds of the last writing, and of the last change of anything, its names among it.
  let written: [Int]
  private let changed: [Int]

  init(_ status: stat) {
    byteCount = Int(status.st_size)
    written = [status.st_mtim.tv_sec, status.st_mtim.tv_nsec]
    changed = [status.st_ctim.tv_sec, status.st_ctim.tv_nsec]
  }

  func hasContents(of other: FileState) -> Bool { byteCount == other.byteCount && written == other.written }
}

/// Opens a regular file for reading; its descriptor and what it is like.
func openRegularFile(_ path: String) throws(FileError) -> (descriptor: Int32, state: FileState) {
  // Not blocking: opening a pipe would wait for its writer.
  let descriptor = SystemCall.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
  guard descriptor >= 0 else {
    let error = FileError("open", path)
    // What is there but leads nowhere is not simply missing: the cache of a hub has links to files yet to be fetched.
    guard error.isMissing, SystemCall.statusOfLink(path) != nil else { throw error }
    throw FileError("open", path, code: FileError.dangling)
  }
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
  return (descriptor, FileState(status))
}
