import Glibc
import TestSupport
import Testing

/// Signals, full disks, closed pipes: nothing half-written ever has the final name.
@Suite(.serialized) struct CalamityTests {
  /// Large enough that a scalar run takes a while.
  private var large: TinyCheckpoint {
    var tiny = TinyCheckpoint()
    (tiny.hidden, tiny.width, tiny.denseWidth, tiny.experts) = (256, 256, 64, 24)
    return tiny
  }

  private let quantize = [
    "quantize", "model", "-o", "out.ingot", "--threads", "1", "--experts", "int8-g32", "--compress", "zstd",
  ]
  private let slow = ["INGOT_KERNELS": "scalar"]

  /// Waits until the run has said what it will do and is at work; false when it was over before.
  private func waitForWork(in directory: String) -> Bool {
    for _ in 0..<20_000 {
      if listing(of: directory).contains("out.ingot") { return false }
      let talk = (try? contents(of: directory + "/.stderr")) ?? []
      if String(decoding: talk, as: UTF8.self).contains("output ") {
        usleep(20_000)
        return !listing(of: directory).contains("out.ingot")
      }
      usleep(200)
    }
    return false
  }

  @Test func aSignalDuringARunLeavesNoFileAndHasItsExitCode() throws {
    try withCheckpoint(large) { directory in
      for (signal, code) in [(SIGINT, 130), (SIGTERM, 143), (SIGKILL, 137)] as [(Int32, Int32)] {
        let command = try Command(quantize, in: directory, environment: slow)
        let hasBegun = waitForWork(in: directory)
        command.signal(signal)
        let result = try command.wait()
        #expect(hasBegun && result.code == code && result.wasKilled == (signal == SIGKILL), "\(result)")
        #expect(listing(of: directory).filter { $0 != "model" }.isEmpty, "a file without a name leaves nothing")
        #expect(signal == SIGKILL || result.err.contains("interrupted"))
      }
    }
  }

  @Test func whatAKilledRunLeftDoesNotHinderTheNext() throws {
    try withCheckpoint { directory in
      try write([1], to: directory + "/.out.ingot.1.tmp")
      let result = try ingot(["quantize", "model", "--experts", "keep", "-o", "out.ingot"], in: directory)
      #expect(result.code == 0)
    }
  }

  @Test func aReaderThatClosesThePipeIsSuccess() throws {
    try withCheckpoint { directory in
      let arguments = ["quantize", "model", "--experts", "keep", "--dry-run", "--json"]
      // The reader is gone before ingot writes: the shell waits for it.
      let result = try ingot(
        arguments, in: directory, before: "mkfifo pipe && { true <pipe & } && exec 3>pipe && wait $!",
        redirection: ">&3")
      #expect(result.code == 0 && result.err.isEmpty == false, "\(result)")
    }
  }

  @Test func outputThatCannotBeDeliveredIsAFailure() throws {
    try withCheckpoint { directory in
      let arguments = ["quantize", "model", "--experts", "keep", "--dry-run", "--json"]
      let result = try ingot(arguments, in: directory, redirection: ">/dev/full")
      #expect(result.code == 1, "\(result)")
    }
  }

  @Test func aFileSizeLimitLeavesNothing() throws {
    try withCheckpoint { directory in
      let limit = "ulimit -f 32"
      let result = try ingot(
        ["quantize", "model", "--experts", "keep", "-o", "out.ingot"], in: directory, before: limit)
      #expect(result.code != 0 && !exists(directory + "/out.ingot"), "\(result)")
      // Where the signal is ignored the system says EFBIG, which is an error like any other.
      let ignored = try ingot(
        ["quantize", "model", "--experts", "keep", "-o", "out.ingot"], in: directory, before: "trap '' XFSZ && " + limit
      )
      #expect(ignored.code == 1 && ignored.err.contains("too large"), "\(ignored)")
      #expect(listing(of: directory).allSatisfy { $0 == "model" || result.wasKilled && $0.hasSuffix(".tmp") })
    }
  }

  @Test(.enabled(if: isRoot))
  func aFullDiskIsSaidAndLeavesNothing() throws {
    try withCheckpoint { directory in
      try makeDirectory(directory + "/small")
      // 64 KiB of disk in a mount namespace of its own; what is left there is listed before it goes.
      let mounting = "mount -t tmpfs -o size=64k tmpfs small"
      let probe = try ingot(["--version"], in: directory, before: "unshare -m sh -c '\(mounting)'")
      guard probe.code == 0 else { return }  // no right to mount here
      let arguments = "quantize model --experts keep -o small/out.ingot"
      let path = try Command.ingotPath()
      let script = "\(mounting) && { \(path) \(arguments) 2>said; echo $? >code; ls -A small >left; }"
      _ = try ingot(["--version"], in: directory, before: "unshare -m sh -c '\(script)'")
      let said = String(decoding: try contents(of: directory + "/said"), as: UTF8.self)
      #expect(try contents(of: directory + "/code") == Array("5\n".utf8) && said.contains("free"), "\(said)")
      #expect(try contents(of: directory + "/left").isEmpty)
    }
  }

  @Test func aPlaceThatCannotBeWrittenIsSaid() throws {
    try withCheckpoint { directory in
      // Root may write anywhere; /proc refuses root too.
      let result = try ingot(["quantize", "model", "--experts", "keep", "-q", "-o", "/proc/out.ingot"], in: directory)
      #expect(result.code == 1 || result.code == 5, "\(result)")
      #expect(result.err.hasPrefix("error: ") && result.err.contains("/proc/out.ingot"))
      guard !isRoot else { return }
      try makeDirectory(directory + "/locked", mode: 0o555)
      let locked = try ingot(["quantize", "model", "--experts", "keep", "-o", "locked/out.ingot"], in: directory)
      #expect(locked.code == 1 && locked.err.contains("locked/out.ingot"))
    }
  }

  @Test("a directory in the place of the output is refused before any work", arguments: ["taken", "taken/", "."])
  func directoryAsOutput(output: String) throws {
    try withCheckpoint { directory in
      try makeDirectory(directory + "/taken")
      let result = try ingot(["quantize", "model", "--experts", "keep", "--force", "-o", output], in: directory)
      #expect(result.code == 1 && result.err.contains("irectory"), "\(result)")
      #expect(!result.err.contains("wrote") && listing(of: directory) == ["model", "taken"])
      #expect(listing(of: directory + "/taken").isEmpty)
    }
  }
}
