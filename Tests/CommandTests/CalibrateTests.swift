import JSON
import TestSupport
import Testing

/// `ingot calibrate`, and what `quantize` and `inspect` do with states.
@Suite struct CalibrateTests {
  /// A directory with questions to calibrate on and others to judge by, and a text.
  private func withData(_ body: (String) throws -> Void) throws {
    try withTemporaryDirectory { directory in
      let lines = String(decoding: try contents(of: pico + "/eval.jsonl"), as: UTF8.self)
        .split(separator: "\n").map(String.init)
      try write(Array(lines[..<150].joined(separator: "\n").utf8), to: directory + "/q.jsonl")
      try write(Array(lines[150...].joined(separator: "\n").utf8), to: directory + "/judge.jsonl")
      try write(
        Array(String(repeating: "The capital of Norway is Oslo. ", count: 200).utf8), to: directory + "/t.txt")
      try body(directory)
    }
  }

  private func run(_ arguments: [String], in directory: String, code: Int32 = 0) throws -> Command.Result {
    let result = try ingot(arguments, in: directory)
    #expect(result.code == code, "\(arguments): \(result)")
    return result
  }

  private func json(_ arguments: [String], in directory: String) throws -> JSONValue {
    try JSONParser.parse(try run(arguments + ["--json", "-q"], in: directory).out)
  }

  private static let data = ["--prompts", "q.jsonl", "--text", "t.txt", "--tokens", "12k"]

  @Test("states are written, shown and used; both steps at once give the same pack")
  func twoSteps() throws {
    try withData { directory in
      let done = try run(["calibrate", pico, "-o", "s"] + Self.data, in: directory)
      #expect(done.out == "s\n" && done.err.contains("n/N") && !done.err.contains("\u{1B}"))
      let report = try json(["inspect", "s"], in: directory)
      let sources = report.object?["document"]?.object?["data"]?.object?["sources"]?.array ?? []
      let rows = sources.compactMap { $0.object?["rows"]?.int }
      #expect(rows.count == 2 && abs(rows[0] - rows[1]) < 1500 && rows[0] + rows[1] >= 12 << 10)
      #expect(report.object?["layers"]?.array?.count == 3)
      #expect(try run(["inspect", "s", "--check"], in: directory).out.contains("masked"))

      for more in [["--experts", "int4-g32s8"], ["--preset", "serve", "--target", "4.6bpw"], ["--target", "4.6bpw"]] {
        let two = ["quantize", pico, "--calibration", "s", "-o", "two.ingot", "--force", "-q"]
        let one = ["quantize", pico, "-o", "one.ingot", "--force", "-q"] + Self.data
        _ = try run(two + more, in: directory)
        _ = try run(one + more, in: directory)
        #expect(try contents(of: directory + "/one.ingot") == contents(of: directory + "/two.ingot"))
        #expect(listing(of: directory).filter { !["s", "q.jsonl", "judge.jsonl", "t.txt"].contains($0) }.count == 2)
        #expect(try run(["inspect", "one.ingot", "--check"], in: directory).code == 0)
      }
      let pack = try json(["inspect", "one.ingot"], in: directory)
      let solutions = (pack.object?["tensors"]?.array ?? []).compactMap { $0.object?["solution"]?.object }
      #expect(solutions.count == 3 * 16 * 3)
      #expect(solutions.allSatisfy { ($0["output_error"]?.double ?? 0) > 0 && $0["outcome"]?.string == "solved" })
      #expect(pack.object?["quant"]?.object?["bpw_experts"]?.double ?? 9 <= 4.6)
      #expect(pack.object?["provenance"]?.object?["target"]?.string == "4.6bpw")
      #expect(try run(["inspect", "one.ingot"], in: directory).out.contains("matrices solved with states"))
    }
  }

