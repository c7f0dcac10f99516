import Glibc
import TestSupport

/// How a run of `ingot` ended.
struct Run {
  /// The exit code, or 128 + the signal.
  let status: Int32
  let stdout: String
  let stderr: String
}

/// Runs the binary that was built with the tests; stdin is empty, no terminal.
func ingot(_ arguments: String...) throws -> Run {
  try withTemporaryDirectory { directory in
    let outputs = [directory + "/stdout", directory + "/stderr"]
    var actions = unsafe posix_spawn_file_actions_t()
    unsafe posix_spawn_file_actions_init(&actions)
    defer { unsafe _ = posix_spawn_file_actions_destroy(&actions) }
    unsafe posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    for (index, path) in outputs.enumerated() {
      unsafe posix_spawn_file_actions_addopen(&actions, Int32(index) + 1, path, O_WRONLY | O_CREAT, 0o600)
    }
    var argv = unsafe ([binary] + arguments).map { unsafe strdup($0) } + [nil]
    defer { unsafe argv.forEach { unsafe free($0) } }
    var process = pid_t()
    let code = unsafe posix_spawn(&process, binary, &actions, nil, &argv, environ)
    guard code == 0 else { throw TestFailure("cannot run \(binary): error \(code)") }
    var status: Int32 = 0
    while unsafe waitpid(process, &status, 0) < 0 {
      guard errno == EINTR else { throw TestFailure("waitpid: error \(errno)") }
    }
    let signal = status & 0x7F
    return Run(
      status: signal == 0 ? status >> 8 & 0xFF : 128 + signal,
      stdout: String(decoding: try contents(of: outputs[0]), as: UTF8.self),
      stderr: String(decoding: try contents(of: outputs[1]), as: UTF8.self))
  }
}

/// Stands beside the binary of the tests.
private let binary: String = {
  var path = [CChar](repeating: 0, count: 4096)
  let count = unsafe readlink("/proc/self/exe", &path, path.count)
  let text = String(decoding: path[..<max(count, 0)].map { UInt8(bitPattern: $0) }, as: UTF8.self)
  return text.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/") + "/ingot"
}()

/// A trained checkpoint of 3.5 MB.
let pico = {
  let file = #filePath
  return file.split(separator: "/", omittingEmptySubsequences: false).dropLast(2).joined(separator: "/")
    + "/Fixtures/pico"
}()
