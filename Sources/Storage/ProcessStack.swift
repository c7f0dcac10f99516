import CLinux
import Glibc

/// The stack of the thread that began the process. The system lets it grow as it is used, and where it has no memory for that,
/// the process ends without a word: there is no stack for a handler either.
package enum ProcessStack {
  private static let byteCount = 1 << 20

  /// Lets it grow now, to what any command needs.
  ///
  /// - Returns: false where there is no memory for it.
  package static func claim() -> Bool {
    let room = unsafe mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard unsafe room != MAP_FAILED else { return false }
    unsafe _ = munmap(room, byteCount)
    claim_stack()
    return true
  }
}
