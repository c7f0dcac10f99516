import Glibc
import JSON
import Pack
import Storage
import TestSupport
import Testing

/// Runs that keep what they have done, ended in any way and begun again by the same command.
@Suite(.serialized) struct ResumeTests {
  /// Large enough that a scalar run takes a while.
  private var large: TinyCheckpoint {
    var tiny = TinyCheckpoint()
    (tiny.hidden, tiny.width, tiny.denseWidth, tiny.experts) = (256, 256, 64, 24)
    return tiny
  }

  /// Larger than the limit that ends a run in its middle.
  private var small: TinyCheckpoint {
    var tiny = TinyCheckpoint()
    (tiny.width, tiny.experts) = (64, 16)
    return tiny
  }

  private func quantize(_ more: [String] = []) -> [String] {
    ["quantize", "model", "-o", "out.ingot", "--resume", "--experts", "int8-g32", "--threads", "2"] + more
  }

  private func whole(_ more: [String] = [], in directory: String) throws -> [UInt8] {
    let arguments = ["quantize", "model", "-o", "whole", "--experts", "int8-g32", "-q", "--force"] + more
    #expect(try ingot(arguments, in: directory).code == 0)
    return try contents(of: directory + "/whole")
  }

  private func kept(in directory: String) -> [String] { listing(of: directory + "/out.ingot.resume") }

  /// Chunks that are noted.
  private func count(in directory: String) -> Int {
    max(0, ((try? contents(of: directory + "/out.ingot.resume/chunks")) ?? []).count { $0 == UInt8(ascii: "\n") } - 1)
  }

  /// Ends a run after a time, in microseconds.
  private func end(
    _ arguments: [String], by signal: Int32, after time: UInt32, in directory: String
  ) throws -> Command.Result {
    let command = try Command(arguments, in: directory, environment: ["INGOT_KERNELS": "scalar"])
    usleep(time)
    command.signal(signal)
    return try command.wait()
  }

  @Test("a run that is ended again and again comes to the same", arguments: [[], ["--compress", "zstd"]])
  func kills(more: [String]) throws {
    try withCheckpoint(large) { directory in
      let expected = try whole(more, in: directory)
      var random = SeededRandom(seed: UInt64(more.count))
      let clock = ContinuousClock()
      let start = clock.now
      #expect(try end(quantize(more), by: 0, after: 0, in: directory).code == 0)
      let whole = max(10_000, UInt32((clock.now - start) / .microseconds(1)))
      unsafe _ = unlink(directory + "/out.ingot")
      var ends = 0
      for _ in 0..<5 {
        var last = 0
        for attempt in 0..<40 where !exists(directory + "/out.ingot") {
          let signal = [SIGKILL, SIGTERM, SIGKILL, SIGINT][attempt % 4]
          let time = attempt == 39 ? 100 * whole : UInt32.random(in: whole / 8...whole, using: &random)
          let result = try end(quantize(more), by: signal, after: time, in: directory)
          #expect([0, 130, 137, 143].contains(result.code), "\(result)")
          if result.code == 0 { break }
          ends += 1
          if result.err.contains("kept in") {
            #expect(result.err.contains("out.ingot.resume") && result.err.contains("--resume"), "\(result)")
          }
          // A line may be there before its chunk is, of as many as are written at once.
          let isKept = exists(directory + "/out.ingot") || count(in: directory) + 3 >= last
          #expect(isKept, "nothing that was done is lost")
          last = count(in: directory)
        }
        // It may have been ended behind the name.
        let done = try ingot(quantize(more), in: directory)
        #expect(done.code == 0 || done.err.contains("exists already"), "\(done)")
        let isSame = try contents(of: directory + "/out.ingot") == expected
        #expect(isSame && listing(of: directory) == ["model", "out.ingot", "whole"])
        unsafe _ = unlink(directory + "/out.ingot")
      }
      #expect(ends > 0)
    }
  }

