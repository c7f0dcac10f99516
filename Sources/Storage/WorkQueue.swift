import Dispatch
import Glibc
import Synchronization

/// Threads that take pieces of work in the order in which these come.
///
/// They are made at once, and where the system grants fewer than were asked for, these do all the work; with none, whoever
/// gives it does. Queues of the system's own wait for a thread without a word, for ever where there will be none.
package final class WorkQueue: Sendable {
  private let shared: Shared
  private let threads: [pthread_t]

  /// Threads that work besides those that give work.
  package var threadCount: Int { threads.count }

  package init(threads count: Int) {
    let shared = Shared()
    self.shared = shared
    var threads: [pthread_t] = []
    while threads.count < count, let thread = startThread({ shared.work() }) { threads.append(thread) }
    self.threads = threads
  }

  /// Waits until all work that was given is done, which therefore must not hold the last reference.
  deinit {
    shared.stop(threads: threads.count)
    for thread in threads { pthread_join(thread, nil) }
  }

  package func async(_ work: @escaping @Sendable () -> Void) {
    if threads.isEmpty { work() } else { shared.put(work) }
  }

  private final class Shared: Sendable {
    private let waiting = Mutex<(work: [@Sendable () -> Void], isStopped: Bool)>(([], false))
    private let arrivals = DispatchSemaphore(value: 0)

    func put(_ work: @escaping @Sendable () -> Void) {
      waiting.withLock { $0.work.append(work) }
      arrivals.signal()
    }

    func stop(threads: Int) {
      waiting.withLock { $0.isStopped = true }
      for _ in 0..<threads { arrivals.signal() }
    }

    func work() {
      while true {
        arrivals.wait()
        let next = waiting.withLock { $0.work.isEmpty ? nil : $0.work.removeFirst() }
        if let next { next() } else if waiting.withLock(\.isStopped) { return }
      }
    }
  }
}

/// As much as deep calls of ours take; the usual eight times as much would count against a limit of the address space.
private let stackByteCount = 1 << 20

/// Starts a thread; nil where the system has none to give.
private func startThread(_ body: @escaping @Sendable () -> Void) -> pthread_t? {
  final class Body {
    let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
  }
  let context = unsafe Unmanaged.passRetained(Body(body))
  var attributes = pthread_attr_t()
  unsafe pthread_attr_init(&attributes)
  defer { unsafe _ = pthread_attr_destroy(&attributes) }
  unsafe pthread_attr_setstacksize(&attributes, stackByteCount)
  var thread = pthread_t()
  let code = unsafe pthread_create(
    &thread, &attributes,
    { context in
      guard let context = unsafe context else { return nil }
      unsafe Unmanaged<Body>.fromOpaque(context).takeRetainedValue().run()
      return nil
    }, context.toOpaque())
  guard code == 0 else {
    unsafe context.release()
    return nil
  }
  return thread
}
