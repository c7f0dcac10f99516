import Glibc
import TestSupport
import Testing

/// The system says no: to threads, memory, room, streams. A sentence and the right code, no signal, nothing half-written.
@Suite struct SystemLimitTests {
  private static let tensor = "model.word_embeddings.weight"

  /// With one process for a user who has no other: root may have as many as it likes.
  private static func withoutThreads(_ arguments: [String], in directory: String) throws -> Command.Result {
    unsafe _ = chmod(directory, 0o777)
    let words = try ([Command.ingotPath()] + arguments).map { "'\($0)'" }.joined(separator: " ")
    // Of its own, since the limit counts all processes of a user.
    let user = Int.random(in: 100_000..<1_000_000_000)
    let other = isRoot ? "setpriv --reuid \(user) --regid \(user) --clear-groups" : ""
    return try Command(shell: "exec timeout 60 prlimit --nproc=1 \(other) \(words)", in: directory).wait()
  }

  /// Whether another user may run what was built, and read what it is tested with.
  private static let canDoWithoutThreads = {
    (try? withTemporaryDirectory { directory in try withoutThreads(["inspect", pico], in: directory).code }) == 0
  }()

  @Test(
    "without threads the calling one does the work", .enabled(if: canDoWithoutThreads), arguments: ["none", "zstd"])
  func threads(compression: String) throws {
    try withTemporaryDirectory { directory in
      let arguments = ["quantize", pico, "--threads", "4", "--compress", compression]
      let usual = try ingot(arguments + ["-o", "usual.ingot"], in: directory)
      let alone = try Self.withoutThreads(arguments + ["-o", "alone.ingot"], in: directory)
      #expect(usual.code == 0 && alone.code == 0, "\(alone)")
      let same = try contents(of: directory + "/usual.ingot") == contents(of: directory + "/alone.ingot")
      #expect(same)
      let check = try Self.withoutThreads(["inspect", "alone.ingot", "--check", "--threads", "4"], in: directory)
      #expect(check.code == 0, "\(check)")
      let verify = [
        "verify", "alone.ingot", "-r", pico, "--limit", "1", "--gen-length", "32", "--threads", "4", "--no-floor",
      ]
      let verified = try Self.withoutThreads(verify, in: directory)
      #expect(verified.code == 0, "\(verified)")
    }
  }

  @Test("a trace that cannot grow ends with a whole line", arguments: [("", 1), ("trap '' XFSZ; ", 1), ("", 3)])
  func trace(before: String, limit: Int) throws {
    try withTemporaryDirectory { directory in
      let arguments = [
        "run", pico, "-p", "1 + 1", "--gen-length", "64", "--threshold", "1", "--trace", "t.jsonl", "--trace-experts",
      ]
      let result = try ingot(arguments, in: directory, before: "\(before)ulimit -f \(limit)")
      #expect(result.code == 75 && result.err.contains("error: cannot write `t.jsonl`"), "\(result)")
      #expect(result.err.contains("ulimit -f"))
      let trace = try contents(of: directory + "/t.jsonl")
      #expect(trace.isEmpty || trace.last == UInt8(ascii: "\n"))
      #expect(trace.count <= limit * 1024)
    }
  }

  @Test(
    "what has no room is said, and leaves nothing",
    arguments: ["quantize", "states", "numbers", "page", "record", "attach"])
  func fileSize(name: String) throws {
    try withTemporaryDirectory { directory in
      let verify = ["-r", pico, "--limit", "1", "--gen-length", "32", "--no-floor", "--no-replay", "-q"]
      let commands = [
        "quantize": ["quantize", pico, "-q", "-o", "out"],
        "states": ["calibrate", pico, "-q", "-o", "out", "--prompts", pico + "/eval.jsonl", "--tokens", "1k"],
        "numbers": ["inspect", pico, "--tensor", Self.tensor, "--npy", "out", "-q"],
        "page": ["verify", pico, "--html", "out"] + verify, "record": ["verify", "--record", "out"] + verify,
        "attach": ["verify", "pack", "--attach"] + verify,
      ]
      #expect(try ingot(["quantize", pico, "-q", "-o", "pack"], in: directory).code == 0)
      let before = try contents(of: directory + "/pack")
      let result = try ingot(commands[name] ?? [], in: directory, before: "ulimit -f 8")
      #expect(result.code == 75 && !result.wasKilled && result.err.contains("ulimit -f"), "\(result)")
      #expect(listing(of: directory) == ["pack"])
      let isUnchanged = try contents(of: directory + "/pack") == before
      #expect(isUnchanged)
      // A report that cannot be kept is shown all the same.
      #expect(name != "page" && name != "attach" || result.out.contains("drift") || result.out.count > 200)
    }
  }

