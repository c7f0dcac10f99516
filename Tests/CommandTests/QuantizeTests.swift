import Glibc
import JSON
import TestSupport
import Testing

/// Runs `ingot` in a directory and waits.
func ingot(
  _ arguments: [String], in directory: String, before: String = ":", redirection: String = "",
  environment: [String: String] = [:]
) throws -> Command.Result {
  try Command(arguments, in: directory, before: before, redirection: redirection, environment: environment).wait()
}

/// Runs `body` with a directory that holds the checkpoint `model`.
func withCheckpoint(_ tiny: TinyCheckpoint = TinyCheckpoint(), _ body: (String) throws -> Void) throws {
  try withTemporaryDirectory { directory in
    try makeDirectory(directory + "/model")
    try tiny.write(to: directory + "/model")
    try body(directory)
  }
}

@Suite struct QuantizeTests {
  private let quantize = ["quantize", "model", "--experts", "int4-g32"]

  @Test func helpAndVersionAreSuccess() throws {
    try withTemporaryDirectory { directory in
      for arguments in [["--help"], ["quantize", "--help"], ["--version"], ["help", "quantize"]] {
        let result = try ingot(arguments, in: directory)
        #expect(result.code == 0 && !result.out.isEmpty && result.err.isEmpty, "\(arguments)")
      }
    }
  }

  @Test func aPackIsWrittenAndNamedOnStdout() throws {
    try withCheckpoint { directory in
      let result = try ingot(quantize + ["-o", "out.ingot"], in: directory)
      #expect(result.code == 0 && result.out == "out.ingot\n")
      #expect(result.err.contains("int4-g32") && !result.err.contains("\u{1B}"), "no colour where no terminal is")
      #expect(listing(of: directory) == ["model", "out.ingot"])
    }
  }

  @Test("a preset is what its options say, and options that are given win over it")
  func presets() throws {
    var tiny = TinyCheckpoint()
    (tiny.width, tiny.denseWidth) = (64, 64)
    try withCheckpoint(tiny) { directory in
      let cases: [(preset: [String], options: [String])] = [
        (["--preset", "run"], ["--experts", "int4-g64", "--rest", "int8-g64"]),
        (["--preset", "serve"], ["--experts", "int4-g32", "--rest", "keep"]),
        (["--preset", "archive"], ["--experts", "int8-g64", "--compress", "zstd"]),
        (
          ["--preset", "archive", "--compress", "none", "--experts", "int4-g32s8"],
          ["--experts", "int4-g32s8"]
        ),
      ]
      for (preset, options) in cases {
        let first = try ingot(["quantize", "model", "-q", "-f", "-o", "a.ingot"] + preset, in: directory)
        let second = try ingot(["quantize", "model", "-q", "-f", "-o", "b.ingot"] + options, in: directory)
        #expect(first.code == 0 && second.code == 0, "\(first.err)\(second.err)")
        #expect(try contents(of: directory + "/a.ingot") == contents(of: directory + "/b.ingot"), "\(preset)")
      }
      try write(Array("{}".utf8), to: directory + "/r.json")
      let both = try ingot(
        ["quantize", "model", "-o", "c.ingot", "--preset", "run", "--recipe", "r.json"], in: directory)
      #expect(both.code == 64 && both.err.contains("--recipe"))
    }
  }

  @Test func quietSaysNothing() throws {
    try withCheckpoint { directory in
      let result = try ingot(quantize + ["-o", "out.ingot", "--quiet"], in: directory)
      #expect(result.code == 0 && result.err.isEmpty)
    }
  }

  @Test func jsonIsOneObjectAndTrue() throws {
    try withCheckpoint { directory in
      let result = try ingot(quantize + ["-o", "out.ingot", "--json", "--compress", "zstd"], in: directory)
      let object = try #require(try JSONParser.parse(result.out).object)
      let bytes = PackBytes(try contents(of: directory + "/out.ingot"))
      #expect(object["schema"] == "ingot.quantize/1" && object["dry_run"] == false)
      #expect(object["output_bytes"]?.int == bytes.bytes.count)
      let hash = String(bytes.integer(at: 248, as: UInt64.self), radix: 16)
      #expect(object["root_hash"]?.string?.hasSuffix(hash) == true)
      #expect(object["tensors_quantized"] == 12 && object["compress"] == "zstd")
    }
  }

