import Text
import Verification

/// What is being done and how far it is: one line on a terminal, now and then a line elsewhere.
final class StageProgress: VerificationProgress {
  private let isQuiet: Bool
  private var stage = ""
  private var start = 0.0
  private var last = 0.0
  /// The largest anonymous memory seen, in bytes.
  private(set) var peakMemory = 0

  init(isQuiet: Bool) { self.isQuiet = isQuiet }

  /// Takes note of what others saw.
  func noteMemory(_ peak: Int) { peakMemory = max(peakMemory, peak) }

  var tells: Bool { !isQuiet }

  func note(_ text: String) {
    finish()
    if !isQuiet { Console.note(text) }
  }

  func update(_ name: String, _ share: Double) { update(name, share, detail: nil) }

  /// - Parameter detail: what else is to be said of how far it is, such as `3 of 7`.
  func update(_ name: String, _ share: Double, detail: String?) {
    let now = Clock.seconds
    if name != stage { (stage, start, last) = (name, now, now) }
    let interval = Console.stderrIsTerminal ? 0.1 : 10
    if now - last >= interval || share >= 1 {
      peakMemory = max(peakMemory, ResidentMemory.anonymous)
      if !isQuiet, now - last >= interval { show(share, now, detail) }
    }
  }

  private func show(_ share: Double, _ now: Double, _ detail: String?) {
    last = now
    let left = share > 0.01 ? ", \(Format.duration((now - start) * (1 - share) / share)) left" : ""
    let text = "\(stage) \(Format.fixed(100 * share, 0)) %\(detail.map { ", \($0)" } ?? "")\(left)"
    if Console.stderrIsTerminal {
      let filled = min(24, max(0, Int(24 * share)))
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
