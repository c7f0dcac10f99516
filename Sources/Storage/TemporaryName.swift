import Glibc
import Synchronization

/// The name of an output, a file or a directory, before it is whole, beside the final one: `.mini.ingot.4711-1.ingot.tmp`. It loses
/// the name when the object goes.
///
/// A killed process leaves such a file behind. Whoever writes holds a lock on it (`flock`), which ends with the process
/// however that ends; what has our form of name, stands for the same output and is not locked is nobody's.
final class TemporaryName {
  private static let suffix = ".ingot.tmp"
  /// How much of the final name is kept; file systems allow 143 bytes to 255.
  private static let keptByteCount = 100
  /// Tells writers of one process apart.
  private static let counter = Atomic<Int>(0)

  let path: String
  private let slot: Int?
  private var isOurs = true

  /// Takes a name that nobody has.
  ///
  /// - Parameter take: gives the name to a file; returns 0 or an error number, EEXIST where it is taken.
  /// - Returns: nil with the error number of `take` in `errno`.
  init?(in directory: String, for name: String, _ take: (String) -> Int32) {
    for _ in 0..<100 {
      let number = Self.counter.add(1, ordering: .relaxed).newValue
      let path = "\(directory)/\(Self.prefix(name))\(getpid())-\(number)\(Self.suffix)"
      // Before the file is there: a signal may come at once.
      let slot = DoomedNames.insert(path)
      let code = take(path)
      if code == 0 {
        self.path = path
        self.slot = slot
        return
      }
      DoomedNames.remove(slot)
      errno = code
      guard code == EEXIST else { return nil }
    }
    return nil
  }

  deinit {
    if isOurs { _ = FileTree.remove(path) }
    DoomedNames.remove(slot)
  }

  /// The name leads to another file from now on, or is gone.
  func letGo() {
    isOurs = false
    DoomedNames.remove(slot)
  }

  private static func prefix(_ name: String) -> String {
    var kept = ""
    for scalar in name.unicodeScalars {
      guard kept.utf8.count + String(scalar).utf8.count <= keptByteCount else { break }
      kept.unicodeScalars.append(scalar)
    }
    return ".\(kept)."
  }

  /// Removes what killed writers of the same output left.
  ///
  /// - Returns: names and lengths of what was removed.
  static func removeLeftovers(in directory: String, of name: String) -> [(name: String, byteCount: Int)] {
    let names = (SystemCall.names(in: directory) ?? []).filter { isTemporary($0, of: name) }
    return names.sorted().compactMap { found in
      removeUnlessLocked("\(directory)/\(found)").map { (found, $0) }
    }
  }

  private static func isTemporary(_ found: String, of name: String) -> Bool {
    let (bytes, first, last) = (found.utf8, prefix(name).utf8, suffix.utf8)
    guard bytes.count > first.count + last.count, bytes.starts(with: first),
      bytes.reversed().starts(with: last.reversed())
    else { return false }
    let numbers = bytes.dropFirst(first.count).dropLast(last.count).split(
      separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
    return numbers.count == 2
      && numbers.allSatisfy { !$0.isEmpty && $0.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) } }
  }

  private static func removeUnlessLocked(_ path: String) -> Int? {
    var descriptor = SystemCall.open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
    if descriptor < 0 { descriptor = SystemCall.open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) }
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var file = stat()
    guard unsafe fstat(descriptor, &file) == 0, [S_IFREG, S_IFDIR].contains(file.st_mode & S_IFMT),
      file.st_uid == geteuid(), flock(descriptor, LOCK_EX | LOCK_NB) == 0,
      // With the lock: until then its writer could have given it the final name, and the name to another.
      let named = SystemCall.statusOfLink(path), named.st_dev == file.st_dev, named.st_ino == file.st_ino
    else { return nil }
    return FileTree.remove(path)
  }
}

/// Names to be removed by a handler of signals that ends the process, where nothing else would.
package enum DoomedNames {
  private static let slots = InlineArray<8, Atomic<UInt>> { _ in Atomic(0) }

  /// Must be called once before a handler may run: a handler must not be the first to touch the table.
  package static func prepare() { _ = slots[0].load(ordering: .relaxed) }

  /// - Returns: nil where the table is full; the name is then removed by nobody but its owner.
  static func insert(_ path: String) -> Int? {
    // Never freed: a handler may be looking at it.
    guard let copy = unsafe SystemCall.copy(of: path) else { return nil }
    for index in 0..<8 {
      let isFree = slots[index].compareExchange(
        expected: 0, desired: UInt(bitPattern: copy), ordering: .acquiringAndReleasing
      ).exchanged
      if isFree { return index }
    }
    unsafe free(copy)
    return nil
  }

  static func remove(_ slot: Int?) {
    if let slot { slots[slot].store(0, ordering: .releasing) }
  }

  /// Removes them all; calls nothing that a handler must not call.
  package static func removeAll() {
    for index in 0..<8 {
      let address = slots[index].load(ordering: .acquiring)
      guard let path = unsafe UnsafePointer<CChar>(bitPattern: address) else { continue }
      // Of directories those without files; the next run takes away the others.
      if unsafe unlink(path) != 0 { unsafe _ = rmdir(path) }
    }
  }
}
