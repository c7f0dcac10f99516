import Glibc

/// A program that was started; its output goes to files, so that no pipe fills up.
package struct Command: ~Copyable {
  package struct Result {
    /// The exit code; of a program that a signal ended, 128 plus its number and `wasKilled`.
    package let code: Int32
    package let wasKilled: Bool
    package let out: String
    package let err: String
  }

  private let process: pid_t
  private let outPath: String
  private let errPath: String

  /// The `ingot` that was built beside the running tests.
  package static func ingotPath() throws -> String {
    var buffer = [CChar](repeating: 0, count: 4096)
    let count = unsafe readlink("/proc/self/exe", &buffer, buffer.count)
    guard count > 0 else { throw TestFailure("no /proc/self/exe") }
    let test = String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let found = [test, CommandLine.arguments[0]]
      .compactMap { path in path.lastIndex(of: "/").map { path[..<$0] + "/ingot" } }
      .first { unsafe access(String($0), X_OK) == 0 }
    guard let found else { throw TestFailure("no ingot beside \(test)") }
    return String(found)
  }

  /// Starts `ingot` through `sh`, so that limits and redirections can be put before it.
  ///
  /// - Parameters:
  ///   - arguments: of ingot.
  ///   - before: shell commands before `exec`, e.g. `ulimit -f 8`.
  ///   - redirection: after the arguments, e.g. `>/dev/full`.
  ///   - environment: assignments, e.g. `INGOT_KERNELS=scalar`.
  package init(
    _ arguments: [String], in directory: String, before: String = ":", redirection: String = "",
    environment: [String: String] = [:]
  ) throws {
    let assignments = environment.map { "\($0.key)=\(Self.quoted($0.value)) " }.joined()
    let words = try ([Self.ingotPath()] + arguments).map(Self.quoted).joined(separator: " ")
    try self.init(shell: "exec env \(assignments)\(words) \(redirection)", in: directory, before: before)
  }

  /// Starts a command of the shell.
  package init(shell command: String, in directory: String, before: String = ":") throws {
    outPath = directory + "/.stdout"
    errPath = directory + "/.stderr"
    let script = "cd \(Self.quoted(directory)) && \(before) && exec >.stdout 2>.stderr && \(command)"
    var process: pid_t = 0
    var list: [UnsafeMutablePointer<CChar>?] = unsafe [
      strdup("/bin/sh"), strdup("-c"), strdup(script), nil,
    ]
    defer { for index in 0..<3 { unsafe free(list[index]) } }
    // Threads of the test runner block signals, and a child inherits that.
    var attributes = posix_spawnattr_t()
    var none = sigset_t()
    unsafe posix_spawnattr_init(&attributes)
    unsafe sigemptyset(&none)
    unsafe posix_spawnattr_setsigmask(&attributes, &none)
    unsafe posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
    defer { unsafe _ = posix_spawnattr_destroy(&attributes) }
    guard unsafe posix_spawn(&process, "/bin/sh", nil, &attributes, &list, environ) == 0 else {
      throw TestFailure("cannot start /bin/sh")
    }
    self.process = process
  }

  private static func quoted(_ text: String) -> String { "'" + text.replacing("'", with: #"'\''"#) + "'" }

  package func signal(_ number: Int32) { kill(process, number) }

  /// Waits for the end.
  package consuming func wait() throws -> Result {
    var status: Int32 = 0
    while unsafe waitpid(process, &status, 0) < 0 {
      guard errno == EINTR else { throw TestFailure("waitpid: \(errno)") }
    }
    let signal = status & 0x7F
    let out = String(decoding: (try? contents(of: outPath)) ?? [], as: UTF8.self)
    let err = String(decoding: (try? contents(of: errPath)) ?? [], as: UTF8.self)
    unsafe unlink(outPath)
    unsafe unlink(errPath)
    return Result(code: signal == 0 ? status >> 8 & 0xFF : 128 + signal, wasKilled: signal != 0, out: out, err: err)
  }
}