  @Test func withStatesATargetIsLookedForOnce() throws {
    try withTemporaryDirectory { directory in
      let data = ["--prompts", pico + "/eval.jsonl", "--tokens", "1k", "-q"]
      #expect(try ingot(["calibrate", pico, "-o", "states"] + data, in: directory).code == 0)
      let recipe = ["quantize", pico, "--calibration", "states", "--target", "4.6bpw"]
      #expect(try ingot(recipe + ["-o", "whole.ingot", "-q"], in: directory).code == 0)
      let resumed = recipe + ["-o", "out.ingot", "--resume", "--json"]
      var last = 0
      for limit in [1024, 2048, 3072] {
        let result = try ingot(resumed, in: directory, before: "ulimit -f \(limit)")
        #expect(result.code == 75 && count(in: directory) > last, "\(result)")
        last = count(in: directory)
      }
      let done = try ingot(resumed, in: directory)
      let target = try JSONParser.parse(done.out).object?["target"]?.object
      #expect(done.code == 0 && target?["wanted"] == "4.6bpw" && done.err.contains("going on: "), "\(done)")
      let isSame = try contents(of: directory + "/out.ingot") == contents(of: directory + "/whole.ingot")
      #expect(isSame && listing(of: directory) == ["out.ingot", "states", "whole.ingot"])
    }
  }

  /// A run that was ended when it had done something.
  private func withBegun(_ body: (_ directory: String, _ expected: [UInt8]) throws -> Void) throws {
    try withCheckpoint(small) { directory in
      let expected = try whole(in: directory)
      let result = try ingot(quantize(), in: directory, before: "ulimit -f 128")
      try #require(result.code == 75 && result.err.contains("--resume"), "\(result)")
      try #require(count(in: directory) > 3 && kept(in: directory) == ["chunks", "pack", "plan.json"])
      try body(directory, expected)
    }
  }

  private func finish(_ directory: String, _ expected: [UInt8]) throws -> Command.Result {
    let result = try ingot(quantize(), in: directory)
    #expect(result.code == 0 && result.out == "out.ingot\n", "\(result)")
    let isSame = try contents(of: directory + "/out.ingot") == expected
    #expect(isSame && listing(of: directory) == ["model", "out.ingot", "whole"])
    return result
  }

  @Test("what was kept is never mixed with another run", arguments: [["--rest", "int8-g32"], ["--compress", "zstd"]])
  func otherOptions(more: [String]) throws {
    try withBegun { directory, expected in
      let other = try ingot(quantize(more), in: directory)
      #expect(other.code == 4 && other.err.contains("other options") && other.err.contains("--force"), "\(other)")
      #expect(count(in: directory) > 3)
      let forced = try ingot(quantize(more + ["--force"]), in: directory)
      let isOther = try contents(of: directory + "/out.ingot") == whole(more, in: directory)
      #expect(forced.code == 0 && isOther && forced.err.contains("is replaced"), "\(forced)")
      #expect(listing(of: directory) == ["model", "out.ingot", "whole"])
    }
  }

  @Test("a source that changed since is refused", arguments: ["header", "data", "config"])
  func otherSource(what: String) throws {
    try withBegun { directory, _ in
      let path = directory + (what == "config" ? "/model/tokenizer_config.json" : "/model/model.safetensors")
      var bytes = try contents(of: path)
      switch what {
      case "header":
        bytes.insert(UInt8(ascii: " "), at: 8 + Int(bytes[0]) + Int(bytes[1]) << 8 + Int(bytes[2]) << 16)
        bytes[0] &+= 1
      case "data": bytes[bytes.count - 1] ^= 1
      default: bytes.append(UInt8(ascii: "\n"))
      }
      try write(bytes, to: path)
      let result = try ingot(quantize(), in: directory)
      #expect(result.code == 4 && result.err.contains("files of the checkpoint"), "\(result)")
      #expect(!exists(directory + "/out.ingot") && count(in: directory) > 3)
    }
  }

  @Test(
    "what is damaged of what was kept is made again",
    arguments: ["pack", "no pack", "line", "cut line", "no lines", "no plan"])
  func damage(what: String) throws {
    try withBegun { directory, expected in
      let place = directory + "/out.ingot.resume"
      switch what {
      case "pack":
        var bytes = try contents(of: place + "/pack")
        bytes[bytes.count / 2] ^= 1
        try write(bytes, to: place + "/pack")
      case "no pack": unsafe _ = unlink(place + "/pack")
      case "line":
        var bytes = try contents(of: place + "/chunks")
        bytes[bytes.count / 2] ^= 1
        try write(bytes, to: place + "/chunks")
      case "cut line": try write(Array(try contents(of: place + "/chunks").dropLast(9)), to: place + "/chunks")
      case "no lines": try write([], to: place + "/chunks")
      default: unsafe _ = unlink(place + "/plan.json")
      }
      _ = try finish(directory, expected)
    }
  }