  @Test("at the same size, a pack made with states drifts less than one made without")
  func fidelity() throws {
    try withData { directory in
      _ = try run(["calibrate", pico, "-o", "s", "-q", "--prompts", "q.jsonl"], in: directory)
      let common = ["quantize", pico, "-q", "-o"]
      _ = try run(common + ["search.ingot", "--experts", "int4-g64"], in: directory)
      _ = try run(common + ["states.ingot", "--experts", "int4-g64", "--calibration", "s"], in: directory)
      let drift = try ["search", "states"].map { name in
        try json(
          ["verify", "\(name).ingot", "-r", pico, "--prompts", "judge.jsonl", "--level", "masked", "--no-floor"],
          in: directory
        ).object?["masked"]?.object?["kl"]?.object?["p99"]?.double ?? .nan
      }
      #expect(drift[1] < 0.7 * drift[0], "\(drift)")
    }
  }

  @Test("the least size that a refusal names can be asked for")
  func leastSize() throws {
    try withData { directory in
      _ = try run(["calibrate", pico, "-o", "s", "-q"] + Self.data, in: directory)
      for engine in [[], ["--servable", "sglang"]] {
        let pack = ["quantize", pico, "-o", "p.ingot", "--force", "--calibration", "s", "-q"] + engine
        for least in ["1000000B", "1bpw"] {
          let refused = try run(pack + ["--target", least], in: directory, code: 64)
          let size = refused.err.split(separator: "it is ").last.map { $0.prefix { !$0.isWhitespace } } ?? ""
          _ = try run(pack + ["--target", String(size)], in: directory)
        }
      }
    }
  }