  @Test("closed streams get nothing of another's", arguments: [">&-", "<&-", "2>&-", "<&- >&- 2>&-"])
  func closed(redirection: String) throws {
    try withTemporaryDirectory { directory in
      let arguments = ["run", pico, "-p", "What is the capital of Egypt?", "--trace", "t.jsonl"]
      let result = try ingot(arguments, in: directory, redirection: redirection)
      #expect(result.code == (redirection.contains(">&- ") || redirection == ">&-" ? 1 : 0), "\(result)")
      let trace = String(decoding: try contents(of: directory + "/t.jsonl"), as: UTF8.self)
      #expect(
        !trace.isEmpty && trace.split(separator: "\n").allSatisfy { $0.hasPrefix("{") && $0.hasSuffix("}") }, "\(trace)"
      )
      #expect(result.code == 0 || redirection.contains("2>&-") || result.err.contains("cannot be written to stdout"))
      let pack = try ingot(
        ["quantize", pico, "-o", "out.ingot", "--experts", "keep"], in: directory, redirection: redirection)
      #expect(pack.code == result.code && exists(directory + "/out.ingot"), "\(pack)")
      #expect(try ingot(["inspect", "out.ingot", "--check"], in: directory).code == 0)
    }
  }

  @Test func aClosedStdinIsSaid() throws {
    try withTemporaryDirectory { directory in
      let result = try ingot(["run", pico], in: directory, redirection: "<&-")
      #expect(result.code == 1 && result.err.contains("cannot read `stdin`"), "\(result)")
    }
  }

  @Test("files are written whatever becomes of stdout", arguments: [(">/dev/full", 75), (">&-", 1), (">&3", 0)])
  func files(redirection: String, code: Int32) throws {
    try withTemporaryDirectory { directory in
      #expect(try ingot(["quantize", pico, "-q", "-o", "pack"], in: directory).code == 0)
      let arguments = [
        "verify", "pack", "-r", pico, "--limit", "1", "--gen-length", "32", "--no-floor", "--no-replay", "-q",
        "--html", "page.html", "--record", "record", "--attach",
      ]
      // The reader of descriptor 3 is gone before ingot writes.
      let result = try ingot(
        arguments, in: directory, before: "mkfifo pipe && { true <pipe & } && exec 3>pipe && wait $!",
        redirection: redirection)
      #expect(result.code == code && !result.wasKilled, "\(result)")
      #expect(code == 0 ? result.err.isEmpty : result.err.contains("cannot be written to stdout"), "\(result)")
      let page = String(decoding: try contents(of: directory + "/page.html"), as: UTF8.self)
      #expect(page.contains("</html>") && exists(directory + "/record"))
      #expect(try ingot(["inspect", "pack"], in: directory).out.contains("drift"))
    }
  }

  @Test("where memory is refused the process ends with a sentence", arguments: [22, 40, 60, 80, 120, 200, 400])
  func addressSpace(mebibytes: Int) throws {
    try withTemporaryDirectory { directory in
      for arguments in [
        ["quantize", pico, "-o", "out", "--compress", "zstd"], ["run", pico, "-p", "1 + 1"],
        ["verify", pico, "-r", pico, "--limit", "1", "--gen-length", "32"],
      ] {
        let result = try ingot(
          arguments + ["--threads", "4"], in: directory, before: "ulimit -v \(mebibytes << 10)",
          redirection: ">answer")
        // 127 is the loader's, which had no room for the program.
        #expect([0, 1, 5, 75, 127].contains(result.code) && !result.wasKilled, "\(arguments[0]): \(result)")
        #expect([0, 127].contains(result.code) || result.err.contains("error: "), "\(arguments[0]): \(result)")
        #expect(result.code == 0 || arguments[0] != "quantize" || !exists(directory + "/out"))
      }
    }
  }

  @Test("a second signal ends the process, and the first where nothing looks", arguments: [SIGINT, SIGTERM, SIGHUP])
  func signals(number: Int32) throws {
    try withTemporaryDirectory { directory in
      // Nothing is ever written to the pipe that is read.
      let command = try Command(
        ["run", pico], in: directory, before: "mkfifo pipe && exec 4<>pipe", redirection: "<&4")
      usleep(300_000)
      command.signal(number)
      let result = try command.wait()
      #expect(result.code == 128 + number && !result.wasKilled && result.err.contains("interrupted"), "\(result)")
    }
  }
}
