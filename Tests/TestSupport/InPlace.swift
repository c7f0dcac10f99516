import Glibc

/// A file whose bytes are changed in place, as failing hardware would.
package final class FileInPlace {
  private let descriptor: Int32

  package init(_ path: String) throws {
    descriptor = unsafe open(path, O_RDWR | O_CLOEXEC)
    guard descriptor >= 0 else { throw TestFailure("cannot open \(path)") }
  }

  deinit { close(descriptor) }

  package func write(_ byte: UInt8, at position: Int) {
    var byte = byte
    unsafe _ = pwrite(descriptor, &byte, 1, off_t(position))
  }
}

/// Whether the long variants of tests run: `LONG_TESTS=1`.
package let runsLongTests = unsafe getenv("LONG_TESTS").map { unsafe String(cString: $0) == "1" } ?? false

/// The seed of random tests, from `TEST_SEED` or the clock; printed by who uses it.
package let testSeed: UInt64 =
  unsafe getenv("TEST_SEED").flatMap { unsafe UInt64(String(cString: $0)) } ?? UInt64(time(nil))
