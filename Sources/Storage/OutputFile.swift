import CLinux
import Glibc

/// A file that appears under its name only when it is whole.
///
/// Until `commit` the file has no name at all (`O_TMPFILE`), so that nothing is left of it however the process ends. Where a
/// file system cannot do that, it has a ``TemporaryName``, as it has for the moment in which it replaces another.
package struct OutputFile: ~Copyable {
  package let path: String
  let open: OpenFile
  private var descriptor: Int32 { open.descriptor }
  private let replaces: Bool
  private let temporary: TemporaryName?
  /// The name of a file that is gone on with; it outlasts whoever writes.
  private let working: String?
  /// Whether writes go past the page cache; then positions, lengths and addresses must be multiples of
  /// `DirectAccess.alignment`. Stays false where the file system cannot.
  package var isDirect = false {
    didSet { if isDirect != oldValue, !DirectAccess.set(isDirect, of: open.descriptor) { isDirect = false } }
  }

  /// `O_TMPFILE`, a macro that Swift does not import.
  private static let unnamed: Int32 = 0o20000000 | O_DIRECTORY

  /// Creates the file without its name.
  ///
  /// - Parameters:
  ///   - replaces: whether `commit` may replace a file that has the name by then.
  ///   - mayBeUnnamed: false does what is done where the file system has no files without names.
  /// - Throws: what `open` says, e.g. no such directory, no permission, read-only file system; and what `commit` would find
  ///   out only at the end of the work: EISDIR where the name is a directory's, ENOENT where there is none, ENAMETOOLONG,
  ///   EPERM where the file that is there may not be replaced.
  package init(path: String, replaces: Bool = true, mayBeUnnamed: Bool = true) throws(FileError) {
    let (directory, name) = Self.split(path)
    let made: (OpenFile, TemporaryName?)
    if let code = Self.obstacle(path, directory, name) { throw FileError("create", path, code: code) }
    if mayBeUnnamed, let descriptor = Self.unnamedFile(in: directory) {
      made = (OpenFile(path: path, descriptor: descriptor, isUnnamed: true), nil)
    } else {
      made = try Self.namedFile(in: directory, name, for: path)
    }
    self.path = path
    self.replaces = replaces
    working = nil
    (open, temporary) = made
  }

  /// Opens a file that was begun before under another name, or begins it there; it stays there until `commit`, whatever happens.
  ///
  /// - Parameters:
  ///   - working: its name until then, on the same file system.
  ///   - replaces: whether `commit` may replace a file that has the final name by then.
  /// - Throws: what `open` says, and what is in the way of the final name.
  package init(goingOnWith working: String, as path: String, replaces: Bool) throws(FileError) {
    let (directory, name) = Self.split(path)
    if let code = Self.obstacle(path, directory, name) { throw FileError("create", path, code: code) }
    let descriptor = SystemCall.open(working, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, mode: 0o666)
    guard descriptor >= 0 else { throw FileError("open", working) }
    self.path = path
    self.replaces = replaces
    self.working = working
    (open, temporary) = (OpenFile(path: path, descriptor: descriptor, isUnnamed: false), nil)
  }

  /// Creates a file that is read by its ``link`` and never gets a name.
  ///
  /// - Throws: what `open` says.
  package init(withoutNameIn directory: String) throws(FileError) {
    path = "\(directory)/ingot"
    replaces = false
    working = nil
    if let descriptor = Self.unnamedFile(in: directory) {
      (open, temporary) = (OpenFile(path: path, descriptor: descriptor, isUnnamed: true), nil)
    } else {
      (open, temporary) = try Self.namedFile(in: directory, "ingot", for: path)
    }
  }

  /// Nil where the file system has none, or they could not get a name later.
  private static func unnamedFile(in directory: String) -> Int32? {
    let descriptor = SystemCall.open(directory, unnamed | O_RDWR | O_CLOEXEC, mode: 0o666)
    guard descriptor >= 0 else { return nil }
    guard unsafe access("/proc/self/fd/\(descriptor)", F_OK) == 0 else {
      close(descriptor)
      return nil
    }
    flock(descriptor, LOCK_EX | LOCK_NB)  // for the time when it has a temporary name
    return descriptor
  }

  private static func namedFile(
    in directory: String, _ name: String, for path: String
  ) throws(FileError) -> (OpenFile, TemporaryName) {
    var descriptor: Int32 = -1
    let temporary = TemporaryName(in: directory, for: name) { path in
      descriptor = SystemCall.open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode: 0o666)
      guard descriptor >= 0 else { return errno }
      guard isLocked(descriptor) else {
        close(descriptor)
        return EEXIST
      }
      return 0
    }
    let error = FileError("create", path)
    guard let temporary else { throw error }
    return (OpenFile(path: path, descriptor: descriptor, isUnnamed: false), temporary)
  }

  /// Locks a new file; false where somebody who takes it for a leftover was faster. A file system without locks has nobody who
  /// does.
  private static func isLocked(_ descriptor: Int32) -> Bool {
    var status = stat()
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK else { return false }
    return unsafe fstat(descriptor, &status) != 0 || status.st_nlink > 0
  }

  /// The error that giving the name would end with.
  private static func obstacle(_ path: String, _ directory: String, _ name: String) -> Int32? {
    if let target = SystemCall.status(of: path), target.st_mode & S_IFMT == S_IFDIR { return EISDIR }
    guard !name.isEmpty else { return ENOENT }
    guard let file = SystemCall.statusOfLink(path) else { return errno == ENOENT ? nil : errno }
    // As in /tmp, where nobody may remove what is another's.
    guard let parent = SystemCall.status(of: directory), parent.st_mode & S_ISVTX != 0 else { return nil }
    return [0, file.st_uid, parent.st_uid].contains(geteuid()) ? nil : EPERM
  }

  /// Removes what killed writers of the same output left beside it; those that still write keep theirs.
  ///
  /// - Returns: names and lengths of what was removed.
  package static func removeLeftovers(of path: String) -> [(name: String, byteCount: Int)] {
    let (directory, name) = split(path)
    return TemporaryName.removeLeftovers(in: directory, of: name)
  }

  /// The directory and the name in it.
  package static func split(_ path: String) -> (directory: String, name: String) {
    guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return (".", path) }
    let directory = path[..<slash]
    return (directory.isEmpty ? "/" : String(directory), String(path[path.utf8.index(after: slash)...]))
  }

  /// A path under which this process can read the file before it has its name.
  package var link: String { open.link }

  /// Writes all of `bytes` at a position, whatever the order of calls.
  package func write(_ bytes: RawSpan, at position: Int) throws(FileError) { try open.write(bytes, at: position) }

  /// Takes room on the disk for so many bytes, which are zero then. Writes past the page cache that make a file longer wait
  /// for each other; those into room that is there do not.
  ///
  /// - Throws: ENOSPC, EDQUOT or EFBIG, which are better known before the work. Where a file system cannot, nothing is lost.
  package func reserve(_ byteCount: Int) throws(FileError) {
    guard fallocate(descriptor, 0, 0, off_t(byteCount)) != 0, [ENOSPC, EDQUOT, EFBIG].contains(errno) else { return }
    throw open.failure("write")
  }

  /// Ends the file at a position; bytes up to it that nobody wrote are zero.
  package func end(at byteCount: Int) throws(FileError) {
    guard ftruncate(descriptor, off_t(byteCount)) == 0 else { throw open.failure("shorten") }
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
        throw open.failure("copy into")
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
      throw open.failure("set the mode of")
    }
  }

  /// Bytes that an ordinary user may still write beside `path`; nil where the system does not say.
  package static func freeBytes(beside path: String) -> Int? {
    guard let status = SystemCall.statusOfFileSystem(split(path).directory) else { return nil }
    return Int(status.f_bavail) * Int(status.f_frsize)
  }

  /// Syncs, gives the final name, and syncs the directory so that the name survives a crash too.
  ///
  /// - Parameter old: takes the name only from this file, as it was opened.
  /// - Throws: EEXIST where the name was taken meanwhile and must not be replaced; ``FileError/changed`` where the name is not
  ///   `old`'s any more, which is then as it was found. An error that says that everything remains comes after the name.
  package consuming func commit(inPlaceOf old: MappedFile? = nil) throws(FileError) {
    try sync()
    if let working {
      try takeName(after: working)
    } else if let old {
      try old.requireUnchanged()
      try takeName(from: old)
    } else if !replaces {
      try takeFreeName()
    } else if temporary != nil || SystemCall.link(open.link, path, flags: AT_SYMLINK_FOLLOW) != 0 {
      try rename(try temporaryName())
    }
    try Self.syncDirectory(of: path)
  }

  /// Waits until all that was written is on the disk.
  package func sync() throws(FileError) {
    guard fsync(descriptor) == 0 else { throw open.failure("sync") }
  }

  private func takeName(after working: String) throws(FileError) {
    let isNamed =
      replaces
      ? SystemCall.rename(working, path) == 0
      : SystemCall.renameUnlessTaken(working, path) == 0
    guard isNamed else { throw open.failure("rename") }
  }

  /// So that a name that was given survives a crash.
  static func syncDirectory(of path: String) throws(FileError) {
    let directory = SystemCall.open(split(path).directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard directory >= 0 else { return }  // a directory we may write but not read: nothing more can be done
    defer { close(directory) }
    // A file system that has no such call says EINVAL.
    guard fsync(directory) == 0 || errno == EINVAL else {
      throw FileError("sync the directory of", path, remains: .everything)
    }
  }

  private func temporaryName() throws(FileError) -> TemporaryName {
    if let temporary { return temporary }
    let (directory, name) = Self.split(path)
    let link = open.link
    let made = TemporaryName(in: directory, for: name) { path in
      SystemCall.link(link, path, flags: AT_SYMLINK_FOLLOW) == 0 ? 0 : errno
    }
    guard let made else { throw open.failure("create") }
    return made
  }

  private func rename(_ temporary: TemporaryName) throws(FileError) {
    guard SystemCall.rename(temporary.path, path) == 0 else { throw open.failure("rename") }
    temporary.letGo()
  }

  private func takeFreeName() throws(FileError) {
    let isLinked =
      if let temporary {
        SystemCall.link(temporary.path, path, flags: 0) == 0
      } else {
        SystemCall.link(open.link, path, flags: AT_SYMLINK_FOLLOW) == 0
      }
    if isLinked { return }
    // A link fails where the name is taken, at whatever moment that happened; a file system without links gets a rename.
    guard let temporary, errno != EEXIST else { throw open.failure("create") }
    try rename(temporary)
  }

  /// Both names change places, so that the file that had the name can be looked at when nobody else can replace it.
  private func takeName(from old: MappedFile) throws(FileError) {
    let temporary = try temporaryName()
    guard exchange(temporary) else {
      // Here and there a file system cannot; then a moment is left in which another may take the name.
      guard [EINVAL, ENOSYS, EOPNOTSUPP].contains(errno) else { throw open.failure("rename") }
      guard old.hasItsName else { throw open.failure("rename", code: FileError.changed) }
      return try rename(temporary)
    }
    // Whatever happens between, the file that came last keeps the name: each exchange shows which had it until then.
    var found = FileIdentity(of: temporary.path)
    guard found != old.identity else { return }
    temporary.letGo()
    var put = open.identity
    while exchange(temporary) {
      let left = FileIdentity(of: temporary.path)
      if left == put {
        _ = SystemCall.unlink(temporary.path)
        break
      }
      (put, found) = (found, left)
    }
    throw open.failure("rename", code: FileError.changed)
  }

  private func exchange(_ temporary: TemporaryName) -> Bool { SystemCall.exchange(temporary.path, path) == 0 }
}

