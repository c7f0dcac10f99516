import Glibc
import Tensors
import TestSupport
import Testing

/// What a newcomer sees first.
@Suite struct ScreenTests {
  @Test("topics of help", arguments: ["exit-codes", "encodings", "recipes", "gates"])
  func topics(topic: String) throws {
    try withTemporaryDirectory { directory in
      let result = try ingot(["help", topic], in: directory)
      #expect(result.code == 0 && result.err.isEmpty, "\(result)")
      #expect(result.out.split(separator: "\n").allSatisfy { $0.count <= 140 }, "\(result.out)")
      #expect(try ingot(["--help"], in: directory).out.contains(topic))
      switch topic {
      case "exit-codes":
        for code in ["0", "1", "3", "4", "5", "64", "75", "129", "130", "143"] {
          #expect(result.out.split(separator: "\n").contains { $0.split(separator: " ").first == code[...] }, "\(code)")
        }
      case "encodings":
        for encoding in Encoding.grouped { #expect(result.out.contains("\(encoding) ")) }
        #expect(result.out.contains("4.25") && result.out.contains("Q4_0"))
      case "recipes":
        // What it shows as a recipe is one.
        let example = result.out.drop { $0 != "{" }
        let end = try #require(example.firstRange(of: "\n  }\n"))
        try write(Array(example[..<end.upperBound].utf8), to: directory + "/recipe.json")
        let packed = try ingot(["quantize", pico, "--recipe", "recipe.json", "--dry-run"], in: directory)
        #expect(packed.code == 0, "\(packed)")
      default: #expect(result.out.contains("masked.kl.mean > 0.05") && result.out.contains(">="))
      }
    }
  }

  @Test func helpOnNothingOfThisNameListsWhatThereIs() throws {
    let result = try ingot("help", "encoding")
    #expect(result.status == 64 && result.stderr.contains("encodings") && result.stderr.contains("quantize"))
    #expect(try ingot("help", "run").status == 0 && ingot("help").status == 0)
  }

  @Test("quantize ends with what drift to expect, as the README has it, and how to measure it")
  func expectedDrift() throws {
    let root = pico.split(separator: "/", omittingEmptySubsequences: false).dropLast(3).joined(separator: "/")
    let readme = String(decoding: try contents(of: root + "/README.md"), as: UTF8.self)
    try withTemporaryDirectory { directory in
      let states = ["--prompts", pico + "/eval.jsonl", "--tokens", "2k"]
      let cases: [(options: [String], row: String?)] = [
        ([], "int4-g64, `--calibration`"), (states, "int4-g64, `--calibration`"),
        (states + ["--experts", "int4-g32s8"], "int4-g32s8, `--calibration`"),
        (states + ["--target", "4.25bpw"], "`--target 4.25bpw`"), (["--experts", "int8-g64"], nil),
        (["--solver", "absmax"], nil), (states + ["--target", "5bpw"], nil),
      ]
      for (options, row) in cases {
        let result = try ingot(["quantize", pico, "-o", "p.ingot", "--force"] + options, in: directory)
        let lines = result.err.split(separator: "\n")
        #expect(result.code == 0 && lines.last == "next: ingot verify p.ingot --reference \(pico)", "\(result)")
        guard let row else {
          #expect(!result.err.contains("drift to expect"), "\(options)")
          continue
        }
        let line = try #require(readme.split(separator: "\n").first { $0.contains(row) && $0.hasPrefix("|") })
        let cell = line.split(separator: "|")[2].filter { $0 != "*" }
        let share = cell.drop { $0 == " " }.prefix { $0 != "]" } + "]"
        #expect(result.err.contains(share), "\(options): \(share) in \(result.err)")
      }
    }
  }

  @Test func attributionIsOnTheScreen() throws {
    try withTemporaryDirectory { directory in
      #expect(try ingot(["quantize", pico, "-o", "p.ingot", "-q"], in: directory).code == 0)
      let result = try ingot(
        [
          "verify", "p.ingot", "--reference", pico, "--prompts", pico + "/eval.jsonl", "--limit", "6", "--level",
          "masked",
          "--no-floor", "--attribute", "projections", "-q",
        ], in: directory)
      #expect(result.code == 0 && result.out.contains("where it comes from"), "\(result)")
      #expect(result.out.contains("experts.down") && result.out.contains("all parts, each alone"))
    }
  }

  @Test(
    "errors that a newcomer meets first say what to do next",
    arguments: [
      (["run"], "ingot run --help"), (["quantize"], "ingot quantize --help"), (["run", "nowhere"], "ingot quantize"),
      (["run", "."], "config.json"), (["inspect", "."], "config.json"),
      (["quantize", ".", "-o", "o.ingot"], "config.json"),
      (["run", "inclusionAI/LLaDA2.0-mini", "-p", "x"], "hf download inclusionAI/LLaDA2.0-mini"),
      (["quantize", "inclusionAI/LLaDA2.0-mini", "-o", "o.ingot"], "hf download inclusionAI/LLaDA2.0-mini"),
      (["quantize", "one/model.safetensors", "-o", "o.ingot"], "directory"),
      (["run", "one/model.safetensors", "-p", "x"], "directory"), (["run", "without", "-p", "x"], "tokenizer.json"),
      (["verify", "p.ingot"], "--reference"), (["export", "p.ingot"], "--to"),
      (["quantize", "without/config.json", "-o", "o.ingot"], "directory"),
      (["run", "without/config.json", "-p", "x"], "directory"), (["qantize", pico], "commands are quantize"),
      (["version"], "`ingot help` tells"), (["run", "part", "-p", "x"], "fetch `config.json`"),
      (["score", pico], "ingot score --help"),
    ] as [([String], String)])
  func firstErrors(arguments: [String], advice: String) throws {
    try withTemporaryDirectory { directory in
      try makeDirectory(directory + "/one")
      let name = try #require(listing(of: pico).first { $0.hasSuffix("00000-of-00003.safetensors") })
      #expect(unsafe symlink("\(pico)/\(name)", directory + "/one/model.safetensors") == 0)
      try linkPico(to: directory + "/without", without: "tokenizer.json")
      try linkPico(to: directory + "/part", without: "config.json")
      let result = try ingot(
        arguments, in: directory, environment: ["HF_HOME": directory + "/hf", "HF_HUB_CACHE": directory + "/hf/hub"])
      #expect(result.code != 0 && result.out.isEmpty, "\(result)")
      #expect(result.err.contains(advice), "\(result)")
    }
  }
}
