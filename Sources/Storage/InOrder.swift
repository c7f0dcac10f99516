import Dispatch
import Synchronization

/// Does `work` for each index below `count` on several threads and hands the results to `consume`, in order, on the
/// calling thread.
///
/// At most `window` results exist at a time, made or in the making, so memory is bounded whatever the order in which they
/// finish. What `consume` sees does not depend on the number of threads. After a failure no further index is begun, and the
/// failure of the lowest index is thrown.
///
/// - Parameters:
///   - threads: at least 1; with 1, or where the system has no other, everything happens on the calling thread.
///   - window: at least `threads`.
///   - makeWorkspace: called once on each thread for what that thread reuses (buffers, compression contexts).
package func inOrder<Workspace, Output: Sendable, Failure: Error>(
  count: Int, threads: Int, window: Int,
  makeWorkspace: @escaping @Sendable () -> Workspace,
  work: @escaping @Sendable (inout Workspace, Int) -> Result<Output, Failure>,
  consume: (Int, Output) throws(Failure) -> Void
) throws(Failure) {
  precondition(threads >= 1 && window >= threads)
  let results = OrderedResults<Output, Failure>(
    count: count, threads: threads > 1 && count > 1 ? threads : 0, window: window, makeWorkspace: makeWorkspace,
    work: work)
  for index in 0..<count { try consume(index, try results.next().get()) }
}

/// Results that threads make ahead of whoever asks for them, one after the other: what ``inOrder`` does, where the asking is
/// no loop. No further one is begun when the last reference goes.
package final class OrderedResults<Output: Sendable, Failure: Error> {
  private let shared: Shared<Output, Failure>
  private let queue: WorkQueue
  /// Makes a result on the thread that asks, where there are no others.
  private let makeHere: (Int) -> Result<Output, Failure>
  private var index = 0

  /// - Parameters:
  ///   - count: of results.
  ///   - threads: that work; the one that asks is not among them, unless there are none.
  ///   - window: results that exist at a time, made or in the making; at least `threads`.
  package init<Workspace>(
    count: Int, threads: Int, window: Int, makeWorkspace: @escaping @Sendable () -> Workspace,
    work: @escaping @Sendable (inout Workspace, Int) -> Result<Output, Failure>
  ) {
    precondition(threads >= 0 && window >= threads)
    let shared = Shared<Output, Failure>(window: window)
    self.shared = shared
    var workspace: Workspace?
    makeHere = { index in
      var own = workspace.take() ?? makeWorkspace()
      defer { workspace = own }
      return work(&own, index)
    }
    queue = WorkQueue(threads: min(threads, count))
    for _ in 0..<queue.threadCount {
      queue.async {
        var workspace = makeWorkspace()
        while let index = shared.take(below: count) {
          shared.put(work(&workspace, index), at: index)
        }
      }
    }
  }

  deinit {
    shared.stop(threads: queue.threadCount)
  }

  /// The next result; waits for it.
  ///
  /// - Precondition: asked at most `count` times.
  package func next() -> Result<Output, Failure> {
    defer { index += 1 }
    return queue.threadCount > 0 ? shared.result(at: index) : makeHere(index)
  }
}

/// What the threads share.
private final class Shared<Output: Sendable, Failure: Error>: Sendable {
  private struct State {
    var next = 0
    var stopped = false
    var finished: [Int: Result<Output, Failure>] = [:]
  }
  private let state = Mutex(State())
  /// Results that may still be begun.
  private let slots = DispatchSemaphore(value: 0)
  /// Results that came in, in any order.
  private let arrivals = DispatchSemaphore(value: 0)

  init(window: Int) {
    // Not as the initial value: a semaphore that is let go below that traps, and a failure leaves slots taken.
    for _ in 0..<window { slots.signal() }
  }

  func take(below count: Int) -> Int? {
    slots.wait()
    return state.withLock { state in
      guard !state.stopped, state.next < count else { return nil }
      defer { state.next += 1 }
      return state.next
    }
  }

  func put(_ result: sending Result<Output, Failure>, at index: Int) {
    let result = result
    state.withLock { $0.finished[index] = result }
    arrivals.signal()
  }

  func result(at index: Int) -> Result<Output, Failure> {
    while true {
      if let result = state.withLock({ $0.finished.removeValue(forKey: index) }) {
        slots.signal()
        return result
      }
      arrivals.wait()
    }
  }

  func stop(threads: Int) {
    state.withLock { $0.stopped = true }
    for _ in 0..<threads { slots.signal() }
  }
}