/// A descriptor that is closed when the last who may write is done.
final class OpenFile: Sendable {
  private let path: String
  let descriptor: Int32
  /// Then nothing is left when it is closed.
  let isUnnamed: Bool

  init(path: String, descriptor: Int32, isUnnamed: Bool) {
    self.path = path
    self.descriptor = descriptor
    self.isUnnamed = isUnnamed
  }

  deinit { close(descriptor) }

  /// What a file without a name is given one from.
  var link: String { "/proc/self/fd/\(descriptor)" }

  var identity: FileIdentity? { FileIdentity(of: descriptor) }

  func failure(_ operation: String, code: Int32 = Glibc.errno) -> FileError {
    FileError(operation, path, code: code, remains: isUnnamed ? .nothing : .unsaid)
  }

  func write(_ bytes: RawSpan, at position: Int) throws(FileError) {
    var done = 0
    while done < bytes.byteCount {
      let written = unsafe bytes.withUnsafeBytes { buffer in
        unsafe pwrite(descriptor, buffer.baseAddress! + done, buffer.count - done, off_t(position + done))
      }
      if written < 0 {
        if errno == EINTR { continue }
        let error = failure("write")
        // Sectors may be larger than all we know; then the cache has to do.
        if error.code == EINVAL, DirectAccess.isOn(descriptor), DirectAccess.set(false, of: descriptor) { continue }
        throw error
      }
      done += written
    }
  }
}
