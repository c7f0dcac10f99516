import Glibc
import Synchronization

/// Remembers that a signal asked to stop, so that long work can stop between two chunks and clean up.
enum Interrupt {
  private static let received = Atomic<Int32>(0)

  static func install() {
    // Made now: a handler must not be the first to touch it.
    received.store(0, ordering: .relaxed)
    for number in [SIGINT, SIGTERM, SIGHUP] {
      let previous = signal(number) { number in
        // A second signal means now.
        if Interrupt.received.exchange(number, ordering: .relaxed) != 0 { _exit(128 + number) }
      }
      // What `nohup` and shells in the background chose stays.
      if unsafe unsafeBitCast(previous, to: Int.self) == unsafeBitCast(SIG_IGN, to: Int.self) {
        _ = signal(number, SIG_IGN)
      }
    }
    // Writing to a closed pipe is then an error that `Console` takes for success.
    _ = signal(SIGPIPE, SIG_IGN)
    // A mapped file that somebody cuts short, or whose disk fails, answers with this signal.
    _ = signal(SIGBUS) { _ in
      let message: StaticString = """
        error: a file that is being read became shorter, or its disk failed

        hint: wait until the checkpoint is complete, then run the command again; nothing is left of this attempt

        """
      unsafe _ = Glibc.write(STDERR_FILENO, message.utf8Start, message.utf8CodeUnitCount)
      _exit(ExitStatus.integrity.rawValue)
    }
  }

  static var isRequested: Bool { received.load(ordering: .relaxed) != 0 }

  static var status: ExitStatus {
    switch received.load(ordering: .relaxed) {
    case SIGTERM: .terminated
    case SIGHUP: .hungUp
    default: .interrupted
    }
  }
}