  @Test("a dry run writes nothing and is exact", arguments: ["none", "zstd"])
  func dryRun(compress: String) throws {
    try withCheckpoint { directory in
      let arguments = quantize + ["--json", "--compress", compress]
      let dry = try ingot(arguments + ["--dry-run"], in: directory)
      #expect(dry.code == 0 && listing(of: directory) == ["model"])
      let real = try ingot(arguments + ["-o", "out.ingot"], in: directory)
      let (a, b) = (try JSONParser.parse(dry.out).object, try JSONParser.parse(real.out).object)
      #expect(a?["output_bytes"] == b?["output_bytes"] && a?["dry_run"] == true && a?["root_hash"] == .null)
    }
  }

  @Test func anExistingFileIsKeptUnlessForced() throws {
    try withCheckpoint { directory in
      let path = directory + "/out.ingot"
      try write([1, 2, 3], to: path)
      let kept = try ingot(quantize + ["-o", "out.ingot"], in: directory)
      #expect(kept.code == 1 && kept.err.contains("exists already") && kept.err.contains("--force"))
      #expect(try contents(of: path) == [1, 2, 3])
      let forced = try ingot(quantize + ["-o", "out.ingot", "--force"], in: directory)
      #expect(forced.code == 0)
      #expect(try contents(of: path).count > 10_000)
    }
  }

  @Test("what is read is never replaced", arguments: ["model.safetensors", "config.json"])
  func outputIsASource(name: String) throws {
    try withCheckpoint { directory in
      let path = directory + "/model/" + name
      let before = try contents(of: path)
      unsafe #expect(symlink(path, directory + "/link") == 0)
      for output in ["model/" + name, "link"] {
        let result = try ingot(quantize + ["-o", output, "--force"], in: directory)
        #expect(result.code == 1 && result.err.contains("to be read"), "\(result)")
      }
      #expect(try contents(of: path) == before)
    }
  }

  @Test("an output that is no file's name is refused at once", arguments: ["model", "model/", ""])
  func outputIsNoFile(output: String) throws {
    try withCheckpoint { directory in
      let result = try ingot(quantize + ["-o", output, "--force"], in: directory)
      #expect(result.code == 1 && listing(of: directory) == ["model"], "\(result)")
      #expect(output.isEmpty || result.err.contains("is a directory"))
    }
  }

