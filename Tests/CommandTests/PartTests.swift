import Glibc
import JSON
import Pack
import Storage
import TestSupport
import Testing

/// `ingot verify` in parts, and after interruptions: the report is that of one run.
@Suite struct PartTests {
  private static let data = [
    "--reference", pico, "--prompts", pico + "/eval.jsonl", "--limit", "9", "--gen-length", "16", "--together", "2",
  ]

  private func quantize(_ experts: String, in directory: String) throws {
    let result = try ingot(["quantize", pico, "-o", experts, "-q", "--experts", experts], in: directory)
    #expect(result.code == 0, "\(result.err)")
  }

  /// A report without what it cost.
  private func report(_ arguments: [String], in directory: String, code: Int32 = 0) throws -> String {
    let result = try ingot(["verify"] + arguments + ["--json", "-q"], in: directory)
    try #require(result.code == code && result.err.isEmpty, "\(result.code): \(result.err)")
    return try Self.withoutCost(result.out)
  }

  private static func withoutCost(_ text: String) throws -> String {
    var kept = JSONObject()
    for member in try JSONParser.parse(text).object?.members ?? [] where member.key != "cost" { kept.append(member) }
    return JSONValue.object(kept).text()
  }

  private func part(_ arguments: [String], _ index: Int, of count: Int, in directory: String) throws -> String {
    let name = "\(index).part"
    let result = try ingot(
      ["verify"] + arguments + ["--part", "\(index)/\(count)", "-o", name, "-q"], in: directory)
    try #require(result.code == 0 && result.err.isEmpty, "\(result.code): \(result.err)")
    #expect(result.out == name + "\n")
    return name
  }

  @Test("parts give the report of one run", arguments: [1, 2, 3, 7])
  func partsOfOneRun(count: Int) throws {
    try withTemporaryDirectory { directory in
      try quantize("int4-g64", in: directory)
      let arguments = ["int4-g64"] + Self.data
      let whole = try report(arguments, in: directory)
      let parts = try (0..<count).map { try part(arguments, $0, of: count, in: directory) }
      #expect(try report(arguments + ["--merge"] + parts.reversed(), in: directory) == whole)
    }
  }

  @Test(
    "whatever is measured can be measured in parts",
    arguments: [
      ["--attribute", "layers", "--block-lengths", "8,16"], ["--no-floor", "--no-replay", "--level", "masked"],
      ["--level", "trajectories", "--decoder", "2.1-quality"], ["--versus", "int8-g32", "--level", "weights"],
      ["--versus", "int8-g32", "--no-replay"], ["--text", "words.txt", "--level", "masked"],
    ])
  func options(more: [String]) throws {
    try withTemporaryDirectory { directory in
      for experts in ["int4-g64", "int8-g32"] { try quantize(experts, in: directory) }
      try write(
        Array(String(repeating: "the name of the record is Ada\n", count: 120).utf8), to: directory + "/words.txt")
      // --versus needs the level masked.
      let arguments = ["int4-g64"] + Self.data + more + (more.contains("weights") ? ["--level", "masked"] : [])
      let whole = try report(arguments, in: directory)
      let parts = try (0..<2).map { try part(arguments, $0, of: 2, in: directory) }
      #expect(try report(arguments + ["--merge"] + parts, in: directory) == whole)
    }
  }

  @Test("texts that the reference writes belong to the part that decodes them")
  func generations() throws {
    try withTemporaryDirectory { directory in
      try quantize("int4-g64", in: directory)
      let arguments = ["int4-g64", "--reference", pico, "--gen-length", "32", "--together", "5"]
      let whole = try report(arguments, in: directory)
      let parts = try (0..<4).map { try part(arguments, $0, of: 4, in: directory) }
      #expect(try report(arguments + ["--merge"] + parts, in: directory) == whole)
    }
  }

  @Test("records are made of parts, and serve them")
  func records() throws {
    try withTemporaryDirectory { directory in
      try quantize("int4-g64", in: directory)
      let recording = Array(Self.data) + ["--record", "one.record"]
      #expect(try ingot(["verify", "-q"] + recording, in: directory).code == 0)
      let other = Array(Self.data) + ["--record", "two.record"]
      let recorded = try (0..<3).map { try part(other, $0, of: 3, in: directory) }
      #expect(try ingot(["verify", "-q"] + other + ["--merge"] + recorded, in: directory).code == 0)
      #expect(try contents(of: directory + "/one.record") == contents(of: directory + "/two.record"))
      let arguments = ["int4-g64", "--reference", "one.record", "--together", "2"]
      let whole = try report(arguments, in: directory)
      let parts = try (0..<2).map { index in
        unsafe unlink(directory + "/\(index).part")
        return try part(arguments, index, of: 2, in: directory)
      }
      #expect(try report(arguments + ["--merge"] + parts, in: directory) == whole)
    }
  }

