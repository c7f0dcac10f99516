/// What a process ends with.
enum ExitStatus: Int32, CaseIterable {
  case failed = 1
  case gate = 3
  case integrity = 4
  case limit = 5
  case usage = 64
  case temporary = 75
  case hungUp = 129
  case interrupted = 130
  case terminated = 143

  static let doneMeaning = "done, and all checks passed"

  var meaning: String {
    switch self {
    case .failed: "failed; of `inspect --diff`: the two differ"
    case .gate: "a gate of `verify` failed; the report is written all the same"
    case .integrity: "a file is not what it says it is: hash, truncation, broken rule"
    case .limit: "would exceed memory or disk; nothing was started"
    case .usage: "wrong usage"
    case .temporary: "no room, another run is at work, or files are missing; try again later"
    case .hungUp: "the terminal went away"
    case .interrupted: "interrupted (Ctrl-C)"
    case .terminated: "terminated"
    }
  }
}
