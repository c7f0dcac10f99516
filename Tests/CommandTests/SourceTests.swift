import Glibc
import TestSupport
import Testing

/// Sources that are not what they should be, or that change while they are read.
@Suite struct SourceTests {
  private let pointer = Array("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 17209530\n".utf8)

  @Test(
    "a tokenizer that cannot be read is refused before any work",
    arguments: [
      ("tokenizer.json", "pointer", "Git LFS pointer"), ("tokenizer.json", "cut", "tokenizer.json"),
      ("tokenizer.json", "dangling", "a link that leads nowhere"), ("tokenizer.json", "empty", "is empty"),
      ("tokenizer_config.json", "pointer", "git lfs pull"), ("tokenizer_config.json", "cut", "tokenizer_config.json"),
      ("generation_config.json", "dangling", "a link that leads nowhere"),
    ])
  func tokenizer(name: String, state: String, words: String) throws {
    try withTemporaryDirectory { directory in
      try linkPico(to: directory + "/model", without: name)
      let path = "\(directory)/model/\(name)"
      switch state {
      case "pointer": try write(pointer, to: path)
      case "cut": try write(Array(try contents(of: "\(pico)/\(name)").dropLast(20)), to: path)
      case "empty": try write([], to: path)
      default: unsafe #expect(symlink("../blobs/absent", path) == 0)
      }
      for end in [["-o", "out.ingot"], ["--dry-run"]] {
        let result = try ingot(["quantize", "model"] + end, in: directory)
        #expect(result.code == 1 && result.err.contains(words) && result.err.contains(name), "\(result)")
        #expect(result.out.isEmpty && listing(of: directory) == ["model"])
      }
    }
  }

  @Test(
    "what stands beside the tokenizer is refused by every command that would need it",
    arguments: [
      ("special_tokens_map.json", "{", "special_tokens_map.json"), ("special_tokens_map.json", "[]", "an object"),
      ("special_tokens_map.json", #"{"eos_token": 7}"#, "eos_token"), ("added_tokens.json", "", "is empty"),
      ("chat_template.jinja", "", "is empty"), ("tokenizer_config.json", "", "is empty"),
    ])
  func besideTheTokenizer(name: String, text: String, words: String) throws {
    try withTemporaryDirectory { directory in
      try linkPico(to: directory + "/model", without: name)
      try write(Array(text.utf8), to: "\(directory)/model/\(name)")
      for command in [
        ["quantize", "model", "-o", "out.ingot"], ["run", "model", "-p", "x"],
        ["verify", "model", "-r", pico, "--level", "trajectories"],
      ] {
        let result = try ingot(command, in: directory)
        #expect(result.code == 1 && result.err.contains(words) && result.err.contains(name), "\(command): \(result)")
        #expect(result.out.isEmpty && listing(of: directory) == ["model"])
      }
    }
  }

  @Test func aCheckpointWithoutATokenizerIsPackedAndThatIsSaid() throws {
    try withTemporaryDirectory { directory in
      try linkPico(to: directory + "/model", without: "tokenizer.json")
      let result = try ingot(["quantize", "model", "-o", "out.ingot", "--json"], in: directory)
      #expect(result.code == 0 && result.err.contains("note: the checkpoint has no tokenizer.json"), "\(result)")
      #expect(result.out.contains("no tokenizer.json"))
    }
  }

  @Test("pointers of Git LFS are named wherever they lie") func pointers() throws {
    try withTemporaryDirectory { directory in
      try linkPico(to: directory + "/model", without: "model-00001-of-00003.safetensors")
      try write(pointer, to: directory + "/model/model-00001-of-00003.safetensors")
      for name in ["p.ingot", "recipe", "data"] { try write(pointer, to: "\(directory)/\(name)") }
      let shard = "model-00001-of-00003.safetensors"
      let commands: [([String], String)] = [
        (["quantize", "model", "-o", "x"], shard), (["inspect", "model"], shard), (["run", "model", "-p", "x"], shard),
        (["inspect", "p.ingot"], "p.ingot"), (["run", "p.ingot", "-p", "x"], "p.ingot"),
        (["verify", "p.ingot", "-r", "model"], shard), (["verify", "p.ingot", "-r", pico], "p.ingot"),
        (["quantize", pico, "-o", "x", "--recipe", "recipe"], "recipe"),
        (["verify", pico, "-r", pico, "--prompts", "data"], "data"),
        (["verify", pico, "-r", pico, "--text", "data"], "data"), (["run", pico, "--tokens", "data"], "data"),
      ]
      for (command, name) in commands {
        let result = try ingot(command, in: directory)
        #expect(result.code != 0 && result.err.contains("Git LFS pointer") && result.err.contains(name), "\(result)")
        #expect(result.err.contains("git lfs pull") && result.out.isEmpty, "\(result)")
      }
    }
  }

  // MARK: Files that change while they are read

  /// Large enough that a scalar run takes a while.
  private var large: TinyCheckpoint {
    var tiny = TinyCheckpoint()
    (tiny.hidden, tiny.width, tiny.denseWidth, tiny.experts) = (256, 256, 64, 24)
    return tiny
  }

  @Test("a shard that is written to while it is read", arguments: ["quantize", "diff", "check"])
  func changing(command: String) throws {
    try withCheckpoint(large) { directory in
      let arguments =
        switch command {
        case "quantize":
          ["quantize", "model", "-o", "out.ingot", "--threads", "1", "--experts", "int8-g32", "--compress", "zstd"]
        case "diff": ["inspect", "model", "--diff", "model", "--threads", "1"]
        default: ["inspect", "model", "--check", "--threads", "1"]
        }
      // Over and over the first byte is written as it is. A run that ends between two such writes has seen none of them.
      try write([try contents(of: directory + "/model/model.safetensors")[0]], to: directory + "/byte")
      let writing = "dd if=byte of=model/model.safetensors bs=1 count=1 conv=notrunc"
      func run() throws -> Command.Result {
        try ingot(
          arguments, in: directory, before: "{ (while kill -0 $$; do \(writing); done) >/dev/null 2>&1 & }",
          environment: ["INGOT_KERNELS": "scalar"])
      }
      var result = try run()
      for _ in 0..<20 where command != "quantize" && result.code == 0 { result = try run() }
      #expect(result.code == 1 && result.err.contains("it was changed while it was being read"), "\(result)")
      #expect(result.err.contains("model.safetensors") && result.out.isEmpty, "\(result)")
      #expect(listing(of: directory) == ["byte", "model"])
    }
  }
}
