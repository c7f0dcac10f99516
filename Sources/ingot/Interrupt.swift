import Glibc
import Synchronization
import Tensors

/// Remembers that a signal asked to stop, so that long work can stop between two chunks and clean up.
enum Interrupt {
  private static let received = Atomic<Int32>(0)
  private static let isImmediate = Atomic<Bool>(false)

  static func install() {
    // Made now: a handler must not be the first to touch it.
    DoomedNames.prepare()
    received.store(0, ordering: .relaxed)
    isImmediate.store(false, ordering: .relaxed)
    for number in [SIGINT, SIGTERM, SIGHUP] {
      let previous = signal(number) { number in
        // A second signal means now; so does the first where nothing looks, or has to be cleaned up.
        if Interrupt.received.exchange(number, ordering: .relaxed) != 0
          || Interrupt.isImmediate.load(ordering: .relaxed)
        {
          DoomedNames.removeAll()
          _exit(128 + number)
        }
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

        hint: wait until the file is complete, then run the command again

        """
      unsafe _ = Glibc.write(STDERR_FILENO, message.utf8Start, message.utf8CodeUnitCount)
      DoomedNames.removeAll()
      _exit(ExitStatus.integrity.rawValue)
    }
  }

  /// Does what does not look for signals and leaves nothing behind: one ends the process at once.
  static func endingAtOnce<Result, Failure>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
    isImmediate.store(true, ordering: .relaxed)
    defer { isImmediate.store(false, ordering: .relaxed) }
    return try body()
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
