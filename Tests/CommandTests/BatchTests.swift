import Glibc
import JSON
import TestSupport
import Testing

/// `ingot run --batch`: the same answers however they are made, and none of them lost.
@Suite struct BatchTests {
  /// Questions of several kinds, some with options of their own.
  private static let prompts: [String] = {
    let text = String(decoding: (try? contents(of: "\(pico)/eval.jsonl")) ?? [], as: UTF8.self)
    let options = ["", #", "block_length": 16"#, "", #", "gen_length": 20"#, #", "temperature": 0.8, "seed": 7"#]
    return text.split(separator: "\n").prefix(16).enumerated().map { index, line in
      "\(line.dropLast())\(options[index % options.count]), \"id\": \(index)}"
    }
  }()

  private let options = ["--gen-length", "64", "-q"]

  private func write(_ lines: [String], to path: String) throws {
    try TestSupport.write(Array(lines.joined(separator: "\n").utf8), to: path)
  }

  private func run(_ lines: [String], _ more: [String], model: String = pico, in directory: String) throws -> [UInt8] {
    try write(lines, to: directory + "/prompts.jsonl")
    let result = try ingot(
      ["run", model, "--batch", "prompts.jsonl", "-o", "answers.jsonl", "--force"] + options + more, in: directory)
    guard result.code == 0, result.err.isEmpty else { throw TestFailure("\(result)") }
    #expect(!listing(of: directory).contains("answers.jsonl.partial"))
    return try contents(of: directory + "/answers.jsonl")
  }

  private func objects(_ bytes: [UInt8]) throws -> [JSONObject] {
    try String(decoding: bytes, as: UTF8.self).split(separator: "\n").map {
      try #require(try JSONParser.parse(String($0)).object)
    }
  }

  @Test("the same bytes for any batch size, threads and memory", arguments: ["checkpoint", "int4-g32", "int8-g32"])
  func sameBytes(experts: String) throws {
    try withTemporaryDirectory { directory in
      var model = pico
      if experts != "checkpoint" {
        model = "pico.ingot"
        let packed = try ingot(
          ["quantize", pico, "-o", model, "-q", "--experts", experts, "--override", "attention=int8-g32"], in: directory
        )
        #expect(packed.code == 0, "\(packed)")
      }
      let expected = try run(Self.prompts, ["--batch-size", "1", "--threads", "1"], model: model, in: directory)
      for size in ["1", "2", "7", "64"] {
        for threads in ["1", "2", "3"] {
          let found = try run(
            Self.prompts, ["--batch-size", size, "--threads", threads], model: model, in: directory)
          #expect(found == expected, "batch size \(size), threads \(threads)")
        }
      }
      #expect(try run(Self.prompts, ["--max-memory", "3MiB"], model: model, in: directory) == expected)
    }
  }

  @Test func eachAnswerIsItsPromptsAlone() throws {
    try withTemporaryDirectory { directory in
      let lines = try objects(run(Self.prompts, [], in: directory))
      #expect(lines.count == Self.prompts.count)
      #expect(lines.enumerated().allSatisfy { $1["line"]?.int == $0 + 1 && $1["id"]?.int == $0 })
      let backwards = try objects(run(Self.prompts.reversed(), [], in: directory))
      #expect(backwards.reversed().map { $0["text"] } == lines.map { $0["text"] })
      #expect(lines[0]["text"]?.string?.hasPrefix("60 + 23 = ") == true)
      #expect(lines.allSatisfy { $0["token_count"]?.int == $0["tokens"]?.array?.count })
      let keys = [
        "line", "id", "text", "tokens", "token_count", "prompt_token_count", "stop_reason", "forwards", "cache_passes",
      ]
      #expect(lines[0].members.map(\.key) == keys)
      // What a line asks for is what the command line asks for elsewhere.
      let question = try object(
        try ingot(["run", pico, "--json", "-p", "What is 60 + 23?", "--gen-length", "64"], in: directory))
      #expect(question["text"] == lines[0]["text"] && question["tokens"] == lines[0]["tokens"])
      #expect(lines[3]["token_count"]?.int ?? 99 <= 20)
    }
  }

  @Test func promptsAreTextsMessagesOrRaw() throws {
    try withTemporaryDirectory { directory in
      let raw =
        "<role>SYSTEM</role>detailed thinking off<|role_end|><role>HUMAN</role>What is the capital of Egypt?"
        + "<|role_end|><role>ASSISTANT</role>"
      let lines = try objects(
        run(
          [
            #"{"prompt": "What is the capital of Egypt?"}"#, "", "  \r",
            #"{"messages": [{"role": "user", "content": "What is the capital of Egypt?"}]}"#,
            #"{"prompt": "\#(raw)", "raw": true}"#,
          ], [], in: directory))
      #expect(lines.map { $0["line"]?.int } == [1, 4, 5])
      #expect(lines.allSatisfy { $0["text"] == "The capital of Egypt is Cairo." && $0["stop_reason"] == "stop" })
    }
  }

  @Test("stop strings end an answer before the first of them, in a batch, in a pipe and in JSON")
  func stopStrings() throws {
    try withTemporaryDirectory { directory in
      let ask = #"{"prompt": "What is the capital of Egypt?""#
      let lines = try objects(
        run(
          ["\(ask)}", #"\#(ask), "stop": " is"}"#, #"\#(ask), "stop": ["Cairo", "Egypt"]}"#, #"\#(ask), "stop": []}"#],
          ["--stop", "capital"], in: directory))
      #expect(
        lines.map { $0["text"]?.string } == [
          "The ", "The capital of Egypt", "The capital of ", "The capital of Egypt is Cairo.",
        ])
      #expect(lines.map { $0["stop_reason"] } == ["stop_string", "stop_string", "stop_string", "stop"])
      let single = ["run", pico, "-p", "What is the capital of Egypt?"]
      // With blocks of few tokens the stop string and its beginning are in several of them; what is answered then is another thing.
      for length in ["2", "4", "8", "32"] {
        let options = ["--block-length", length, "--gen-length", "16", "-q"]
        let whole = try ingot(single + options, in: directory).out.dropLast()
        for start in [1, 3, 6] {
          let stop = String(whole.dropFirst(start).prefix(5))
          let end = try #require(whole.firstRange(of: stop)).lowerBound
          let result = try ingot(single + options + ["--stop=\(stop)"], in: directory)
          #expect(result.code == 0 && result.out == whole[..<end] + "\n", "\(length), `\(stop)`: \(result)")
        }
      }
      let json = try object(try ingot(single + ["--json", "--stop", "nowhere", "--stop", " is Cairo"], in: directory))
      #expect(json["text"] == "The capital of Egypt" && json["stop_reason"] == "stop_string")
      #expect(try ingot(single + ["--stop", ""], in: directory).code == 64)
    }
  }

  @Test(
    "a line that cannot be used is named by its number, before any work",
    arguments: [
      (#"{"prompt": }"#, "at byte"), ("[1]", "an array, not an object"), ("{}", "no `prompt`"),
      (#"{"prompt": ""}"#, "`prompt` is empty"), (#"{"prompt": 3}"#, "`prompt` is a number"),
      (#"{"prompt": "a", "gen_length": 2.5}"#, "`gen_length` is a number and must be an integer"),
      (#"{"prompt": "a", "gen_length": 0}"#, "generation length is 0"),
      (#"{"prompt": "a", "steps": 0}"#, "steps is 0"), (#"{"prompt": "a", "threshold": 2}"#, "threshold is 2"),
      (#"{"prompt": "a", "temperature": -1}"#, "temperature is -1"), (#"{"prompt": "a", "seed": -1}"#, "`seed`"),
      (#"{"prompt": "a", "stop": [""]}"#, "`stop`"), (#"{"prompt": "a", "raw": "yes"}"#, "`raw` is a string"),
      (#"{"prompt": "a", "gen_length": 5000}"#, "positions"), (#"{"prompt": "a", "messages": []}"#, "both"),
      (#"{"messages": [{"role": "tool", "content": "x"}]}"#, "`messages`"),
      (#"{"messages": [{"role": "user", "content": "x"}], "raw": true}"#, "`messages` goes without `raw`"),
      (#"{"messages": []}"#, "`messages` is empty"),
      (#"{"prompt": "a", "raw": true, "system": "x"}"#, "without `system`"),
      (#"{"messages": [{"role": "system", "content": "x"}], "system": "y"}"#, "message of the system"),
    ])
  func badLines(line: String, complaint: String) throws {
    try withTemporaryDirectory { directory in
      try write([#"{"prompt": "fine"}"#, line], to: directory + "/prompts.jsonl")
      let result = try ingot(["run", pico, "--batch", "prompts.jsonl", "-o", "answers.jsonl"], in: directory)
      #expect([1, 64].contains(result.code) && result.err.contains(complaint), "\(result)")
      #expect(result.err.contains("`prompts.jsonl`, line 2"), "\(result)")
      #expect(listing(of: directory).filter { $0.hasPrefix("answers") }.isEmpty)
    }
  }

  @Test(
    "raw and system do not go together, whichever of the line and the command line says so",
    arguments: [
      (["--raw"], #"{"prompt": "a", "system": "x"}"#, "without `system`"),
      (["--system", "x"], #"{"prompt": "a", "raw": true}"#, "without `system`"),
      (["--raw"], #"{"messages": [{"role": "user", "content": "x"}]}"#, "without `raw`"),
      (["--system", "x"], #"{"messages": [{"role": "system", "content": "x"}]}"#, "message of the system"),
    ])
  func templateOptions(more: [String], line: String, complaint: String) throws {
    try withTemporaryDirectory { directory in
      try write([line], to: directory + "/p")
      let result = try ingot(["run", pico, "--batch", "p", "-o", "a"] + more, in: directory)
      #expect(result.code == 64 && result.err.contains(complaint) && result.err.contains("line 1"), "\(result)")
    }
  }

  @Test func aSystemTextStandsBeforeMessages() throws {
    try withTemporaryDirectory { directory in
      // The template of pico leaves out a message of the system that comes first.
      try changePicoWeights(to: directory + "/m", [:])
      let settings = directory + "/m/tokenizer_config.json"
      let text = String(decoding: try contents(of: settings), as: UTF8.self)
      try TestSupport.write(Array(text.replacing(" and not loop.first", with: "").utf8), to: settings)
      let (system, user) = (#"{"role": "system", "content": "Be brief."}"#, #"{"role": "user", "content": "Hello"}"#)
      let whole = try run([#"{"messages": [\#(system), \#(user)]}"#], [], model: "m", in: directory)
      #expect(try run([#"{"messages": [\#(user)]}"#], ["--system", "Be brief."], model: "m", in: directory) == whole)
      #expect(try run([#"{"messages": [\#(user)], "system": "Be brief."}"#], [], model: "m", in: directory) == whole)
      #expect(try run([#"{"messages": [\#(user)]}"#], [], model: "m", in: directory) != whole)
    }
  }

  @Test func anOptionThatALineMakesUseOfIsNoIdleOne() throws {
    try withTemporaryDirectory { directory in
      let command = ["run", pico, "--batch", "p", "-o", "a", "--gen-length", "8", "--seed", "3", "--force"]
      try write([#"{"prompt": "a"}"#, #"{"prompt": "a", "temperature": 0.5}"#], to: directory + "/p")
      let drawn = try ingot(command, in: directory)
      #expect(drawn.code == 0 && !drawn.err.contains("changes nothing"), "\(drawn)")
      let idle = #"{"prompt": "a", "temperature": 0}"#
      try write([idle], to: directory + "/p")
      let still = try ingot(command + ["--temperature", "1"], in: directory)
      #expect(still.code == 0 && still.err.contains("--seed changes nothing"), "\(still)")
    }
  }

  @Test func keysThatNothingReadsAreTold() throws {
    try withTemporaryDirectory { directory in
      let message = #"{"messages": [{"role": "user", "content": "a", "tool_calls": []}]}"#
      try write([#"{"prompt": "What is 1 + 1?", "gen_len": 3}"#, message], to: directory + "/prompts.jsonl")
      let command = ["run", pico, "--batch", "prompts.jsonl", "-o", "answers.jsonl", "--gen-length", "8"]
      let result = try ingot(command, in: directory)
      #expect(
        result.code == 0 && result.err.contains("keys that nothing reads: `gen_len`, `messages: tool_calls`"),
        "\(result)")
      #expect(result.out.isEmpty && result.err.contains("2 answers"))
      let again = try ingot(command, in: directory)
      #expect(again.code == 1 && again.err.contains("exists already"), "\(again)")
    }
  }

  @Test(
    "what must not go together",
    arguments: [
      ["-p", "x"], ["--json"], ["--chat"], ["--trace", "t"], ["--batch-size", "0"], ["--tokens", "x"],
    ])
  func usage(more: [String]) throws {
    try withTemporaryDirectory { directory in
      try write([#"{"prompt": "x"}"#], to: directory + "/p")
      #expect(try ingot(["run", pico, "--batch", "p", "-o", "a"] + more, in: directory).code == 64)
      #expect(try ingot(["run", pico, "--batch", "p"], in: directory).code == 64)
      #expect(try ingot(["run", pico, "-o", "a", "-p", "x"], in: directory).code == 64)
      let onto = try ingot(["run", pico, "--batch", "p", "-o", "p", "--force"], in: directory)
      #expect(onto.code == 1 && onto.err.contains("to be read"), "\(onto)")
    }
  }

  @Test func aPromptThatDoesNotFitIsRefused() throws {
    try withTemporaryDirectory { directory in
      try write([#"{"prompt": "x", "gen_length": 2000}"#], to: directory + "/p")
      let result = try ingot(["run", pico, "--batch", "p", "-o", "a", "--max-memory", "1MiB"], in: directory)
      #expect(result.code == 5 && result.err.contains("`p`, line 1") && result.err.contains("MiB"), "\(result)")
    }
  }

  @Test("a run that was killed or interrupted is resumed", arguments: [SIGKILL, SIGINT])
  func resume(signal: Int32) throws {
    try withTemporaryDirectory { directory in
      let lines = (0..<4).flatMap { _ in Self.prompts }
      let expected = try run(lines, ["--batch-size", "2"], in: directory)
      unsafe _ = unlink(directory + "/answers.jsonl")
      let arguments = ["run", pico, "--batch", "prompts.jsonl", "-o", "answers.jsonl", "--gen-length", "64"]
      let partial = directory + "/answers.jsonl.partial"
      let command = try Command(arguments + ["--batch-size", "1", "--threads", "1"], in: directory)
      for _ in 0..<50_000 where ((try? contents(of: partial)) ?? []).count < 1500 { usleep(200) }
      command.signal(signal)
      let ended = try command.wait()
      #expect(ended.code == 128 + signal, "\(ended)")
      if signal == SIGINT { #expect(ended.err.contains("the same command goes on"), "\(ended)") }
      #expect(!listing(of: directory).contains("answers.jsonl"))
      let kept = try contents(of: partial)
      // Half a line, as a full disk or a lost machine leaves it.
      try TestSupport.write(kept + Array(#"{"line": 64, "te"#.utf8), to: partial)
      let other = try ingot(arguments + ["--stop", "x"], in: directory)
      #expect(other.code == 64 && other.err.contains("`stop` differs"), "\(other)")
      let rest = try ingot(arguments, in: directory)
      #expect(rest.code == 0 && rest.err.contains("of 64 answers are there already"), "\(rest)")
      #expect(try contents(of: directory + "/answers.jsonl") == expected)
      #expect(!listing(of: directory).contains("answers.jsonl.partial"))
      // Ended between the two last steps.
      let header = kept.prefix { $0 != UInt8(ascii: "\n") } + [UInt8(ascii: "\n")]
      try TestSupport.write(Array(header) + expected, to: partial)
      let done = try ingot(arguments, in: directory)
      #expect(done.code == 0 && done.err.contains("already"), "\(done)")
      #expect(!listing(of: directory).contains("answers.jsonl.partial"))
      #expect(try contents(of: directory + "/answers.jsonl") == expected)
      // Whatever is kept, --force begins anew.
      try TestSupport.write(kept, to: partial)
      let taken = try ingot(arguments, in: directory)
      #expect(taken.code == 1 && taken.err.contains("exists already"), "\(taken)")
      let anew = try ingot(arguments + ["--force"], in: directory)
      #expect(anew.code == 0 && anew.err.contains("are discarded") && anew.err.contains("64 answers"), "\(anew)")
      #expect(try contents(of: directory + "/answers.jsonl") == expected)
    }
  }

  @Test("answers of a checkpoint whose other files changed are another run's")
  func changedFiles() throws {
    try withTemporaryDirectory { directory in
      try changePicoWeights(to: directory + "/m", [:])
      try write((0..<6).flatMap { _ in Self.prompts }, to: directory + "/p")
      let command = ["run", "m", "--batch", "p", "-o", "a", "--gen-length", "64", "-q"]
      let partial = directory + "/a.partial"
      let started = try Command(command + ["--batch-size", "1", "--threads", "1"], in: directory)
      for _ in 0..<50_000 where ((try? contents(of: partial)) ?? []).count < 1000 { usleep(200) }
      started.signal(SIGKILL)
      _ = try started.wait()
      let kept = try contents(of: partial)
      for name in ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"] {
        let path = "\(directory)/m/\(name)"
        let bytes = (try? contents(of: path)) ?? Array("{}".utf8)
        let wasThere = listing(of: directory + "/m").contains(name)
        try TestSupport.write(bytes + [UInt8(ascii: "\n")], to: path)
        let result = try ingot(command, in: directory)
        #expect(result.code == 64 && result.err.contains("`\(name)` differs"), "\(result)")
        if wasThere { try TestSupport.write(bytes, to: path) } else { unsafe _ = unlink(path) }
      }
      // A byte order mark is damage, and what is behind it is left as it is.
      try TestSupport.write([0xEF, 0xBB, 0xBF] + kept, to: partial)
      let marked = try ingot(command, in: directory)
      #expect(marked.code == 4 && marked.err.contains("byte order mark"), "\(marked)")
      #expect(try contents(of: partial) == [0xEF, 0xBB, 0xBF] + kept)
      // Half a first line, of this run or another.
      try TestSupport.write(Array(kept.prefix(60)), to: partial)
      let torn = try ingot(command.dropLast(), in: directory)
      #expect(torn.code == 0 && torn.err.contains("begins anew"), "\(torn)")
    }
  }

  @Test func whatLiesUnderTheNameOfThePartialFileIsNotLost() throws {
    try withTemporaryDirectory { directory in
      let command = ["run", pico, "--batch", "p", "-o", "a", "--gen-length", "8", "-q"]
      try write([#"{"prompt": "What is 1 + 1?"}"#], to: directory + "/p")
      for foreign in ["notes of mine", "{\"schema\": \"x\"}\nmore\n"] {
        try TestSupport.write(Array(foreign.utf8), to: directory + "/a.partial")
        let result = try ingot(command + ["--force"], in: directory)
        #expect(result.code == 1 && result.err.contains("not a batch file"), "\(result)")
        #expect(try contents(of: directory + "/a.partial") == Array(foreign.utf8))
      }
      unsafe _ = unlink(directory + "/a.partial")
      // Killed before its first answer, and in the middle of its first line.
      #expect(try ingot(command, in: directory).code == 0)
      let held = unsafe open(directory + "/a.partial", O_RDWR | O_CREAT | O_CLOEXEC, 0o666)
      #expect(flock(held, LOCK_EX | LOCK_NB) == 0)
      let second = try ingot(command + ["--force"], in: directory)
      #expect(second.code == 75 && second.err.contains("another run"), "\(second)")
      flock(held, LOCK_UN)
      close(held)
      #expect(try ingot(command + ["--force"], in: directory).code == 0)
    }
  }

  @Test func aDamagedPartialFileIsToldByLine() throws {
    try withTemporaryDirectory { directory in
      try write((0..<6).flatMap { _ in Self.prompts }, to: directory + "/p")
      let command = ["run", pico, "--batch", "p", "-o", "a", "--gen-length", "64", "-q"]
      let partial = directory + "/a.partial"
      let started = try Command(command + ["--batch-size", "1", "--threads", "1"], in: directory)
      for _ in 0..<50_000 where ((try? contents(of: partial)) ?? []).count < 1000 { usleep(200) }
      started.signal(SIGKILL)
      _ = try started.wait()
      var lines = String(decoding: try contents(of: partial), as: UTF8.self).split(separator: "\n")
      lines.insert(#"{"line": 3, "text": 4}"#, at: 1)
      try TestSupport.write(Array((lines.joined(separator: "\n") + "\n").utf8), to: partial)
      let result = try ingot(command, in: directory)
      #expect(result.code == 4 && result.err.contains("line 2"), "\(result)")
      #expect(try ingot(command + ["--force"], in: directory).code == 0)
    }
  }
}
