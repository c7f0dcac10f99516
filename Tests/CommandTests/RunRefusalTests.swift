import Glibc
import TestSupport
import Testing

/// What `ingot run` refuses before any work: what, where, how to mend it, and the exit code.
@Suite struct RunRefusalTests {
  private func refuse(
    _ arguments: [String], _ code: Int32, _ words: [String], in directory: String, redirection: String = "</dev/null"
  ) throws {
    let result = try ingot(["run"] + arguments + ["--trace", "steps.jsonl"], in: directory, redirection: redirection)
    #expect(result.code == code && result.out.isEmpty, "\(arguments): \(result)")
    for word in words { #expect(result.err.contains(word), "\(arguments): \(result.err)") }
    #expect(!exists(directory + "/steps.jsonl"), "nothing was begun")
  }

  @Test(
    "options with which nothing could be done",
    arguments: [
      (["--steps", "0"], "steps is 0"), (["--block-length", "0"], "block length is 0"),
      (["--gen-length", "0"], "generation length is 0"), (["--threshold", "1.5"], "threshold is 1.5"),
      (["--threshold", "nan"], "threshold is nan"), (["--temperature", "-1"], "--temperature"),
      (["--temperature", "inf"], "temperature is inf"), (["--top-p", "0"], "top-p is 0"),
      (["--top-k", "0"], "top-k is 0"), (["--decoder", "2.3"], "2.3"), (["--decoder", "2.2"], "delete_token_id"),
      (["--threads", "0"], "--threads"), (["--max-memory", "much"], "--max-memory"), (["--chat"], "--chat"),
      (["--tokens", "x"], "--tokens"), (["--raw", "--system", "x"], "--system"), (["--seed", "-1"], "--seed"),
    ] as [([String], String)])
  func options(arguments: [String], words: String) throws {
    try withTemporaryDirectory { try refuse([pico, "-p", "x"] + arguments, 64, [words], in: $0) }
  }

  @Test func promptsThatCannotBeAnswered() throws {
    try withTemporaryDirectory { directory in
      try refuse([pico, "-p", ""], 64, ["the prompt is empty", "in -p"], in: directory)
      try refuse([pico], 64, ["the prompt is empty", "in stdin"], in: directory)
      try refuse([pico, "--raw"], 64, ["the prompt is empty"], in: directory)
      try refuse([pico, "--raw", "-p", "a <|mask|>"], 1, ["mask token"], in: directory)
      let long = String(repeating: "word ", count: 2000)
      try refuse([pico, "-p", long], 1, ["4,096", "shorten"], in: directory)
      try refuse([pico, "-p", "x", "--gen-length", "5000"], 1, ["4,096", "--gen-length 40"], in: directory)
      try refuse([pico, "--tokens", "none"], 1, ["none", "No such file"], in: directory)

      try write([0x68, 0x69, 0xFF, 0x0A], to: directory + "/latin")
      try refuse([pico], 1, ["not valid UTF-8", "stdin, byte 2"], in: directory, redirection: "<latin")
      // Through the shell, because arguments of tests are text.
      let option = try ingot(
        ["run", pico], in: directory, redirection: #"-p "$(printf 'hi\377')""#)
      #expect(option.code == 1 && option.err.contains("not valid UTF-8") && option.err.contains("byte 2"), "\(option)")
      let system = try ingot(
        ["run", pico, "--chat"], in: directory, redirection: #"--system "$(printf 'hi\377')" </dev/null"#)
      #expect(system.code == 1 && system.err.contains("not valid UTF-8"), "\(system)")
    }
  }

  @Test(
    "files of ids that are none",
    arguments: [
      ("1 2 640", 1, "token 640, number 3"), ("-1", 1, "token -1"), ("1 2 x3", 1, "byte 4"), ("1, 2", 1, "`1,`"),
      ("[1, 2", 1, "byte"), ("[1, \"2\"]", 1, "a string"), ("[1.5]", 1, "a number"),
      (#" [1, [2, "],"], 3]"#, 1, "byte 5"), (#"[1,2 , "\"," ]"#, 1, "byte 7"), ("", 64, "empty"),
      ("[]", 64, "empty"),
      ("99999999999999999999", 1, "no integer"), ("636", 1, "mask token"),
    ] as [(String, Int32, String)])
  func tokens(text: String, code: Int32, words: String) throws {
    try withTemporaryDirectory { directory in
      try write(Array(text.utf8), to: directory + "/ids")
      try refuse([pico, "--tokens", "ids"], code, [words, "in `ids`"], in: directory)
    }
  }

  @Test func modelsThatAreNone() throws {
    try withTemporaryDirectory { directory in
      try refuse(["nowhere", "-p", "x"], 1, ["there is no `nowhere`", "hint: name a pack"], in: directory)
      try refuse([pico + "/config.json", "-p", "x"], 1, ["no ingot pack"], in: directory)
      try refuse([pico + "/model-00000-of-00003.safetensors", "-p", "x"], 64, ["is no model"], in: directory)

      func refuseChanged(
        _ name: String, file: String = "config.json", without left: String? = nil, _ words: [String],
        _ change: (String) -> String = { $0 }
      ) throws {
        try linkPico(to: "\(directory)/\(name)", without: left, file: file, change: change)
        try refuse([name, "-p", "x"], 1, words + [name], in: directory)
      }
      try refuseChanged("type", ["model_type", "gpt2"]) { $0.replacing("llada2_moe\"", with: "gpt2\"") }
      try refuseChanged("shapes", ["has shape", "config.json asks for"]) {
        $0.replacing(#""hidden_size": 128"#, with: #""hidden_size": 64"#)
      }
      try refuseChanged("mask", ["mask_token_id 5"]) {
        $0.replacing("{", with: #"{"mask_token_id":5,"#, maxReplacements: 1)
      }
      try refuseChanged("words", without: "tokenizer.json", ["no tokenizer.json"])
      try refuseChanged("broken", file: "tokenizer.json", ["not valid JSON", "tokenizer.json", "byte"]) {
        String($0.dropLast(9))
      }
      try refuseChanged("autoregressive", file: "tokenizer_config.json", ["mask_token", "not in the vocabulary"]) {
        $0.replacing("<|mask|>", with: "<|none|>")
      }
    }
  }

  @Test func aTokenizerWithoutAMask() throws {
    try withTemporaryDirectory { directory in
      try linkPico(to: directory + "/model", without: "tokenizer_config.json", file: "tokenizer.json") {
        $0.replacing("<|mask|>", with: "<|nothing|>")
      }
      try refuse(["model", "-p", "x"], 1, ["the tokenizer has no mask token", "masked diffusion"], in: directory)
    }
  }

  @Test func aPackWhoseConfigurationWasReplacedIsRefused() throws {
    try withTemporaryDirectory { directory in
      try linkPico(to: directory + "/model")
      try refuse(["model/tokenizer.json", "-p", "x"], 1, ["no ingot pack"], in: directory)
      let packed = try ingot(["quantize", "model", "-o", "a.ingot", "-q", "--experts", "keep"], in: directory)
      #expect(packed.code == 0)
      try write(Array(try contents(of: directory + "/a.ingot").dropLast(50)), to: directory + "/a.ingot")
      try refuse(["a.ingot", "-p", "x"], 4, ["incomplete"], in: directory)
    }
  }
}
