/// What a process ends with.
enum ExitStatus: Int32 {
  case failed = 1
  /// A candidate drifts further than a gate of `verify` allows; the report is written all the same.
  case gate = 3
  /// A file is not what it says it is: hash, truncation, broken rule.
  case integrity = 4
  /// Would exceed memory or disk; nothing was started.
  case limit = 5
  case usage = 64
  /// No room or memory left on the way: the same command may succeed later.
  case temporary = 75
  /// The terminal went away.
  case hungUp = 129
  case interrupted = 130
  case terminated = 143
}
