import CLinux
import Glibc

/// A read-only mapping of a whole file, unmapped when the last reference goes.
///
/// The caller promises that nobody shortens the file meanwhile: touching a page that no longer exists raises SIGBUS.
/// Ingot itself never truncates a file in place; it writes a sibling and renames.
@safe package final class MappedFile: Sendable {
  package let path: String
  package let byteCount: Int
  /// Whether the file itself is not here.
  package let isStandIn: Bool
  let descriptor: Int32
  private let state: FileState
  package let residencyIsTold: Bool
  private nonisolated(unsafe) let base: UnsafeRawPointer

  /// Maps the file. An empty file is mapped as no bytes.
  ///
  /// - Throws: what `open`, `fstat` or `mmap` says; EISDIR or ENODEV for what is no regular file; ``FileError/pointer`` for
  ///   what only stands for a file.
  package convenience init(path: String) throws(FileError) {
    let (descriptor, state) = try openRegularFile(path)
    try self.init(path: path, descriptor, state, byteCount: state.byteCount, isStandIn: false)
    if isPointer { throw FileError("open", path, code: FileError.pointer) }
  }

  /// Stands for a file that is not here and of which the first bytes are known. Whoever reads others meets the end of the file, as
  /// in one that has become shorter: nothing is made up.
  ///
  /// - Throws: what `memfd_create`, `write` or `mmap` says.
  package convenience init(standingFor path: String, byteCount: Int, start: RawSpan) throws(FileError) {
    let descriptor = unsafe memfd_create("ingot", 1)  // MFD_CLOEXEC
    guard descriptor >= 0 else { throw FileError("open", path) }
    let file = OpenFile(path: path, descriptor: dup(descriptor), isUnnamed: true)
    var status = stat()
    do throws(FileError) {
      try file.write(start, at: 0)
      guard unsafe fstat(descriptor, &status) == 0 else { throw FileError("stat", path) }
    } catch {
      close(descriptor)
      throw error
    }
    try self.init(path: path, descriptor, FileState(status), byteCount: byteCount, isStandIn: true)
  }

  private init(
    path: String, _ descriptor: Int32, _ state: FileState, byteCount: Int, isStandIn: Bool
  ) throws(FileError) {
    guard let base = unsafe mmap(nil, max(byteCount, 1), PROT_READ, MAP_SHARED, descriptor, 0),
      unsafe base != MAP_FAILED
    else {
      let error = FileError("mmap", path)
      close(descriptor)
      throw error
    }
    self.path = path
    self.byteCount = byteCount
    self.descriptor = descriptor
    self.state = state
    self.isStandIn = isStandIn
    residencyIsTold = Self.isResidencyTold(of: descriptor, path: path)
    unsafe self.base = UnsafeRawPointer(base)
  }

  /// What a clone without Git LFS has in the place of large files.
  private var isPointer: Bool {
    let start = Array("version https://git-lfs.github.com/spec/v1\n".utf8)
    guard (start.count..<1024).contains(byteCount) else { return false }
    return bytes.extracting(first: start.count).array == start
  }

  deinit {
    unsafe munmap(UnsafeMutableRawPointer(mutating: base), max(byteCount, 1))
    close(descriptor)
  }

  package var bytes: RawSpan {
    @_lifetime(borrow self)
    get { unsafe _overrideLifetime(RawSpan(_unsafeStart: base, byteCount: byteCount), borrowing: self) }
  }

  /// The same file to be read past the page cache; nil where its file system cannot.
  package func direct() -> DirectFile? { DirectFile(self) }

  /// Asks the system to read the range ahead; a hint, so failure is no error. Not asked for what seems to be there: the
  /// system looks at each of its pages, which takes longer than a product with a few tokens.
  ///
  /// - Returns: whether it asked.
  @discardableResult package func willNeed(_ range: Range<Int>) -> Bool {
    guard !isResident(range) else { return false }
    posix_fadvise(descriptor, off_t(range.lowerBound), off_t(range.count), POSIX_FADV_WILLNEED)
    return true
  }

  /// Brings all pages of the range into the mapping, from the page cache or, where it lacks some, from the disk.
  ///
  /// - Returns: false where touching them could raise SIGBUS: the file has become shorter, its disk fails, or the system
  ///   cannot do this (before Linux 5.14).
  func populate(_ range: Range<Int>) -> Bool {
    let start = range.lowerBound / Self.pageSize * Self.pageSize
    let pages = unsafe UnsafeMutableRawPointer(mutating: base + start)
    while unsafe madvise(pages, range.upperBound - start, MADV_POPULATE_READ) != 0 {
      guard errno == EINTR || errno == EAGAIN else { return false }
    }
    return true
  }

  /// Lets go of the range: its pages leave this mapping and, being clean, the page cache.
  package func release(_ range: Range<Int>) {
    let page = Self.pageSize
    // Only whole pages: a page shared with a neighbour may still be in use.
    let start = (range.lowerBound + page - 1) / page * page
    let end = range.upperBound == byteCount ? range.upperBound : range.upperBound / page * page
    guard start < end else { return }
    unsafe madvise(UnsafeMutableRawPointer(mutating: base + start), end - start, MADV_DONTNEED)
    posix_fadvise(descriptor, off_t(start), off_t(end - start), POSIX_FADV_DONTNEED)
  }

  /// Whether the page cache holds the first and the last page of the range.
  ///
  /// The system claims that all of a file is there that we may neither write nor own, so as not to tell what
  /// others read; then the answer is no.
  package func isResident(_ range: Range<Int>) -> Bool {
    guard !range.isEmpty else { return true }
    guard residencyIsTold else { return false }
    return [range.lowerBound, range.upperBound - 1].allSatisfy { position in
      var resident: UInt8 = 0
      let page = unsafe base + position / Self.pageSize * Self.pageSize
      return unsafe mincore(UnsafeMutableRawPointer(mutating: page), 1, &resident) == 0 && resident & 1 == 1
    }
  }

  /// Whether the name still leads to this file: another may have been put in its place.
  package var hasItsName: Bool { identity != nil && identity == FileIdentity(of: path) }

  /// Seconds and nanoseconds of the last writing before it was opened.
  package var written: [Int] { state.written }

  var identity: FileIdentity? { FileIdentity(of: descriptor) }

  /// Refuses what was read where the file is not as it was when it was opened: some of it may be from before, some from after.
  ///
  /// - Parameter mayBeReplaced: whether another file may have its name by now. That changes nothing of what was read, which is
  ///   then no longer what the name stands for.
  /// - Throws: ``FileError/changed``.
  package func requireUnchanged(mayBeReplaced: Bool = false) throws(FileError) {
    guard !isStandIn else { return }
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0 else { throw FileError("stat", path) }
    let now = FileState(status)
    let isSame = hasItsName ? now == state : mayBeReplaced && now.hasContents(of: state)
    guard isSame else { throw FileError("read", path, code: FileError.changed) }
  }

  private static func isResidencyTold(of descriptor: Int32, path: String) -> Bool {
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0 else { return false }
    return status.st_uid == geteuid() || SystemCall.access(path, W_OK) == 0
  }

  private static let pageSize = sysconf(Int32(_SC_PAGESIZE))
}
