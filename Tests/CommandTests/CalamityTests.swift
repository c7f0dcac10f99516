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

  /// The names that a run of this process number would use, as one that was killed with the same number left them.
  @Test func whatAKilledRunLeftDoesNotHinderTheNext() throws {
    try withCheckpoint { directory in
      let before = "for n in 1 2 3; do echo left >.out.ingot.$$.$n.tmp; done"
      for _ in 0..<2 {
        let result = try ingot(
          ["quantize", "model", "--experts", "keep", "--force", "-o", "out.ingot"], in: directory, before: before)
        #expect(result.code == 0, "\(result)")
        #expect(try ingot(["inspect", "out.ingot", "--check"], in: directory).code == 0)
      }
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
      #expect(result.code == 75 && result.err.contains("cannot be written to stdout"), "\(result)")
    }
  }

  @Test func aFileSizeLimitLeavesNothing() throws {
    try withCheckpoint { directory in
      for before in ["ulimit -f 32", "trap '' XFSZ && ulimit -f 32"] {
        let result = try ingot(
          ["quantize", "model", "--experts", "keep", "-o", "out.ingot"], in: directory, before: before)
        #expect(result.code == 75 && result.err.contains("too large"), "\(result)")
        #expect(listing(of: directory) == ["model"])
      }
    }
  }

  /// Whether a file system can be mounted in a namespace of our own.
  private static let canMount = {
    (try? withTemporaryDirectory { try Command(shell: "unshare -m mount -t tmpfs tmpfs .", in: $0).wait().code }) == 0
  }()

  /// Too large for the disk as it is, and found out before; or only with what zstd saves, and found out while writing.
  @Test("a full disk is said and leaves nothing", .enabled(if: canMount), arguments: [("none", 5), ("zstd", 75)])
  func fullDisk(compression: String, code: Int32) throws {
    try withCheckpoint { directory in
      try makeDirectory(directory + "/small")
      // What is left in the mount is listed before its namespace goes.
      let run = "\(try Command.ingotPath()) quantize model --experts keep --compress \(compression) -o small/out.ingot"
      let script = "mount -t tmpfs -o size=64k tmpfs small && { \(run) 2>said; echo $? >code; ls -A small >left; }"
      let result = try Command(shell: "unshare -m sh -c '\(script)'", in: directory).wait()
      let said = String(decoding: try contents(of: directory + "/said"), as: UTF8.self)
      #expect(result.code == 0 && said.contains("error: ") && said.contains("free"), "\(said)")
      #expect(try contents(of: directory + "/code") == Array("\(code)\n".utf8), "\(said)")
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