  @Test(
    "what is wrong with a recipe or a target is said before states are made",
    arguments: [
      (["--override", "nothing=int4-g64", "--target", "4.3bpw"], "matches no tensor"),
      (["--target", "2bpw"], "cannot be met"),
      (["--target", "100kB"], "it is more than"), (["--drop", "nothing"], "matches no tensor"),
      (["--target", "4.3bpw", "--override", "experts=int4-g64"], "nothing for the target"),
    ])
  func beforeStates(options: [String], words: String) throws {
    try withData { directory in
      // Data that nothing could be made of, which is found out later.
      try write(Array(#"{"prompt": "no answer"}"#.utf8), to: directory + "/unanswered.jsonl")
      let command = ["quantize", pico, "-o", "t.ingot", "--prompts", "unanswered.jsonl", "-q"]
      let plain = try ingot(command, in: directory)
      #expect(plain.code != 0 && !plain.err.contains(words), "\(plain.err)")
      let result = try ingot(command + options, in: directory)
      #expect(result.code == 64 && result.err.contains(words), "\(result.err)")
    }
  }

  @Test("a size is never overshot, and what cannot be met is refused", arguments: ["1.29MB", "1.4MB", "1500000"])
  func target(size: String) throws {
    try withData { directory in
      let command = ["quantize", pico, "-o", "t.ingot", "--prompts", "q.jsonl", "--tokens", "4k"]
      let result = try ingot(command + ["--target", size, "--json", "-q"], in: directory)
      let wanted = size == "1.29MB" ? 1_290_000 : size == "1.4MB" ? 1_400_000 : 1_500_000
      guard result.code == 0 else {
        #expect(result.code == 64 && result.err.contains("cannot be met"), "\(result)")
        return
      }
      let found = try #require(try JSONParser.parse(result.out).object)
      let bytes = try #require(found["output_bytes"]?.int)
      #expect(bytes <= wanted)
      #expect(try contents(of: directory + "/t.ingot").count == bytes)
      let levels = found["target"]?.object?["levels"]?.array ?? []
      let count = levels.reduce(0) { sum, level in
        sum + ["gate", "up", "down"].reduce(0) { $0 + (level.object?[$1]?.int ?? 0) }
      }
      #expect(count == 3 * 16 * 3)
    }
  }

  @Test(
    "what an engine can serve has one encoding for all that the engine reads as one",
    arguments: [("sglang", true, "compressed-tensors"), ("mlx", false, "mlx"), ("llama.cpp", false, "gguf")])
  func servable(engine: String, isByLayer: Bool, format: String) throws {
    try withData { directory in
      _ = try run(["calibrate", pico, "-o", "s", "-q"] + Self.data, in: directory)
      let options = ["--calibration", "s", "--target", "4.8bpw"]
      let made = try json(
        ["quantize", pico, "-o", "p.ingot", "--servable", engine] + options, in: directory)
      #expect(made.object?["target"]?.object?["servable"]?.string == engine)
      let pack = try json(["inspect", "p.ingot"], in: directory)
      #expect(pack.object?["quant"]?.object?["bpw_experts"]?.double ?? 9 <= 4.8)
      var encodings: [String: Set<String>] = [:]
      for tensor in pack.object?["tensors"]?.array ?? [] {
        guard let name = tensor.object?["name"]?.string, name.contains(".experts.") else { continue }
        let parts = name.split(separator: ".")
        encodings["\(parts[2]) \(isByLayer ? "" : parts[parts.count - 2])", default: []]
          .insert(tensor.object?["encoding"]?.string ?? "")
      }
      #expect(encodings.count == (isByLayer ? 3 : 9) && encodings.values.allSatisfy { $0.count == 1 })
      #expect(!encodings.values.contains { $0.contains("int4-g16s8") })
      _ = try run(["export", "p.ingot", "--to", format, "-o", "export"], in: directory)
      // Freedom is worth something.
      let free = try json(["quantize", pico, "-o", "free.ingot"] + options, in: directory)
      let refused = try run(["export", "free.ingot", "--to", format, "-o", "free"], in: directory, code: 1)
      #expect(refused.err.contains("--servable \(engine)"))
      let damage = { (result: JSONValue) in result.object?["target"]?.object?["damage"]?.double ?? 0 }
      #expect(damage(free) > 0 && damage(free) < damage(made))
    }
  }

  @Test("the smallest pack within a drift is found, and verify finds the same drift")
  func divergence() throws {
    try withData { directory in
      _ = try run(["calibrate", pico, "-o", "s", "-q"] + Self.data, in: directory)
      let options = ["--calibration", "s", "--target-kl", "2e-4", "--held-out", "judge.jsonl"]
      let dry = try json(["quantize", pico, "--dry-run"] + options, in: directory)
      let before = Set(listing(of: directory))
      let made = try json(["quantize", pico, "-o", "p.ingot"] + options, in: directory)
      #expect(Set(listing(of: directory)) == before.union(["p.ingot"]))
      let target = made.object?["target"]?.object ?? JSONObject()
      let rounds = (target["rounds"]?.array ?? []).compactMap { $0.object?["kl"]?.double }
      #expect((1...4).contains(rounds.count) && target["held_out"]?.string == "judge.jsonl")
      #expect(dry.object?["output_bytes"]?.int == made.object?["output_bytes"]?.int)
      let kept = rounds.filter { $0 <= 2e-4 }.max()
      let report = try json(
        ["verify", "p.ingot", "-r", pico, "--prompts", "judge.jsonl", "--level", "masked", "--no-floor"]
          + ["--no-replay"], in: directory)
      #expect(report.object?["masked"]?.object?["kl"]?.object?["mean"]?.double == kept && kept != nil)
      #expect(try run(["inspect", "p.ingot", "--check"], in: directory).code == 0)
      _ = try run(
        ["quantize", pico, "-o", "q.ingot", "--calibration", "s", "--target-kl", "1e-12", "--held-out", "judge.jsonl"],
        in: directory, code: 1)
      #expect(Set(listing(of: directory)) == before.union(["p.ingot"]))
      let levels = try json(
        ["quantize", pico, "--explain", "model.layers.1.mlp.experts.0.up_proj.weight", "--calibration", "s"]
          + ["--target", "4.5bpw"], in: directory)
      let costs = (levels.object?["levels"]?.array ?? []).compactMap { $0.object?["damage"]?.double }
      #expect(costs.count >= 3 && costs.last ?? 9 < costs.first ?? 0)
    }
  }

  @Test("a model's own answers will do, and the pack that gave them leaves nothing")
  func generated() throws {
    try withData { directory in
      _ = try run(["quantize", pico, "-o", "p.ingot", "-q"], in: directory)
      let temporary = ["TMPDIR": directory]
      for more in [[], ["--generator", "p.ingot"]] {
        let command = ["calibrate", pico, "-o", "g\(more.count)", "-q", "--generate", "3", "--tokens", "1k"]
        let result = try ingot(command + more, in: directory, environment: temporary)
        #expect(result.code == 0, "\(result)")
      }
      // The same pack made on the way.
      #expect(try contents(of: directory + "/g0") == contents(of: directory + "/g2"))
      #expect(listing(of: directory).filter { $0.hasSuffix(".ingot") } == ["p.ingot"])
      let report = try json(["inspect", "g0"], in: directory)
      let sources = report.object?["document"]?.object?["data"]?.object?["sources"]?.array
      #expect(sources?.first?.object?["name"]?.string == "generated")
      for wrong in [["--generate", "0"], ["--generate", "1000"], ["--generator", "p.ingot", "--text", "t.txt"]] {
        _ = try run(["calibrate", pico, "-o", "x"] + wrong, in: directory, code: 64)
      }
    }
  }

  @Test("few states are told, and which option would help")
  func thin() throws {
    try withData { directory in
      let result = try run(["calibrate", pico, "-o", "s", "--prompts", "q.jsonl", "--tokens", "300"], in: directory)
      #expect(result.err.contains("warning: ") && result.err.contains("--tokens"))
      let atOnce = try run(
        ["quantize", pico, "-o", "p.ingot", "--prompts", "q.jsonl", "--tokens", "300"], in: directory)
      #expect(atOnce.err.contains("warning: ") && atOnce.err.contains("n/N"))
      let all = try run(
        ["calibrate", pico, "-o", "s", "--force", "--prompts", "judge.jsonl", "--tokens", "1m"], in: directory)
      #expect(all.err.contains("of the 1,048,576 asked for"))
    }
  }

  @Test("what is wrong is said before any work, with the right exit code, and leaves nothing")
  func refusals() throws {
    try withData { directory in
      try write(Array(#"{"prompt": "Hello?"}"#.utf8), to: directory + "/no-answer.jsonl")
      _ = try run(["calibrate", pico, "-o", "s", "-q", "--prompts", "q.jsonl", "--tokens", "1k"], in: directory)
      try changePicoWeights(to: directory + "/other", ["lm_head": { $0.map { 2 * $0 } }])
      let before = listing(of: directory)
      let pack = ["quantize", pico, "-o", "p.ingot"]
      for (arguments, code, text): ([String], Int32, String) in [
        (["calibrate", pico, "-o", "x"], 64, "name data"),
        (["calibrate", pico, "-o", "x", "--prompts", "no-answer.jsonl"], 1, "nothing to take states on"),
        (["calibrate", pico, "-o", "x", "--prompts", "missing.jsonl"], 1, "missing.jsonl"),
        (["calibrate", pico, "-o", "s", "--prompts", "q.jsonl"], 1, "s"),
        (["calibrate", pico, "-o", "q.jsonl", "--prompts", "q.jsonl", "--force"], 1, "q.jsonl"),
        (["calibrate", pico, "-o", "x", "--prompts", "q.jsonl", "--max-memory", "1MiB"], 5, "--max-memory"),
        (["calibrate", pico, "-o", "x", "--prompts", "q.jsonl", "--block-length", "0"], 64, ""),
        (["calibrate", "missing", "-o", "x", "--prompts", "q.jsonl"], 1, "missing"),
        (["quantize", "other", "-o", "p.ingot", "--calibration", "s"], 1, "of another model"),
        (pack + ["--calibration", "q.jsonl"], 1, "q.jsonl"),
        (pack + ["--calibration", "s", "--text", "t.txt"], 64, "leave out"),
        (pack + ["--tokens", "1k"], 64, "needs data"),
        (pack + ["--target", "4.25bpw"], 64, "needs states"),
        (pack + ["--target", "4.25bpw", "--experts", "int4-g64", "--calibration", "s"], 64, "--experts"),
        (pack + ["--target", "1bpw", "--calibration", "s"], 64, "cannot be met"),
        (pack + ["--target-kl", "0.01", "--calibration", "s"], 64, "--held-out"),
        (pack + ["--target-kl", "0", "--held-out", "t.txt", "--calibration", "s"], 64, "above 0"),
        (pack + ["--target-kl", "0.01", "--held-out", "./t.txt", "--text", "t.txt"], 64, "no states are taken on"),
        (
          pack + ["--target-kl", "0.01", "--held-out", "t.txt", "--calibration", "s", "--explain", "x"], 64, "--explain"
        ),
        (
          pack + ["--target-kl", "0.01", "--held-out", "q.jsonl", "--calibration", "s", "--max-memory", "20MiB"], 5,
          "--max-memory"
        ),
        (pack + ["--target", "4.5bpw", "--calibration", "s", "--override", "experts=int4-g64"], 64, "nothing"),
        (
          pack + ["--target", "4.5bpw", "--calibration", "s", "--servable", "sglang"]
            + ["--override", "experts.0.up=int4-g64"], 64, "in one encoding only"
        ),
        (
          pack + ["--target", "4.5bpw", "--calibration", "s", "--servable", "sglang", "--rest", "int8-g64"], 64,
          "could not serve"
        ),
        (pack + ["--target-kl", "0.01", "--held-out", "missing.jsonl", "--calibration", "s"], 1, "missing.jsonl"),
        (pack + ["--servable", "sglang", "--calibration", "s"], 64, "--target"),
        (pack + ["--servable", "other", "--target", "4.5bpw", "--calibration", "s"], 64, "sglang"),
        (pack + ["--solver", "gptq"], 64, "needs states"),
        (["inspect", "s", "--diff", pico], 64, "no model"),
        (["inspect", pico, "--diff", "s"], 64, "no model"),
        (["inspect", "s", "--all"], 64, "no model"),
        (["run", "s", "-p", "Hello?"], 64, "no model"),
        (["verify", "s", "--reference", pico], 64, "no model"),
        (pack + ["--calibration", "s", "--experts", "keep"], 64, "no routed expert"),
        (pack + ["--calibration", "s", "--solver", "search", "--override", "experts=keep"], 64, "no routed expert"),
      ] {
        let result = try ingot(arguments, in: directory)
        #expect(result.code == code && result.err.contains(text), "\(arguments): \(result)")
        #expect(listing(of: directory) == before, "\(arguments)")
      }
    }
  }

  @Test("a file of states that is damaged is told with the exit code of damage")
  func damage() throws {
    try withData { directory in
      _ = try run(["calibrate", pico, "-o", "s", "-q", "--prompts", "q.jsonl", "--tokens", "1k"], in: directory)
      var bytes = try contents(of: directory + "/s")
      bytes[bytes.count / 2] ^= 1
      try write(bytes, to: directory + "/s")
      let check = try run(["inspect", "s", "--check"], in: directory, code: 4)
      #expect(check.err.contains("layer") || check.err.contains("hash"))
      let used = try run(["quantize", pico, "--calibration", "s", "-o", "p.ingot"], in: directory, code: 4)
      #expect(used.err.contains("damaged") && listing(of: directory).filter { $0.hasSuffix("ingot") }.isEmpty)
    }
  }
}