  @Test func aPlanThatCannotBeReadIsSaid() throws {
    try withBegun { directory, expected in
      try write(Array("{}".utf8), to: directory + "/out.ingot.resume/plan.json")
      let result = try ingot(quantize(), in: directory)
      #expect(result.code == 4 && result.err.contains("`out.ingot.resume`"), "\(result)")
    }
  }

  @Test func aRunThatEndedBehindTheNameIsDone() throws {
    try withBegun { directory, expected in
      // As if the process had been ended between the name and the removal of what was kept.
      let lines = try contents(of: directory + "/out.ingot.resume/chunks")
      let plan = try contents(of: directory + "/out.ingot.resume/plan.json")
      _ = try finish(directory, expected)
      let root = PackBytes(expected).integer(at: 248, as: UInt64.self)
      let digits = String(root, radix: 16)
      let line = #"{"root_xxh3":"\#(String(repeating: "0", count: 16 - digits.count) + digits)"}"#
      try makeDirectory(directory + "/out.ingot.resume")
      try write(lines + hashed(line), to: directory + "/out.ingot.resume/chunks")
      // Without its plan it vouches for no command, and with it for one.
      let unplanned = try ingot(quantize(), in: directory)
      #expect(unplanned.code == 1 && unplanned.err.contains("exists already"), "\(unplanned)")
      try write(plan, to: directory + "/out.ingot.resume/plan.json")
      let other = try ingot(quantize(["--rest", "int8-g32"]), in: directory)
      #expect(other.code == 4 && other.err.contains("other options"), "\(other)")
      let again = try finish(directory, expected)
      #expect(again.err.contains("wrote "), "\(again)")
    }
  }

  private func hashed(_ text: String) -> [UInt8] {
    let bytes = Array(text.utf8)
    return Array("\(XXH3.text(XXH3.hash(bytes.bytes))) \(text)\n".utf8)
  }

  @Test func onlyOneProcessWritesAnOutput() throws {
    try withBegun { directory, expected in
      let descriptor = unsafe open(directory + "/out.ingot.resume/chunks", O_RDWR | O_CLOEXEC)
      #expect(flock(descriptor, LOCK_EX | LOCK_NB) == 0)
      let second = try ingot(quantize(), in: directory)
      #expect(second.code == 75 && second.err.contains("another process"), "\(second)")
      // A process that another test is starting just now may have the descriptor, too.
      flock(descriptor, LOCK_UN)
      close(descriptor)
      _ = try finish(directory, expected)
    }
  }

  @Test func aStrangersDirectoryIsLeftAlone() throws {
    try withCheckpoint { directory in
      try makeDirectory(directory + "/out.ingot.resume")
      try write([1], to: directory + "/out.ingot.resume/letter.txt")
      let result = try ingot(quantize(), in: directory)
      #expect(result.code == 1 && result.err.contains("out.ingot.resume"), "\(result)")
      #expect(kept(in: directory) == ["letter.txt"] && !exists(directory + "/out.ingot"))
    }
  }

  @Test func whatALostRunCouldHaveKeptIsSaid() throws {
    try withCheckpoint(small) { directory in
      let command = ["quantize", "model", "-o", "out.ingot", "--experts", "int8-g32"]
      let result = try ingot(command, in: directory, before: "ulimit -f 128")
      #expect(result.code == 75 && result.err.contains("with --resume"), "\(result)")
      #expect(listing(of: directory) == ["model"])
    }
  }

  @Test func aFullDiskIsGoneOnFrom() throws {
    try withBegun { directory, expected in
      let done = try finish(directory, expected)
      #expect(done.err.contains("going on: "), "\(done)")
    }
  }

  @Test func withoutTheOptionARunIsAsEver() throws {
    try withBegun { directory, expected in
      let arguments = ["quantize", "model", "-o", "out.ingot", "--experts", "int8-g32"]
      let result = try ingot(arguments, in: directory)
      #expect(result.code == 0 && result.err.contains("--resume goes on with it"), "\(result)")
      #expect(count(in: directory) > 3)
      let resumed = try ingot(quantize(), in: directory)
      #expect(resumed.code == 1 && resumed.err.contains("exists already"), "\(resumed)")
    }
  }

  @Test(
    "wrong usage exits with 64",
    arguments: [
      ["--dry-run"], ["--explain", "x"], ["--text", "t"],
    ])
  func usage(more: [String]) throws {
    try withCheckpoint { directory in
      let result = try ingot(quantize(more), in: directory)
      #expect(result.code == 64 && listing(of: directory) == ["model"], "\(result)")
    }
  }
}
