import CLinux
import Glibc
import Synchronization

/// A file that appears under its name only when it is whole.
///
/// Until `commit` the file has no name at all (`O_TMPFILE`), so that nothing is left of it however the process ends. Where a
/// file system cannot do that, it is a temporary sibling, removed when the writer is dropped.
package struct OutputFile: ~Copyable {
  package let path: String
  /// The sibling's name, used from the start or, to replace a file, for the moment before the rename.
  package let temporaryPath: String
  let open: OpenFile
  private var descriptor: Int32 { open.descriptor }
  private let replaces: Bool
  private let isNamed: Bool
  private var committed = false
  /// Whether writes go past the page cache; then positions, lengths and addresses must be multiples of
  /// `DirectAccess.alignment`. Stays false where the file system cannot.
  package var isDirect = false {
    didSet { if isDirect != oldValue, !DirectAccess.set(isDirect, of: open.descriptor) { isDirect = false } }
  }

  /// `O_TMPFILE`, a macro that Swift does not import.
  private static let unnamed: Int32 = 0o20000000 | O_DIRECTORY
  /// Tells writers of one process apart.
  private static let counter = Atomic<Int>(0)

  /// Creates the file without its name.
  ///
  /// - Parameter replaces: whether `commit` may replace a file that has the name by then.
  /// - Throws: what `open` says, e.g. no such directory, no permission, read-only file system; EISDIR where the name is a
  ///   directory's and ENOENT where there is none, which `commit` would find out only at the end of the work.
  package init(path: String, replaces: Bool = true) throws(FileError) {
    let (directory, name) = Self.split(path)
    self.path = path
    self.replaces = replaces
    let number = Self.counter.add(1, ordering: .relaxed).newValue
    temporaryPath = "\(directory)/.\(name).\(getpid()).\(number).tmp"
    var status = stat()
    let isDirectory = unsafe stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    guard !isDirectory, !name.isEmpty else {
      open = OpenFile(path: path, descriptor: -1)
      isNamed = false
      throw FileError("create", path, code: isDirectory ? EISDIR : ENOENT)
    }
    let unnamed = unsafe Glibc.open(directory, Self.unnamed | O_RDWR | O_CLOEXEC, 0o666)
    isNamed = unnamed < 0
    let descriptor =
      unnamed >= 0 ? unnamed : unsafe Glibc.open(temporaryPath, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
    let error = FileError("create", path)
    open = OpenFile(path: path, descriptor: descriptor)
    guard descriptor >= 0 else { throw error }
  }

  deinit {
    if isNamed, !committed { unsafe _ = unlink(temporaryPath) }
  }

  private static func split(_ path: String) -> (directory: String, name: String) {
    guard let slash = path.lastIndex(of: "/") else { return (".", path) }
    let directory = path[..<slash]
    return (directory.isEmpty ? "/" : String(directory), String(path[path.index(after: slash)...]))
  }

  /// Writes all of `bytes` at a position, whatever the order of calls.
  package func write(_ bytes: RawSpan, at position: Int) throws(FileError) { try open.write(bytes, at: position) }

  /// Takes room on the disk for so many bytes, which are zero then. Writes past the page cache that make a file longer wait
  /// for each other; those into room that is there do not. Where a file system cannot, nothing is lost.
  package func reserve(_ byteCount: Int) { _ = fallocate(descriptor, 0, 0, off_t(byteCount)) }

  /// Ends the file at a position.
  func end(at byteCount: Int) throws(FileError) {
    guard ftruncate(descriptor, off_t(byteCount)) == 0 else { throw FileError("shorten", path) }
  }

  /// Copies a part of another file to a position. The kernel does it where it can, and a file system that shares blocks
  /// between files copies nothing.
  ///
  /// - Throws: what `copy_file_range` or `write` says.
  package func copy(_ range: Range<Int>, of source: MappedFile, to position: Int) throws(FileError) {
    var done = 0
    while done < range.count {
      var (from, to) = (off_t(range.lowerBound + done), off_t(position + done))
      let count = unsafe copy_file_range(source.descriptor, &from, descriptor, &to, range.count - done, 0)
      if count < 0, errno == EINTR { continue }
      if count > 0 {
        done += count
        continue
      }
      // Other file systems, old kernels and sandboxes refuse the call, and some answer 0; all of them can still write.
      guard count == 0 || [EXDEV, ENOSYS, EOPNOTSUPP, EINVAL, EPERM].contains(errno) else {
        throw FileError("copy into", path)
      }
      return try write(source.bytes.extracting(range.lowerBound + done..<range.upperBound), at: position + done)
    }
  }

  /// Gives this file the mode of another, and its owner where the system allows that.
  package func takePermissions(of source: MappedFile) throws(FileError) {
    var (wanted, own) = (stat(), stat())
    guard unsafe fstat(source.descriptor, &wanted) == 0 else { throw FileError("stat", source.path) }
    // Only root may give a file away; anyone else owns the copy.
    _ = fchown(descriptor, wanted.st_uid, wanted.st_gid)
    // File systems without modes refuse the call, and there nothing differs.
    let mode = wanted.st_mode & 0o777
    guard unsafe fstat(descriptor, &own) == 0, own.st_mode & 0o777 == mode || fchmod(descriptor, mode) == 0 else {
      throw FileError("set the mode of", path)
    }
  }

  /// Bytes that an ordinary user may still write beside `path`; nil where the system does not say.
  package static func freeBytes(beside path: String) -> Int? {
    var status = statvfs()
    guard unsafe statvfs(split(path).directory, &status) == 0 else { return nil }
    return Int(status.f_bavail) * Int(status.f_frsize)
  }

  /// Syncs, gives the final name, and syncs the directory so that the name survives a crash too.
  ///
  /// - Throws: EEXIST where the name was taken meanwhile and must not be replaced.
  package consuming func commit() throws(FileError) {
    guard fsync(descriptor) == 0 else { throw FileError("sync", path) }
    let source = isNamed ? temporaryPath : "/proc/self/fd/\(descriptor)"
    let follow = isNamed ? 0 : AT_SYMLINK_FOLLOW
    if replaces {
      if !isNamed {
        guard unsafe linkat(AT_FDCWD, source, AT_FDCWD, temporaryPath, follow) == 0 else {
          throw FileError("create", path)
        }
      }
      guard unsafe rename(temporaryPath, path) == 0 else {
        let error = FileError("rename", path)
        unsafe _ = unlink(temporaryPath)
        throw error
      }
    } else if unsafe linkat(AT_FDCWD, source, AT_FDCWD, path, follow) == 0 {
      if isNamed { unsafe _ = unlink(temporaryPath) }
    } else {
      // A link fails where the name is taken, at whatever moment that happened; a file system without links gets a rename.
      guard isNamed, errno != EEXIST else { throw FileError("create", path) }
      guard unsafe rename(temporaryPath, path) == 0 else { throw FileError("rename", path) }
    }
    committed = true
    let directory = unsafe Glibc.open(Self.split(path).directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard directory >= 0 else { return }  // a directory we may write but not read: nothing more can be done
    fsync(directory)
    close(directory)
  }
}

/// A descriptor that is closed when the last who may write is done.
final class OpenFile: Sendable {
  private let path: String
  let descriptor: Int32

  init(path: String, descriptor: Int32) {
    self.path = path
    self.descriptor = descriptor
  }

  deinit { if descriptor >= 0 { close(descriptor) } }

  func write(_ bytes: RawSpan, at position: Int) throws(FileError) {
    var done = 0
    while done < bytes.byteCount {
      let written = unsafe bytes.withUnsafeBytes { buffer in
        unsafe pwrite(descriptor, buffer.baseAddress! + done, buffer.count - done, off_t(position + done))
      }
      if written < 0 {
        if errno == EINTR { continue }
        let error = FileError("write", path)
        // Sectors may be larger than all we know; then the cache has to do.
        if error.code == EINVAL, DirectAccess.isOn(descriptor), DirectAccess.set(false, of: descriptor) { continue }
        throw error
      }
      done += written
    }
  }
}