  @Test func aRecipeThatIsNoneIsNamedWithTheByte() throws {
    try withCheckpoint { directory in
      for (text, detail) in [(#"{"experts":3}"#, "`bad.json`, byte 1"), (#"{"rest":"int5"}"#, "`bad.json`, byte 1")] {
        try write(Array(text.utf8), to: directory + "/bad.json")
        let result = try ingot(quantize + ["--dry-run", "--recipe", "bad.json"], in: directory)
        #expect(result.code == 64 && result.err.contains(detail), "\(result)")
      }
      let rule = try ingot(quantize + ["--dry-run", "--override", "lm_head"], in: directory)
      #expect(rule.err == "error: `lm_head` is not of the form REGEX=ENCODING\n")
    }
  }

  @Test func textOfStrangersDoesNotSteerTheTerminal() throws {
    try withCheckpoint { directory in
      let path = directory + "/model/config.json"
      let text = String(decoding: try contents(of: path), as: UTF8.self)
      try write(Array(text.replacing("llada2_moe", with: #"\u001b[2J"#).utf8), to: path)
      let result = try ingot(quantize + ["--dry-run"], in: directory)
      #expect(result.code == 1 && result.err.contains(#"\u{1b}[2J"#) && !result.err.contains("\u{1B}"), "\(result)")
    }
  }

  @Test func explainSaysWhichRuleDecides() throws {
    try withCheckpoint { directory in
      let name = "model.layers.1.mlp.experts.0.up_proj.weight"
      let arguments = quantize + ["--override", #"experts\.0\.=int8-g64"#, "--override", "0.down=keep"]
      let text = try ingot(arguments + ["--explain", name], in: directory)
      #expect(text.code == 0 && text.out.contains(#"override 1 `experts\.0\.`"#) && text.out.contains("int8-g64"))
      let json = try ingot(arguments + ["--explain", name, "--json"], in: directory)
      let object = try #require(try JSONParser.parse(json.out).object)
      #expect(object["encoding"] == "int8-g64" && object["source"] == "bf16" && object["shape"] == [32, 64])
      let unknown = try ingot(arguments + ["--explain", "nothing"], in: directory)
      #expect(unknown.code == 1 && unknown.err.contains("nothing") && unknown.out.isEmpty)
    }
  }

  @Test(
    "wrong usage exits with 64",
    arguments: [
      [], ["-o", "out.ingot", "--experts", "int5-g64"], ["-o", "out.ingot", "--override", "(=keep"],
      ["-o", "out.ingot", "--override", "no_such_tensor=keep"], ["-o", "out.ingot", "--threads", "0"],
      ["-o", "out.ingot", "--max-memory", "much"], ["-o", "out.ingot", "--solver", "best"], ["--nonsense"],
      ["-o", "out.ingot", "--experts", "int4-g64"],
    ])
  func usage(arguments: [String]) throws {
    try withCheckpoint { directory in
      let result = try ingot(["quantize", "model"] + arguments, in: directory)
      #expect(result.code == 64 && !result.err.isEmpty && result.out.isEmpty, "\(result)")
      #expect(listing(of: directory) == ["model"])
    }
  }

  @Test func kernelsThatDoNotExistAreNamed() throws {
    try withCheckpoint { directory in
      let result = try ingot(quantize + ["--dry-run"], in: directory, environment: ["INGOT_KERNELS": "mmx"])
      #expect(result.code == 64 && result.err.contains("mmx") && result.err.contains("scalar"))
      let scalar = try ingot(
        quantize + ["--dry-run", "--json"], in: directory, environment: ["INGOT_KERNELS": "scalar"])
      #expect(try JSONParser.parse(scalar.out).object?["kernels"] == "scalar")
    }
  }

  @Test func aCheckpointThatIsNotThereIsOneSentence() throws {
    try withTemporaryDirectory { directory in
      let result = try ingot(["quantize", "nowhere", "-o", "out.ingot"], in: directory)
      #expect(result.code == 1 && result.err.hasPrefix("error: ") && result.err.contains("nowhere"))
    }
  }

  @Test func aDamagedCheckpointExitsWith4() throws {
    try withCheckpoint { directory in
      let path = directory + "/model/model.safetensors"
      try write(Array(try contents(of: path).dropLast(100)), to: path)
      let result = try ingot(quantize + ["-o", "out.ingot"], in: directory)
      #expect(result.code == 4 && listing(of: directory) == ["model"], "\(result)")
    }
  }

  @Test func tooLittleMemoryExitsWith5() throws {
    try withCheckpoint { directory in
      let result = try ingot(quantize + ["-o", "out.ingot", "--max-memory", "1MiB"], in: directory)
      #expect(result.code == 5 && result.err.contains("--max-memory") && listing(of: directory) == ["model"])
    }
  }

  @Test func threadsThatMemoryHasNoRoomForAreTold() throws {
    try withCheckpoint { directory in
      let small = try ingot(
        quantize + ["--dry-run", "--threads", "64", "--max-memory", "40MiB"], in: directory)
      #expect(small.code == 0 && small.err.contains(" of 64 threads, as --max-memory has no room for more"), "\(small)")
      for (threads, words) in [("1", "1 thread, "), ("2", "2 threads, ")] {
        let roomy = try ingot(quantize + ["--dry-run", "--threads", threads], in: directory)
        #expect(roomy.code == 0 && roomy.err.contains(words), "\(roomy)")
      }
    }
  }
}
