import Glibc
import Text

/// Bytes done, rate and time left: a bar on a terminal, a line every ten seconds elsewhere.
struct Progress {
  private let label: String
  private let total: Int
  private let isQuiet: Bool
  private let start = Clock.seconds
  private var lastText = 0.0
  private var lastLook = 0.0
  /// The largest anonymous memory seen, in bytes, looked at ten times a second.
  private(set) var peakAnonymous = 0

  init(_ label: String, total: Int, isQuiet: Bool) {
    self.label = label
    self.total = max(total, 1)
    self.isQuiet = isQuiet
  }

  var seconds: Double { Clock.seconds - start }

  mutating func update(_ done: Int) {
    let now = Clock.seconds
    guard now - lastLook >= 0.1 || done >= total else { return }
    lastLook = now
    peakAnonymous = max(peakAnonymous, ResidentMemory.anonymous)
    let interval = Console.stderrIsTerminal ? 0.1 : 10
    guard !isQuiet, now - lastText >= interval, now - start > 0.5 || !Console.stderrIsTerminal else { return }
    defer { lastText = now }
    guard lastText > 0 || Console.stderrIsTerminal else { return }  // the first line comes after ten seconds
    let rate = Double(done) / max(now - start, 1e-9)
    let left = Double(total - done) / max(rate, 1)
    let text =
      "\(label) \(Format.bytes(done)) of \(Format.bytes(total)), \(Format.bytes(Int(rate)))/s, "
      + "\(Format.duration(left)) left"
    if Console.stderrIsTerminal {
      // The chunks of a broken pack may overlap and come to more than the file.
      let filled = 24 * min(done, total) / total
      let bar = String(repeating: "█", count: filled) + String(repeating: "░", count: 24 - filled)
      Console.status("\r\u{1B}[2K\(bar) \(text)")
    } else {
      Console.note(text)
    }
  }

  func finish() {
    if Console.stderrIsTerminal, !isQuiet { Console.status("\r\u{1B}[2K") }
  }
}

enum Clock {
  /// Seconds of a clock that never goes back.
  static var seconds: Double {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
  }
}

enum ResidentMemory {
  /// Anonymous memory of this process in RAM now, in bytes: `RssAnon` of `/proc/self/status`; 0 where there is none.
  static var anonymous: Int {
    (Machine.processStatus("RssAnon").flatMap { Int($0.filter(\.isNumber)) } ?? 0) * 1024
  }
}
