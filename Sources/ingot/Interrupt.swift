import Glibc
import Storage
import Synchronization

/// Signals that ask to stop: they end the process at once, except where work under way looks for them itself, since it has
/// something to finish or to clean up. A second one always ends it.
enum Interrupt {
  private static let received = Atomic<Int32>(0)
  /// How many of those that look are under way.
  private static let lookers = Atomic<Int>(0)
  private static let clearsLine = Atomic<Bool>(false)
  private static let advice = Atomic<Int>(0)

  /// What may be said beside the fact that work was interrupted.
  enum Advice: Int {
    case none
    /// The option would have kept what was finished.
    case resume
    /// It is kept.
    case goesOn
  }

  static func advise(_ advice: Advice) { Self.advice.store(advice.rawValue, ordering: .relaxed) }

  static func install() {
    // Made now: a handler must not be the first to touch it.
    DoomedNames.prepare()
    advice.store(0, ordering: .relaxed)
    received.store(0, ordering: .relaxed)
    lookers.store(0, ordering: .relaxed)
    clearsLine.store(Console.stderrIsTerminal, ordering: .relaxed)
    for number in [SIGINT, SIGTERM, SIGHUP] {
      let previous = signal(number) { number in
        let isFirst = Interrupt.received.exchange(number, ordering: .relaxed) == 0
        if isFirst, Interrupt.lookers.load(ordering: .relaxed) > 0 { return }
        // A bar of progress may stand in the line.
        if Interrupt.clearsLine.load(ordering: .relaxed) { Interrupt.write("\r\u{1B}[2K") }
        Interrupt.write("interrupted\n")
        switch Interrupt.advice.load(ordering: .relaxed) {
        case Advice.resume.rawValue:
          Interrupt.write("hint: with --resume a command keeps what it has finished, and goes on from there\n")
        case Advice.goesOn.rawValue:
          Interrupt.write("hint: run the same command again to go on from what is finished\n")
        default: break
        }
        DoomedNames.removeAll()
        _exit(128 + number)
      }
      // What `nohup` and shells in the background chose stays.
      if unsafe unsafeBitCast(previous, to: Int.self) == unsafeBitCast(SIG_IGN, to: Int.self) {
        _ = signal(number, SIG_IGN)
      }
    }
  }

  /// Does what asks ``isRequested`` again and again.
  static func lookingOut<Result: ~Copyable, Failure>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
    lookers.add(1, ordering: .relaxed)
    defer { lookers.subtract(1, ordering: .relaxed) }
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

  /// From a handler, where little else is allowed.
  fileprivate static func write(_ text: StaticString) {
    unsafe _ = Glibc.write(STDERR_FILENO, text.utf8Start, text.utf8CodeUnitCount)
  }
}

/// What the system says by signal or by closed descriptors, turned into what the rest of the program expects: errors of
/// calls, and sentences.
enum SystemNotices {
  static func install() {
    openStandardStreams()
    // Writing to a closed pipe, or beyond a limit on the size of files, is then an error like any other.
    for number in [SIGPIPE, SIGXFSZ] { _ = signal(number, SIG_IGN) }
    // A mapped file that somebody cuts short, or whose disk fails, answers with this signal.
    _ = signal(SIGBUS) { _ in
      Interrupt.write(
        """
        error: a file that is being read became shorter, or its disk failed

        hint: wait until the file is complete, then run the command again

        """)
      DoomedNames.removeAll()
      _exit(ExitStatus.integrity.rawValue)
    }
    // Where an allocation fails, the language aborts, or reads a message that it had no memory for; the error number is the
    // system's.
    for number in [SIGABRT, SIGILL, SIGTRAP, SIGSEGV] {
      unsafe sigaction(number, nil, &former[Int(number)])
      _ = signal(number) { number in
        guard errno == ENOMEM else {
          // A fault of our own ends the process as ever.
          unsafe sigaction(number, &SystemNotices.former[Int(number)], nil)
          raise(number)
          return
        }
        SystemNotices.endWithoutMemory()
      }
    }
    // A stack that cannot grow ends the process where no handler has a stack either.
    if !ProcessStack.claim() { endWithoutMemory() }
  }

  private static func endWithoutMemory() -> Never {
    Interrupt.write(
      """
      error: the system gives this process no more memory

      hint: raise its limit (ulimit -v or -d, or the control group's), or use fewer --threads and a smaller \
      --max-memory

      """)
    DoomedNames.removeAll()
    _exit(ExitStatus.temporary.rawValue)
  }

  /// By signal, what was done before: the language may tell where it happened.
  private nonisolated(unsafe) static let former = UnsafeMutablePointer<sigaction>.allocate(capacity: 65)

  /// Takes the places of standard streams that are closed, so that no file that is opened gets one of them, and what is
  /// meant for the stream. The access is the wrong one: use remains the error that it would have been.
  private static func openStandardStreams() {
    for descriptor in STDIN_FILENO...STDERR_FILENO where fcntl(descriptor, F_GETFD) < 0 {
      unsafe _ = open("/dev/null", descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY)
    }
  }
}
