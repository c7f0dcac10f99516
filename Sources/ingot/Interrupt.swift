import Glibc
import Synchronization

/// Remembers that SIGINT or SIGTERM came, so that long work can stop between two chunks and clean up.
enum Interrupt {
  private static let received = Atomic<Int32>(0)

  static func install() {
    for number in [SIGINT, SIGTERM] {
      _ = signal(number) { number in
        // A second signal means now.
        if Interrupt.received.exchange(number, ordering: .relaxed) != 0 { _exit(128 + number) }
      }
    }
    // Writing to a closed pipe is then an error that `Console` takes for success.
    _ = signal(SIGPIPE, SIG_IGN)
  }

  static var isRequested: Bool { received.load(ordering: .relaxed) != 0 }

  static var status: ExitStatus { received.load(ordering: .relaxed) == SIGTERM ? .terminated : .interrupted }
}