  @Test func gatesWaitForTheMerge() throws {
    try withTemporaryDirectory { directory in
      try quantize("int4-g64", in: directory)
      let arguments = ["int4-g64"] + Self.data + ["--level", "masked", "--gate", "masked.kl.mean > 0"]
      let parts = try (0..<2).map { try part(arguments, $0, of: 2, in: directory) }
      #expect(
        try report(arguments + ["--merge"] + parts, in: directory, code: 3) == report(arguments, in: directory, code: 3)
      )
    }
  }

  @Test func partsThatDoNotBelongTogetherAreRefused() throws {
    try withTemporaryDirectory { directory in
      for experts in ["int4-g64", "int8-g32"] { try quantize(experts, in: directory) }
      let arguments = ["int4-g64"] + Self.data + ["--level", "masked"]
      let parts = try (0..<2).map { try part(arguments, $0, of: 2, in: directory) }
      func refused(_ arguments: [String], _ parts: [String], code: Int32 = 4, _ words: String...) throws {
        let result = try ingot(["verify"] + arguments + ["-q", "--merge"] + parts, in: directory)
        #expect(result.code == code && result.out.isEmpty, "\(result)")
        for word in words { #expect(result.err.contains(word), "\(word): \(result.err)") }
      }
      try refused(arguments, [parts[0]], "of 2 parts these are missing: 1")
      try refused(arguments, parts + [parts[1]], "part 1 is given twice")
      try refused(arguments + ["--seed", "1"], parts, "another run", "`options.seed` is 0 there and 1 here")
      try refused(arguments + ["--limit", "8"], parts, "`data.prompts` is 9 there and 8 here")
      try refused(arguments + ["--no-floor"], parts, "`measures.floor`")
      try refused(["int8-g32"] + arguments.dropFirst(), parts, "`candidate.hash`")
      try write(Array("no part\n".utf8), to: directory + "/foreign")
      try refused(arguments, [parts[0], "foreign"], "no part of a verification", "`foreign`")
      try refused(arguments, [parts[0], "none"], code: 1, "none")
      #expect(unsafe rename(directory + "/1.part", directory + "/b.part") == 0)
      _ = try part(arguments, 1, of: 3, in: directory)
      try refused(arguments, ["0.part", "1.part"], "a part of 3, where parts of 2")
      let whole = try contents(of: directory + "/b.part")
      var changed = whole
      for (index, words) in [
        (20, "is no part"), (whole.count / 2, "is not as it was written"), (whole.count - 3, "is not as"),
      ] {
        changed = whole
        changed[index] ^= 1
        try write(changed, to: directory + "/b.part")
        try refused(arguments, ["0.part", "b.part"], words, "`b.part`")
      }
      for count in [whole.count - 1, whole.count - 30, whole.count / 3] {
        try write(Array(whole[..<count]), to: directory + "/b.part")
        try refused(arguments, ["0.part", "b.part"], "damaged")
      }
      try write(whole, to: directory + "/b.part")
      _ = try report(arguments + ["--merge", "0.part", "b.part"], in: directory)
    }
  }

  @Test(
    "options that contradict parts are refused",
    arguments: [
      (["--part", "0/2"], "-o FILE"), (["-o", "x"], "-o names"), (["--part", "2/2", "-o", "x"], "--part"),
      (["--part", "-1/2", "-o", "x"], "--part"), (["--part", "task/2", "-o", "x"], "--part"),
      (["--merge", "a", "--resume"], "--merge"), (["--part", "0/2", "-o", "x", "--attribute", "experts"], "experts"),
      (["--together", "0"], "--together"), (["--part", "0/2", "-o", "x", "--json"], "--json"),
      (["--part", "0/2", "-o", "x", "--html", "y"], "--html"),
    ])
  func usage(more: [String], word: String) throws {
    try withTemporaryDirectory { directory in
      let result = try ingot(["verify", pico, "--reference", pico] + more, in: directory)
      #expect(result.code == 64 && result.err.contains(word), "\(result)")
    }
  }

  @Test func theNumberOfThePartMayBeThatOfATask() throws {
    try withTemporaryDirectory { directory in
      let arguments = [pico] + Self.data + ["--level", "masked", "-q", "--no-floor", "--no-replay"]
      let result = try Command(
        ["verify"] + arguments + ["--part", "task/3", "-o", "p"], in: directory,
        environment: ["SLURM_ARRAY_TASK_ID": "1"]
      ).wait()
      #expect(result.code == 0, "\(result.err)")
      _ = try part(arguments, 1, of: 3, in: directory)
      let heads = try ["p", "1.part"].map { try contents(of: "\(directory)/\($0)").prefix { $0 != UInt8(ascii: "\n") } }
      #expect(heads[0] == heads[1])
    }
  }

  @Test("whatever stands in a part, with right hashes, ends with a sentence")
  func strangeMeasurements() throws {
    try withTemporaryDirectory { directory in
      try quantize("int4-g64", in: directory)
      let arguments = [
        "int4-g64", "--reference", pico, "--prompts", pico + "/eval.jsonl", "--limit", "2", "--gen-length", "8",
      ]
      _ = try part(arguments, 0, of: 1, in: directory)
      let lines = String(decoding: try contents(of: directory + "/0.part"), as: UTF8.self).split(separator: "\n")
      let documents = try lines.map { try JSONParser.parse(String($0.dropFirst(17))) }
      var random = SeededRandom(seed: 5)
      var codes: [Int32: Int] = [:]
      for _ in 0..<40 {
        let index = Int.random(in: 0..<documents.count, using: &random)
        var changed = documents
        changed[index] = Self.changed(documents[index], &random)
        let bytes = changed.flatMap { document -> [UInt8] in
          let text = Array(document.text(indented: false).utf8)
          return Array("\(XXH3.text(XXH3.hash(text.bytes))) ".utf8) + text + [UInt8(ascii: "\n")]
        }
        try write(bytes, to: directory + "/0.part")
        let result = try ingot(["verify"] + arguments + ["-q", "--merge", "0.part"], in: directory)
        #expect(!result.wasKilled && (result.code == 0 || result.code == 4), "line \(index): \(result)")
        codes[result.code, default: 0] += 1
      }
      #expect(codes[4, default: 0] > 20, "\(codes)")
      // No list is made of parts that nobody can have made.
      let head = documents[0].text(indented: false).replacing(#""of":1"#, with: #""of":4611686018427387904"#)
      let text = Array(head.utf8)
      let line = "\(XXH3.text(XXH3.hash(text.bytes))) \(head)\n"
      try write(Array((line + lines.dropFirst().joined(separator: "\n") + "\n").utf8), to: directory + "/0.part")
      let result = try ingot(["verify"] + arguments + ["-q", "--merge", "0.part"], in: directory)
      #expect(result.code == 4 && result.err.contains("which part"), "\(result)")
    }
  }

  /// A document with one member or element, at any depth, left out or replaced.
  private static func changed(_ document: JSONValue, _ random: inout SeededRandom) -> JSONValue {
    let isHere = Int.random(in: 0..<4, using: &random) == 0
    switch document {
    case .object(let object) where !object.members.isEmpty && !isHere:
      let index = Int.random(in: object.members.indices, using: &random)
      var other = JSONObject()
      for (place, member) in object.members.enumerated() {
        other.append(.init(key: member.key, value: place == index ? changed(member.value, &random) : member.value))
      }
      return .object(other)
    case .array(var elements) where !elements.isEmpty && !isHere:
      let index = Int.random(in: elements.indices, using: &random)
      elements[index] = changed(elements[index], &random)
      return .array(elements)
    case .string(let text) where text.count > 16:
      // A column: shorter, or with other numbers.
      return Bool.random(using: &random)
        ? .string(String(text.dropLast(16))) : .string(String(repeating: "f", count: 16) + text.dropFirst(16))
    default:
      return [.null, 1_000_000_007, -3, "words", [], true].randomElement(using: &random) ?? .null
    }
  }

  // MARK: After interruptions

  /// Runs a command again and again, each time until it is killed, and then to its end.
  ///
  /// - Returns: its last result, and how often it was killed.
  private func interrupted(
    _ arguments: [String], kills: Int, upTo seconds: Double, in directory: String
  ) throws -> (Command.Result, Int) {
    var random = SystemRandomNumberGenerator()
    var killed = 0
    for _ in 0..<kills {
      let command = try Command(arguments, in: directory)
      // The first kill comes before any end.
      usleep(killed == 0 ? 5000 : UInt32(Double.random(in: 0...seconds, using: &random) * 1e6))
      command.signal(SIGKILL)
      let result = try command.wait()
      guard result.wasKilled else { return (result, killed) }
      killed += 1
    }
    return (try Command(arguments, in: directory).wait(), killed)
  }

  @Test("killed a dozen times, the same command gives the report of one run")
  func resumedReport() throws {
    try withTemporaryDirectory { directory in
      try quantize("int4-g64", in: directory)
      let arguments = ["int4-g64"] + Self.data + ["--attribute", "experts"]
      let whole = try report(arguments, in: directory)
      let (result, killed) = try interrupted(
        ["verify"] + arguments + ["--resume", "--json", "-q"], kills: 12, upTo: 0.8, in: directory)
      #expect(result.code == 0 && result.err.isEmpty && killed > 0, "\(result)")
      #expect(try Self.withoutCost(result.out) == whole)
      #expect(listing(of: directory) == ["int4-g64"])
    }
  }

  @Test func resumedPartsAreMergedAsOthers() throws {
    try withTemporaryDirectory { directory in
      try quantize("int4-g64", in: directory)
      let arguments = ["int4-g64"] + Self.data
      let whole = try report(arguments, in: directory)
      for index in 0..<2 {
        let (result, _) = try interrupted(
          ["verify"] + arguments + ["--part", "\(index)/2", "-o", "\(index).part", "--resume", "-q"], kills: 4,
          upTo: 0.6, in: directory)
        #expect(result.code == 0, "\(result)")
      }
      // A part that is there is made already; one of other options is not it.
      let again = ["verify"] + arguments + ["--part", "0/2", "-o", "0.part", "--resume", "-q"]
      #expect(try ingot(again, in: directory).code == 0)
      let other = try ingot(again + ["--seed", "3"], in: directory)
      #expect(other.code == 4 && other.err.contains("`options.seed`"), "\(other)")
      let second = try ingot(
        ["verify"] + arguments + ["--part", "1/2", "-o", "0.part", "--resume", "-q"], in: directory)
      #expect(second.code == 4 && second.err.contains("this is part 0 of 2"), "\(second)")
      #expect(try report(arguments + ["--merge", "0.part", "1.part"], in: directory) == whole)
      #expect(listing(of: directory) == ["0.part", "1.part", "int4-g64"])
    }
  }

  @Test func anotherRunsJournalIsRefusedAndStays() throws {
    try withTemporaryDirectory { directory in
      try quantize("int4-g64", in: directory)
      let arguments = ["verify", "int4-g64"] + Self.data + ["--resume", "-q", "--html", "page.html"]
      let command = try Command(arguments, in: directory)
      while !listing(of: directory).contains("page.html.journal") { usleep(2000) }
      usleep(300_000)
      command.signal(SIGTERM)
      let stopped = try command.wait()
      #expect(stopped.code == 143 && stopped.err.contains("run the same command again"), "\(stopped)")
      #expect(listing(of: directory) == ["int4-g64", "page.html.journal"])
      let other = try ingot(arguments + ["--seed", "1"], in: directory)
      #expect(other.code == 4 && other.err.contains("`run.options.seed` was 0 and is 1"), "\(other)")
      #expect(listing(of: directory) == ["int4-g64", "page.html.journal"])
      #expect(try ingot(arguments, in: directory).code == 0)
      #expect(listing(of: directory) == ["int4-g64", "page.html"])
    }
  }

  @Test func whatAppearsDuringTheWorkIsNotReplaced() throws {
    try withTemporaryDirectory { directory in
      try quantize("int4-g64", in: directory)
      let arguments = ["verify", "int4-g64"] + Self.data + ["--resume", "-q", "--html", "page.html"]
      let command = try Command(arguments, in: directory)
      while !listing(of: directory).contains("page.html.journal") { usleep(2000) }
      try write([1], to: directory + "/page.html")
      let result = try command.wait()
      #expect(result.code == 1 && result.err.contains("exists already"), "\(result)")
      let again = try ingot(arguments, in: directory)
      #expect(again.code == 1 && again.err.contains("exists already"), "\(again)")
      #expect(try contents(of: directory + "/page.html") == [1])
    }
  }

  @Test func theMessageOfAnInterruptionNamesTheOption() throws {
    try withTemporaryDirectory { directory in
      let command = try Command(["verify", pico, "--reference", pico], in: directory)
      usleep(400_000)
      command.signal(SIGINT)
      let stopped = try command.wait()
      #expect(stopped.code == 130 && stopped.err.contains("--resume"), "\(stopped)")
      #expect(listing(of: directory).isEmpty)
    }
  }
}
