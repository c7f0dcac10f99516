import TestSupport
import Testing

/// What is refused of a prompt is refused of all that a model is shown, and before any work.
@Suite struct TokenCheckTests {
  /// Tokens were added to the tokenizer, and the embeddings were not enlarged.
  private func withAddedTokens(_ body: (String) throws -> Void) throws {
    try withTemporaryDirectory { directory in
      let added = ["<think>", "</think>", "<|tool|>"].enumerated().map { index, content in
        #"{"id":\#(640 + index),"content":"\#(content)","single_word":false,"lstrip":false,"rstrip":false,"#
          + #""normalized":\#(index < 2),"special":\#(index == 2)}"#
      }
      try linkPico(to: directory + "/model", file: "tokenizer.json") { text in
        text.replacing(#""added_tokens": ["#, with: #""added_tokens": ["# + added.joined(separator: ",") + ",")
      }
      for (name, lines) in [
        ("prompt.jsonl", #"{"prompt":"hi"}"# + "\n" + #"{"prompt":"a <think> b"}"#),
        (
          "answer.jsonl",
          #"{"prompt":"hi","answer":"fine"}"# + "\n" + #"{"prompt":"hi","answer":"<think>hm</think> yes"}"#
        ),
        ("chosen.jsonl", #"{"prompt":"hi","chosen":"<think>no","rejected":"yes"}"#),
        ("rejected.jsonl", #"{"prompt":"hi","chosen":"yes","rejected":"<think>no"}"#),
        ("text.txt", "one\ntwo\nhello <think> there my friend </think> and so on\n"),
      ] { try write(Array(lines.utf8), to: "\(directory)/\(name)") }
      try body(directory)
    }
  }

  static let data: [([String], String)] = [
    (["--prompts", "prompt.jsonl"], "`prompt.jsonl`, line 2, `prompt`"),
    (["--prompts", "answer.jsonl"], "`answer.jsonl`, line 2, `answer`"),
    (["--prompts", "chosen.jsonl"], "`chosen.jsonl`, line 1, `chosen`"),
    (["--prompts", "rejected.jsonl"], "`rejected.jsonl`, line 1, `rejected`"),
    (["--text", "text.txt"], "`text.txt`, line 3"),
  ]

  @Test("a token that the tokenizer has and the model has not", arguments: data)
  func beyondVocabulary(arguments: [String], place: String) throws {
    try withAddedTokens { directory in
      for command in [["model"], ["model", "--level", "masked"], ["--record", "x.record"]] {
        let result = try ingot(["verify"] + command + ["-r", "model"] + arguments, in: directory)
        #expect(result.code == 1 && result.out.isEmpty && !result.wasKilled, "\(result)")
        for words in ["token 640, `<think>`", "the vocabulary of 640", place, "embeddings"] {
          #expect(result.err.contains(words), "\(words): \(result.err)")
        }
      }
      #expect(!exists(directory + "/x.record"))
    }
  }

  @Test func runTellsTheTokenToo() throws {
    try withAddedTokens { directory in
      let result = try ingot(["run", "model", "-p", "a <think> b"], in: directory)
      #expect(result.code == 1 && result.err.contains("token 640, `<think>`"), "\(result)")
    }
  }

  @Test func aMaskIsRefusedWhereverItStands() throws {
    try withTemporaryDirectory { directory in
      try linkPico(to: directory + "/model", file: "tokenizer.json") { text in
        // Not special, so that it is found in answers, too.
        let flags = #"", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": "#
        let compact = text.split(separator: "\n").map { $0.drop { $0 == " " } }.joined(separator: " ")
        return compact.replacing("<|mask|>\(flags)true", with: "<|mask|>\(flags)false")
      }
      try write(Array(#"{"prompt":"hi","answer":"a <|mask|>"}"#.utf8), to: directory + "/q.jsonl")
      let result = try ingot(["verify", "model", "-r", "model", "--prompts", "q.jsonl"], in: directory)
      #expect(result.code == 1 && result.err.contains("mask token") && result.err.contains("`answer`"), "\(result)")
    }
  }

  @Test("what is far too long is refused before it is encoded") func length() throws {
    try withTemporaryDirectory { directory in
      let long = String(repeating: "What is the capital of Egypt? ", count: 100_000)
      try write(Array(long.utf8), to: directory + "/long")
      try write(Array(#"{"prompt":"\#(long)"}"#.utf8), to: directory + "/prompt.jsonl")
      try write(Array(#"{"prompt":"hi","answer":"\#(long)"}"#.utf8), to: directory + "/answer.jsonl")
      let commands: [([String], String)] = [
        (["run", pico], "stdin"), (["run", pico, "--raw"], "stdin"),
        (["verify", pico, "-r", pico, "--level", "masked", "--prompts", "prompt.jsonl"], "line 1, `prompt`"),
        (["verify", pico, "-r", pico, "--level", "masked", "--prompts", "answer.jsonl"], "line 1, `answer`"),
      ]
      for (command, place) in commands {
        let result = try ingot(command, in: directory, redirection: "<long")
        #expect(result.code == 1 && result.out.isEmpty, "\(result)")
        #expect(result.err.contains("tokens at least, the model has 4,096 positions") && result.err.contains(place))
      }
    }
  }

  @Test func scoringRefusesABlockLengthThatDecodingRefuses() throws {
    try withTemporaryDirectory { directory in
      let result = try ingot(["verify", pico, "-r", pico, "--block-lengths", "8,5000"], in: directory)
      #expect(result.code == 64 && result.err.contains("block length is 5000"), "\(result)")
    }
  }

  @Test func optionsThatChangeNothingAreTold() throws {
    try withTemporaryDirectory { directory in
      try write(Array("a text".utf8), to: directory + "/t")
      let result = try ingot(
        [
          "verify", pico, "-r", pico, "--limit", "1", "--gen-length", "32", "--level", "trajectories", "--decoder",
          "2.1-speed", "--steps", "3", "--text", "t", "--activations", "int8",
        ], in: directory)
      for words in ["--steps changes nothing", "--text changes nothing", "--activations int8 changed nothing"] {
        #expect(result.err.contains(words), "\(words): \(result)")
      }
    }
  }
}
