import Glibc

/// A run of another program.
enum Command {
  /// The `ingot` that was built beside this program.
  static var ingot: String {
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = unsafe buffer.withUnsafeMutableBytes { bytes in
      unsafe readlink("/proc/self/exe", bytes.baseAddress!.assumingMemoryBound(to: CChar.self), bytes.count)
    }
    let path = String(decoding: buffer.prefix(max(count, 0)), as: UTF8.self)
    return path.split(separator: "/").dropLast().reduce("") { "\($0)/\($1)" } + "/ingot"
  }

  /// Seconds from start to end; nil where it cannot be started or fails. Its output is dropped, what it says of failures
  /// is not.
  static func run(_ path: String, _ arguments: [String]) -> Double? {
    var actions = unsafe posix_spawn_file_actions_t()
    unsafe posix_spawn_file_actions_init(&actions)
    defer { unsafe _ = posix_spawn_file_actions_destroy(&actions) }
    unsafe posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0)
    var words = unsafe ([path] + arguments).map { unsafe strdup($0) } + [nil]
    defer { unsafe words.forEach { unsafe free($0) } }
    var process = pid_t()
    var status: Int32 = 0
    var started: Int32 = 0
    let time = seconds {
      started = unsafe posix_spawn(&process, path, &actions, nil, &words, environ)
      if started == 0 { unsafe _ = waitpid(process, &status, 0) }
    }
    return started == 0 && status == 0 ? time : nil
  }
}
