import CKernels
import Synchronization

/// Work that is split over threads in fixed parts. Each index belongs to one part, and what is computed for it must not
/// depend on the part it is in; then no result depends on the number of threads.
///
/// A region costs about a microsecond while the last one is less than 100 µs ago, and a wake-up of some 50 µs otherwise.
/// Regions do not nest: within another, or while another thread has one, all parts run on the calling thread.
package enum Parallel {
  /// Splits 0 ..< count into parts of nearly the same size and runs `body` on all of them; returns when all are done. With
  /// one part, `body` runs on the calling thread.
  ///
  /// - Parameters:
  ///   - threads: the most parts.
  ///   - minimum: the least size of a part, so that small work is not split.
  ///   - multiple: sizes of parts are multiples of this, except for the last.
  package static func rows(
    count: Int, threads: Int, minimum: Int = 1, multiple: Int = 1, _ body: @Sendable (Range<Int>) -> Void
  ) {
    precondition(count >= 0 && threads >= 1 && minimum >= 1 && multiple >= 1)
    guard count > 0 else { return }
    let parts = max(1, min(threads, count / minimum, (count + multiple - 1) / multiple))
    guard parts > 1 else { return body(0..<count) }
    let units = (count + multiple - 1) / multiple
    @Sendable func start(_ part: Int) -> Int { min(count, units * part / parts * multiple) }
    run(parts) { part in body(start(part)..<start(part + 1)) }
  }

  /// The results of `body` for 0 ..< count. Each thread takes the next index when it is done with one, so that pieces of work
  /// may differ in size.
  package static func map<Result: Sendable>(
    count: Int, threads: Int, _ body: @Sendable (Int) -> Result
  ) -> [Result] {
    precondition(count >= 0 && threads >= 1)
    guard min(count, threads) > 1 else { return (0..<count).map(body) }
    return unsafe Array(unsafeUninitializedCapacity: count) { buffer, initialized in
      let next = Atomic<Int>(0)
      // Each index is taken, and its element made, once; the region ends when all are.
      let results = unsafe Shared(buffer.baseAddress!)
      run(min(count, threads)) { _ in
        while true {
          let index = next.add(1, ordering: .relaxed).oldValue
          guard index < count else { return }
          unsafe (results.value + index).initialize(to: body(index))
        }
      }
      initialized = count
    }
  }

  /// Runs `body` once for each of some ranges of `y`, which no two share. Each thread takes the next when it is done with one.
  @_lifetime(y: copy y)
  package static func parts(
    of y: inout MutableSpan<Float>, at ranges: [Range<Int>], threads: Int,
    _ body: @Sendable (Int, inout MutableSpan<Float>) -> Void
  ) {
    let order = ranges.filter { !$0.isEmpty }.sorted { $0.lowerBound < $1.lowerBound }
    precondition(zip(order, order.dropFirst()).allSatisfy { $0.upperBound <= $1.lowerBound })
    precondition((order.first?.lowerBound ?? 0) >= 0 && (order.last?.upperBound ?? 0) <= y.count)
    unsafe y.withUnsafeMutableBufferPointer { all in
      guard let base = all.baseAddress else { return }
      let start = unsafe Shared(base)
      _ = map(count: ranges.count, threads: threads) { index in
        // Ranges do not overlap, and `y` is borrowed until all calls have returned.
        var part = unsafe MutableSpan(_unsafeStart: start.value + ranges[index].lowerBound, count: ranges[index].count)
        body(index, &part)
      }
    }
  }

  private static func run(_ parts: Int, _ body: (Int) -> Void) {
    withoutActuallyEscaping(body) { body in
      unsafe withUnsafePointer(to: body) { pointer in
        unsafe ck_parallel(
          parts, { unsafe $0.assumingMemoryBound(to: ((Int) -> Void).self).pointee($1) },
          UnsafeMutableRawPointer(mutating: pointer))
      }
    }
  }

  /// Cuts `y` into pieces of `length` numbers and runs `body` once for each, in parts of neighbouring pieces.
  ///
  /// - Parameters:
  ///   - y: a whole number of pieces; each call may write its own alone.
  ///   - body: gets the index of a piece and the piece.
  @_lifetime(y: copy y)
  package static func pieces(
    of y: inout MutableSpan<Float>, length: Int, threads: Int, minimum: Int = 1,
    _ body: @Sendable (Int, inout MutableSpan<Float>) -> Void
  ) {
    precondition(length > 0 && y.count % length == 0)
    unsafe y.withUnsafeMutableBufferPointer { all in
      guard let base = all.baseAddress else { return }
      let start = unsafe Shared(base)
      rows(count: all.count / length, threads: threads, minimum: minimum) { range in
        for index in range {
          // Pieces do not overlap, and `y` is borrowed until all calls have returned.
          var piece = unsafe MutableSpan(_unsafeStart: start.value + index * length, count: length)
          body(index, &piece)
        }
      }
    }
  }
}

/// A value with pointers that several threads use in ways that do not meet.
@safe struct Shared<Value>: @unchecked Sendable {
  let value: Value
  @unsafe init(_ value: Value) { self.value = value }
}
