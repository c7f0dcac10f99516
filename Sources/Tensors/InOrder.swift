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
///   - threads: at least 1; with 1 everything happens on the calling thread.
///   - window: at least `threads`.
///   - makeWorkspace: called once on each thread for what that thread reuses (buffers, compression contexts).
package func inOrder<Workspace, Output: Sendable, Failure: Error>(
  count: Int, threads: Int, window: Int,
  makeWorkspace: @escaping @Sendable () -> Workspace,
  work: @escaping @Sendable (inout Workspace, Int) -> Result<Output, Failure>,
  consume: (Int, Output) throws(Failure) -> Void
) throws(Failure) {
  precondition(threads >= 1 && window >= threads)
  guard threads > 1, count > 1 else {
    var workspace = makeWorkspace()
    for index in 0..<count { try consume(index, try work(&workspace, index).get()) }
    return
  }

  let results = OrderedResults<Output, Failure>(
    count: count, threads: threads, window: window, makeWorkspace: makeWorkspace, work: work)
  for index in 0..<count { try consume(index, try results.next().get()) }
}

/// Results that threads make ahead of whoever asks for them, one after the other: what ``inOrder`` does, where the asking is
/// no loop. No further one is begun when the last reference goes.
package final class OrderedResults<Output: Sendable, Failure: Error> {
  private let shared: Shared<Output, Failure>
  private let threads: Int
  private let group = DispatchGroup()
  private var index = 0

  /// - Parameters:
  ///   - count: of results.
  ///   - threads: that work; the one that asks is not among them.
  ///   - window: results that exist at a time, made or in the making; at least `threads`.
  package init<Workspace>(
    count: Int, threads: Int, window: Int, makeWorkspace: @escaping @Sendable () -> Workspace,
    work: @escaping @Sendable (inout Workspace, Int) -> Result<Output, Failure>
  ) {
    precondition(threads >= 1 && window >= threads)
    let shared = Shared<Output, Failure>(window: window)
    self.shared = shared
    self.threads = min(threads, count)
    for number in 0..<self.threads {
      // A serial queue gets a thread at once. The concurrent ones make no more than there are processors, and see only
      // after a second that theirs wait for a disk.
      DispatchQueue(label: "ingot.worker.\(number)").async(group: group) {
        var workspace = makeWorkspace()
        while let index = shared.take(below: count) {
          shared.put(work(&workspace, index), at: index)
        }
      }
    }
  }

  deinit {
    shared.stop(threads: threads)
    group.wait()
  }

  /// The next result; waits for it.
  ///
  /// - Precondition: asked at most `count` times.
  package func next() -> Result<Output, Failure> {
    defer { index += 1 }
    return shared.result(at: index)
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
