import Glibc
import JSON
import TestSupport
import Testing

/// `ingot score`: the same scores however they are made, and none of them lost.
@Suite struct ScoreTests {
  /// Questions with the right answer, one of another question, and a token of it.
  private static let pairs: [String] = {
    let text = String(decoding: (try? contents(of: "\(pico)/eval.jsonl")) ?? [], as: UTF8.self)
    let lines = text.split(separator: "\n").prefix(8).compactMap { try? JSONParser.parse(String($0)).object }
    let quoted = { (value: JSONValue?) in (value ?? .null).text(indented: false) }
    return lines.indices.flatMap { index in
      let prompt = quoted(lines[index]["prompt"])
      return [lines[index]["answer"], lines[(index + 1) % lines.count]["answer"], "60"].enumerated().map {
        place, answer in
        #"{"prompt": \#(prompt), "continuation": \#(quoted(answer)), "id": "\#(index)/\#(place)"}"#
      }
    }
  }()

  private func write(_ lines: [String], to path: String) throws {
    try TestSupport.write(Array(lines.joined(separator: "\n").utf8), to: path)
  }

  private func score(_ lines: [String], _ more: [String] = [], model: String = pico, in directory: String) throws
    -> [UInt8]
  {
    try write(lines, to: directory + "/pairs.jsonl")
    let result = try ingot(
      ["score", model, "pairs.jsonl", "-o", "scores.jsonl", "--force", "-q"] + more, in: directory)
    guard result.code == 0, result.err.isEmpty, result.out.isEmpty else { throw TestFailure("\(result)") }
    #expect(!listing(of: directory).contains("scores.jsonl.partial"))
    return try contents(of: directory + "/scores.jsonl")
  }

  private func objects(_ bytes: [UInt8]) throws -> [JSONObject] {
    try String(decoding: bytes, as: UTF8.self).split(separator: "\n").map {
      try #require(try JSONParser.parse(String($0)).object)
    }
  }

  @Test(
    "the same bytes for any batch size, threads and memory; by line in any order",
    arguments: ["checkpoint", "int4-g32"])
  func sameBytes(experts: String) throws {
    try withTemporaryDirectory { directory in
      var model = pico
      if experts != "checkpoint" {
        model = "pico.ingot"
        let packed = try ingot(["quantize", pico, "-o", model, "-q", "--experts", experts], in: directory)
        #expect(packed.code == 0, "\(packed)")
      }
      let few = ["--draws", "6"]
      let expected = try score(Self.pairs, few + ["--batch-size", "1", "--threads", "1"], model: model, in: directory)
      for (size, threads, memory) in [("2", "2", "2GiB"), ("7", "1", "2GiB"), ("64", "3", "2GiB"), ("64", "2", "3MiB")]
      {
        let options = few + ["--batch-size", size, "--threads", threads, "--max-memory", memory]
        #expect(try score(Self.pairs, options, model: model, in: directory) == expected, "\(options)")
      }
      let backwards = try objects(score(Self.pairs.reversed(), few, model: model, in: directory))
      let forwards = try objects(expected)
      for (line, other) in zip(forwards, backwards.reversed()) {
        #expect(line.members.dropFirst().map(\.value) == other.members.dropFirst().map(\.value))
      }
    }
  }

  @Test func answersThatTheModelKnowsAreMoreProbable() throws {
    try withTemporaryDirectory { directory in
      let lines = try objects(score(Self.pairs, in: directory))
      #expect(lines.count == Self.pairs.count)
      #expect(lines.enumerated().allSatisfy { $1["line"]?.int == $0 + 1 && $1["id"]?.string == "\($0 / 3)/\($0 % 3)" })
      let keys = ["line", "id", "bound", "token_count", "prompt_token_count", "is_greedy", "states", "is_exact"]
      #expect(lines.allSatisfy { $0.members.map(\.key) == keys && ($0["bound"]?.double ?? -1) >= 0 })
      let bounds = lines.map { $0["bound"]?.double ?? .nan }
      let right = stride(from: 0, to: bounds.count, by: 3).count { bounds[$0] < bounds[$0 + 1] }
      #expect(right == bounds.count / 3)
      // Where there are few tokens nothing is drawn.
      let short = lines.filter { ($0["token_count"]?.int ?? 9) <= 2 }
      #expect(!short.isEmpty && short.allSatisfy { $0["is_exact"] == true })
      let seeds = try ["0", "1"].map { try score(Self.pairs, ["--seed", $0, "--draws", "3"], in: directory) }
      #expect(seeds[0] != seeds[1])
    }
  }

