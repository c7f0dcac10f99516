import Dispatch
import Glibc

/// Least, median and greatest of some rates.
struct Rates {
  /// GB/s, sorted.
  private let values: [Double]

  /// - Parameters:
  ///   - byteCount: bytes of each pass.
  ///   - seconds: of each pass.
  init(byteCount: Int, seconds: [Double]) { values = seconds.map { Double(byteCount) / $0 / 1e9 }.sorted() }

  var minimum: Double { values[0] }
  var median: Double { values[values.count / 2] }
  var maximum: Double { values[values.count - 1] }

  var json: String { "{\"min\":\(digits(minimum)),\"median\":\(digits(median)),\"max\":\(digits(maximum))}" }
}

/// Seconds since some moment.
func now() -> Double {
  var time = timespec()
  unsafe clock_gettime(CLOCK_MONOTONIC, &time)
  return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
}

func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }

/// Least, median and greatest.
func spread(_ values: [Double]) -> String {
  let sorted = values.sorted()
  return
    "{\"min\":\(digits(sorted[0])),\"median\":\(digits(median(sorted))),\"max\":\(digits(sorted[sorted.count - 1]))}"
}

/// Three decimals.
func digits(_ value: Double) -> String { "\((value * 1000).rounded() / 1000)" }

/// Seconds that `body` takes.
func seconds(_ body: () -> Void) -> Double {
  let duration = ContinuousClock().measure(body)
  return Double(duration.components.seconds) + Double(duration.components.attoseconds) * 1e-18
}

/// Runs `body` for 0 ..< count on `threads` threads; one thread takes them in order.
func perform(_ count: Int, threads: Int, _ body: @Sendable (Int) -> Void) {
  if threads == 1 {
    for index in 0..<count { body(index) }
  } else {
    DispatchQueue.concurrentPerform(iterations: count, execute: body)
  }
}
