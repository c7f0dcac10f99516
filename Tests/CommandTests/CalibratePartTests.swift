import Glibc
import JSON
import TestSupport
import Testing

/// `ingot calibrate` in parts, and after interruptions: the bytes are those of one run.
@Suite struct CalibratePartTests {
  private static let command = [
    "calibrate", pico, "--prompts", pico + "/eval.jsonl", "--tokens", "8k", "-q", "--threads", "2",
  ]

  private func whole(in directory: String) throws -> [UInt8] {
    let result = try ingot(Self.command + ["-o", "whole"], in: directory)
    try #require(result.code == 0 && result.err.isEmpty, "\(result)")
    defer { unsafe unlink(directory + "/whole") }
    return try contents(of: directory + "/whole")
  }

  private func part(_ index: Int, of count: Int, _ more: [String] = [], in directory: String) throws -> String {
    let name = "\(index).part"
    let result = try ingot(
      Self.command + more + ["--part", "\(index)/\(count)", "-o", name, "--force"], in: directory)
    try #require(result.code == 0 && result.err.isEmpty && result.out == name + "\n", "\(result)")
    return name
  }

  @Test("parts merge to the file of one run", arguments: [1, 2, 3, 7])
  func merged(count: Int) throws {
    try withTemporaryDirectory { directory in
      let whole = try whole(in: directory)
      let parts = try (0..<count).map { try part($0, of: count, in: directory) }
      let result = try ingot(["calibrate", "--merge"] + parts.reversed() + ["-o", "merged", "-q"], in: directory)
      #expect(result.code == 0 && result.err.isEmpty && result.out == "merged\n", "\(result)")
      #expect(try contents(of: directory + "/merged") == whole)
      // Rows are spread evenly, up to a tile.
      let sizes = try parts.map { try contents(of: "\(directory)/\($0)").count }
      #expect(Double(sizes.max()!) < Double(whole.count) / Double(count) + 1_900_000, "\(sizes)")
    }
  }