  @Test("of one token the bound is −ln p, as a trace of decoding has it")
  func oneToken() throws {
    try withTemporaryDirectory { directory in
      let command = [
        "run", pico, "-p", "What is 60 + 23?", "--gen-length", "1", "--steps", "1", "--trace", "t", "--json",
      ]
      let answer = try object(try ingot(command, in: directory))
      let token = try #require(answer["tokens"]?.array?.first?.int)
      let trace = try #require(
        try JSONParser.parse(String(decoding: try contents(of: directory + "/t"), as: UTF8.self)).object)
      let first = try #require(trace["commits"]?.array?.first?.array)
      let probability = try #require(first[2].double)
      #expect(first[1].int == token)
      let prompt = try #require(answer["prompt_tokens"])
      let lines = try objects(
        score(
          [
            #"{"prompt": "What is 60 + 23?", "continuation_tokens": [\#(token)]}"#,
            #"{"prompt_tokens": \#(prompt.text(indented: false)), "continuation_tokens": [\#(token)]}"#,
            #"{"prompt": "What is 60 + 23?", "continuation_tokens": [\#(token + 1)]}"#,
          ], in: directory))
      for line in lines[..<2] {
        let bound = try #require(line["bound"]?.double)
        #expect(abs(bound + log(probability)) < 1e-5, "\(bound), \(probability)")
        #expect(line["is_greedy"] == true && line["is_exact"] == true && line["states"] == 1)
        #expect(line["prompt_token_count"]?.int == prompt.array?.count && line["token_count"] == 1)
      }
      #expect(lines[2]["is_greedy"] == false && (lines[2]["bound"]?.double ?? 0) > 0.5)
    }
  }

  @Test("a context may have no token; block length 1 is the chain rule")
  func emptyContexts() throws {
    try withTemporaryDirectory { directory in
      let lines = try objects(
        score(
          [
            #"{"prompt": "", "raw": true, "continuation": "The capital of Egypt"}"#,
            #"{"prompt_tokens": [], "continuation": "The capital of Egypt"}"#,
          ], in: directory))
      #expect(lines.allSatisfy { $0["prompt_token_count"] == 0 && ($0["bound"]?.double ?? 0) > 0 })
      #expect(lines[0]["bound"] == lines[1]["bound"])
      let words = ["The capital of Egypt is", " Ca", "iro"]
      let chain = [
        #"{"prompt": "\#(words[0])", "continuation": "\#(words[1])"}"#,
        #"{"prompt": "\#(words[0])\#(words[1])", "continuation": "\#(words[2])"}"#,
      ]
      // The parts as tokens, so that all three are of the same ids.
      let counted = try objects(score(chain, ["--raw", "--block-length", "1"], in: directory))
      let whole = #"{"prompt": "\#(words[0])", "continuation": "\#(words[1])\#(words[2])"}"#
      let joined = try objects(score([whole], ["--raw", "--block-length", "1"], in: directory))
      if joined[0]["token_count"]?.int == counted.reduce(0, { $0 + ($1["token_count"]?.int ?? 0) }) {
        let sum = counted.reduce(0) { $0 + ($1["bound"]?.double ?? .nan) }
        #expect(abs(sum - (joined[0]["bound"]?.double ?? .nan)) < 1e-4 * sum)
      }
      #expect(joined[0]["is_exact"] == true && joined[0]["states"] == joined[0]["token_count"])
    }
  }

  @Test("special tokens are found in a raw continuation alone")
  func specialTokens() throws {
    try withTemporaryDirectory { directory in
      let lines = try objects(
        score(
          [
            #"{"prompt": "Hi", "continuation": "<|role_end|>"}"#,
            #"{"prompt": "Hi", "raw": true, "continuation": "<|role_end|>"}"#,
          ], in: directory))
      #expect((lines[0]["token_count"]?.int ?? 0) > 1 && lines[1]["token_count"] == 1)
    }
  }

  @Test(
    "a line that cannot be used is named by its number, before any work",
    arguments: [
      (#"{"prompt": "a"}"#, 64, "no `continuation`"), (#"{"continuation": "a"}"#, 64, "no `prompt`"),
      (#"{"prompt": "a", "continuation": ""}"#, 64, "the continuation is empty"),
      (#"{"prompt": "a", "continuation_tokens": []}"#, 64, "the continuation is empty"),
      (#"{"prompt": "a", "continuation_tokens": [1.5]}"#, 64, "`continuation_tokens` must be an array of token ids"),
      (#"{"prompt": "a", "continuation_tokens": 7}"#, 64, "must be an array of token ids"),
      (#"{"prompt": "a", "continuation_tokens": [99999999]}"#, 1, "token 99999999"),
      (#"{"prompt_tokens": [-1], "continuation": "a"}"#, 1, "token -1"),
      (#"{"prompt": "a", "continuation": "<|mask|>", "raw": true}"#, 1, "the mask token"),
      (#"{"prompt": "a", "continuation": 3}"#, 64, "`continuation` is a number"),
      (#"{"prompt": "a", "continuation": "b", "continuation_tokens": [1]}"#, 64, "both `continuation`"),
      (#"{"prompt": "a", "prompt_tokens": [1], "continuation": "b"}"#, 64, "both `prompt`"),
      (#"{"prompt": "", "continuation": "b"}"#, 64, "`prompt` is empty"),
      (#"{"messages": [{"role": "user", "content": "x"}], "raw": true, "continuation": "b"}"#, 64, "without `raw`"),
      (#"{"prompt": "a", "continuation": "\#(String(repeating: "word ", count: 3000))"}"#, 1, "positions"),
      ("[1]", 64, "an array, not an object"),
    ] as [(String, Int32, String)])
  func badLines(line: String, code: Int32, complaint: String) throws {
    try withTemporaryDirectory { directory in
      try write([#"{"prompt": "fine", "continuation": "yes"}"#, line], to: directory + "/pairs.jsonl")
      let result = try ingot(["score", pico, "pairs.jsonl", "-o", "scores.jsonl"], in: directory)
      #expect(result.code == code && result.err.contains(complaint), "\(result)")
      #expect(result.err.contains("`pairs.jsonl`, line 2"), "\(result)")
      #expect(listing(of: directory) == ["pairs.jsonl"])
    }
  }

  @Test func usage() throws {
    try withTemporaryDirectory { directory in
      try write([#"{"prompt": "a", "continuation": "b"}"#], to: directory + "/p")
      for more in [
        ["--draws", "0"], ["--batch-size", "0"], ["--raw", "--system", "x"], ["--raw", "--thinking", "on"],
        ["--threads", "0"],
      ] {
        #expect(try ingot(["score", pico, "p", "-o", "s"] + more, in: directory).code == 64, "\(more)")
      }
      #expect(try ingot(["score", pico, "p"], in: directory).code == 64)
      let onto = try ingot(["score", pico, "p", "-o", "p", "--force"], in: directory)
      #expect(onto.code == 1 && onto.err.contains("to be read"), "\(onto)")
      try write([], to: directory + "/none")
      let none = try ingot(["score", pico, "none", "-o", "s"], in: directory)
      #expect(none.code == 1 && none.err.contains("no lines"), "\(none)")
      let small = try ingot(["score", pico, "p", "-o", "s", "--max-memory", "64KiB"], in: directory)
      #expect(small.code == 5 && small.err.contains("`p`, line 1"), "\(small)")
      // States are made at once, and their number is asked for.
      try write(
        [#"{"prompt": "a", "continuation": "\#(String(repeating: "b ", count: 40))"}"#], to: directory + "/long")
      let many = ["score", pico, "long", "-o", "s", "--max-memory", "8MiB", "--draws"]
      #expect(try ingot(many + ["65536"], in: directory).code == 5)
      #expect(!listing(of: directory).contains { $0.hasPrefix("s") })
    }
  }

  @Test func aRunThatWasKilledIsResumed() throws {
    try withTemporaryDirectory { directory in
      let lines = (0..<6).flatMap { _ in Self.pairs }
      let expected = try score(lines, ["--batch-size", "2"], in: directory)
      unsafe _ = unlink(directory + "/scores.jsonl")
      let arguments = ["score", pico, "pairs.jsonl", "-o", "scores.jsonl"]
      let partial = directory + "/scores.jsonl.partial"
      let command = try Command(arguments + ["--batch-size", "1", "--threads", "1"], in: directory)
      for _ in 0..<50_000 where ((try? contents(of: partial)) ?? []).count < 1500 { usleep(200) }
      command.signal(SIGKILL)
      #expect(try command.wait().code == 128 + SIGKILL)
      let kept = try contents(of: partial)
      try TestSupport.write(kept + Array(#"{"line": 64, "bo"#.utf8), to: partial)
      let other = try ingot(arguments + ["--draws", "5"], in: directory)
      #expect(other.code == 64 && other.err.contains("`draws` differs"), "\(other)")
      // What answers leave is no batch of scores.
      let answers = try ingot(["run", pico, "--batch", "pairs.jsonl", "-o", "scores.jsonl"], in: directory)
      #expect(answers.code == 1 && answers.err.contains("not a batch file"), "\(answers)")
      let rest = try ingot(arguments, in: directory)
      #expect(rest.code == 0 && rest.err.contains("scores are there already"), "\(rest)")
      #expect(try contents(of: directory + "/scores.jsonl") == expected)
    }
  }
}