  @Test func partsThatDoNotBelongTogetherAreRefused() throws {
    try withTemporaryDirectory { directory in
      let parts = try (0..<2).map { try part($0, of: 2, in: directory) }
      func refused(_ parts: [String], code: Int32 = 4, _ words: String...) throws {
        let result = try ingot(["calibrate", "--merge"] + parts + ["-o", "merged", "-q"], in: directory)
        #expect(result.code == code && result.out.isEmpty && !listing(of: directory).contains("merged"), "\(result)")
        for word in words { #expect(result.err.contains(word), "\(word): \(result.err)") }
      }
      try refused([parts[1]], "of 2 parts these are missing: 0")
      try refused(parts + [parts[0]], "part 0 is given twice")
      let keep = { (name: String, other: String) in
        #expect(unsafe rename("\(directory)/\(name)", "\(directory)/\(other)") == 0)
      }
      keep("1.part", "b.part")
      _ = try part(1, of: 2, ["--seed", "1"], in: directory)
      try refused(["0.part", "1.part"], "does not belong to the others", "`options.seed` is 1")
      _ = try part(1, of: 3, in: directory)
      try refused(["0.part", "1.part"], "it is a part of 3")
      try refused(["0.part", pico + "/model-00000-of-00003.safetensors"], "no part of a file of states")
      try refused(["0.part", "none"], code: 1, "none")
      let whole = try contents(of: directory + "/b.part")
      for index in [9, 2000, whole.count / 2, whole.count - 1] {
        var changed = whole
        changed[index] ^= 1
        try write(changed, to: directory + "/c.part")
        let result = try ingot(["calibrate", "--merge", "0.part", "c.part", "-o", "merged", "-q"], in: directory)
        #expect([1, 4].contains(result.code) && !listing(of: directory).contains("merged"), "byte \(index): \(result)")
      }
      try write(Array(whole[..<(whole.count / 2)]), to: directory + "/c.part")
      let cut = try ingot(["calibrate", "--merge", "0.part", "c.part", "-o", "merged", "-q"], in: directory)
      #expect(cut.code != 0 && !listing(of: directory).contains("merged"), "\(cut)")
      // A part is no file of states.
      let used = try ingot(["quantize", pico, "--calibration", "0.part", "-o", "p.ingot", "-q"], in: directory)
      #expect(used.code == 1 && used.err.contains("one part of a file of states"), "\(used)")
    }
  }

  @Test(
    "options that contradict parts are refused",
    arguments: [
      ([pico, "--text", "a", "--merge", "a"], "--merge needs nothing"), (["--text", "a"], "name a checkpoint"),
      ([pico, "--text", "a", "--part", "1/1"], "--part"), (["--merge", "a", "--resume"], "--merge needs nothing"),
      (["--merge", "a", "--seed", "1"], "--merge needs nothing"),
    ])
  func usage(more: [String], word: String) throws {
    try withTemporaryDirectory { directory in
      let result = try ingot(["calibrate"] + more + ["-o", "x"], in: directory)
      #expect(result.code == 64 && result.err.contains(word), "\(result)")
    }
  }

  @Test("killed a dozen times, the same command gives the bytes of one run", arguments: [[], ["--part", "1/2"]])
  func resumed(more: [String]) throws {
    try withTemporaryDirectory { directory in
      let plain = try ingot(Self.command + more + ["-o", "whole"], in: directory)
      #expect(plain.code == 0, "\(plain)")
      let command = Self.command + more + ["-o", "out", "--resume"]
      var random = SystemRandomNumberGenerator()
      var kills = 0
      for _ in 0..<12 {
        let run = try Command(command, in: directory)
        usleep(kills == 0 ? 5000 : UInt32.random(in: 0...900_000, using: &random))  // the first is no chance
        run.signal(SIGKILL)
        guard try run.wait().wasKilled else { break }
        kills += 1
      }
      if !listing(of: directory).contains("out") || listing(of: directory).contains("out.journal") {
        let last = try ingot(command, in: directory)
        #expect(last.code == 0 && last.err.isEmpty, "\(last)")
      }
      #expect(kills > 0)
      #expect(try contents(of: directory + "/out") == contents(of: directory + "/whole"))
      #expect(listing(of: directory) == ["out", "whole"])
      // A part that is there is made already; another is not replaced.
      guard !more.isEmpty else { return }
      #expect(try ingot(command, in: directory).out == "out\n")
      // One that is damaged is made again.
      var damaged = try contents(of: directory + "/out")
      damaged[damaged.count / 2] ^= 1
      try write(damaged, to: directory + "/out")
      #expect(try ingot(command, in: directory).code == 0)
      #expect(try contents(of: directory + "/out") == contents(of: directory + "/whole"))
      let other = try ingot(Self.command + ["--part", "0/2", "-o", "out", "--resume"], in: directory)
      #expect(other.code == 4 && other.err.contains("`index` is 1, in this command it is 0"), "\(other)")
      #expect(try contents(of: directory + "/out") == contents(of: directory + "/whole"))
    }
  }

  @Test func anEmptyJournalIsOfARunThatBeganNothing() throws {
    try withTemporaryDirectory { directory in
      try makeDirectory(directory + "/out.journal")
      try write([1], to: directory + "/out")
      let result = try ingot(Self.command + ["-o", "out", "--resume"], in: directory)
      #expect(result.code == 1 && result.err.contains("exists already"), "\(result)")
      #expect(try contents(of: directory + "/out") == [1])
    }
  }

  @Test("what a part says of itself is not believed", arguments: [(#"\"of\":1"#, 18), (#"\"version\":1"#, 1)])
  func hostile(key: String, digits: Int) throws {
    try withTemporaryDirectory { directory in
      let bytes = try contents(of: directory + "/" + part(0, of: 1, in: directory))
      let length = Int(bytes[0]) | Int(bytes[1]) << 8 | Int(bytes[2]) << 16
      let header = String(decoding: bytes[8..<8 + length], as: UTF8.self)
      try #require(header.contains(key))
      // As long as a multiple of eight more.
      var changed = Array(header.replacing(key, with: key.dropLast() + String(repeating: "4", count: digits)).utf8)
      while changed.count % 8 != length % 8 { changed.append(UInt8(ascii: " ")) }
      let count = (0..<8).map { UInt8(truncatingIfNeeded: changed.count >> (8 * $0)) }
      try write(count + changed + bytes[(8 + length)...], to: directory + "/0.part")
      let result = try ingot(["calibrate", "--merge", "0.part", "-o", "merged", "-q"], in: directory)
      let words = digits == 1 ? "version `4`" : "does not say which part"
      #expect(result.code == (digits == 1 ? 1 : 4) && result.err.contains(words), "\(result)")
    }
  }

  @Test("what is damaged of a journal is made again, and another run's is refused")
  func journals() throws {
    try withTemporaryDirectory { directory in
      let whole = try whole(in: directory)
      let command = Self.command + ["-o", "out", "--resume"]
      let journal = directory + "/out.journal"
      func stopBehindALayer() throws {
        let run = try Command(command, in: directory)
        while (try? contents(of: journal + "/log"))?.count(where: { $0 == UInt8(ascii: "\n") }) ?? 0 < 3 {
          usleep(1000)
        }
        run.signal(SIGTERM)
        let stopped = try run.wait()
        #expect(stopped.code == 143 && stopped.err.contains("run the same command again"), "\(stopped)")
      }
      for name in ["states", "hidden", "log"] {
        try stopBehindALayer()
        let found = try #require(listing(of: journal).first { $0.hasPrefix(name) })
        var bytes = try contents(of: "\(journal)/\(found)")
        // Of the states what was finished stands before the middle of what there is room for.
        let place = name == "states" ? try firstDifference(bytes) : bytes.count - 2
        bytes[place] ^= 1
        try write(bytes, to: "\(journal)/\(found)")
        let result = try ingot(command, in: directory)
        #expect(result.code == 0, "\(name): \(result)")
        #expect(try contents(of: directory + "/out") == whole, "\(name)")
        #expect(listing(of: directory) == ["out"])
        unsafe unlink(directory + "/out")
      }
      try stopBehindALayer()
      let other = try ingot(command + ["--seed", "4"], in: directory)
      #expect(other.code == 4 && other.err.contains("the journal is of another run"), "\(other)")
      #expect(listing(of: directory) == ["out.journal"])
      let result = try ingot(command, in: directory)
      #expect(result.code == 0 && listing(of: directory) == ["out"], "\(result)")
      #expect(try contents(of: directory + "/out") == whole)
    }
  }

  /// A byte of the states that were written: the last that is not zero before a long run of zeros.
  private func firstDifference(_ bytes: [UInt8]) throws -> Int {
    try #require(bytes.indices.dropFirst(100_000).first { bytes[$0] != 0 })
  }
}
