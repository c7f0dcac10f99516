import Glibc
import JSON
import TestSupport
import Testing

/// Every command on other families than LLaDA2.0: the language part of Uni, 2.2 with block routing, SDAR, Ling.
@Suite struct FamilyTests {
  private func json(_ result: Command.Result) throws -> JSONObject {
    #expect(result.code == 0, "\(result.err)")
    return try #require(try JSONParser.parse(result.out).object)
  }

  @Test("the language part of LLaDA2.0-Uni is quantized, looked into, run and verified")
  func uni() throws {
    try withTemporaryDirectory { directory in
      try UniLayout().write("pico", to: directory + "/uni")
      let quantized = try ingot(["quantize", "uni", "-o", "uni.ingot", "--experts", "keep", "--json"], in: directory)
      let report = try json(quantized)
      #expect(report["tensors_passed_through"] == 2 && report["tensors_dropped"] == 0)
      #expect(quantized.err.contains("2 tensors") && quantized.err.contains("other parts than the language model"))
      #expect(quantized.err.contains("merged"))

      for model in ["uni", "uni.ingot"] {
        let check = try ingot(["inspect", model, "--check"], in: directory)
        #expect(check.code == 0, "\(check)")
        let listing = try json(try ingot(["inspect", model, "--json"], in: directory))
        let other = listing["classes"]?.array?.first { $0.object?["class"] == "other" }?.object
        #expect(other?["tensors"] == 2, "\(listing["classes"] ?? .null)")
        let run = try ingot(["run", model, "-p", question], in: directory)
        #expect(run.out == picosAnswer && run.err.contains("other parts"), "\(run)")
      }
      let diff = try ingot(["inspect", "uni", "--diff", "uni.ingot"], in: directory)
      #expect(diff.code == 0, "\(diff)")
      let expert = try ingot(["inspect", "uni", "--expert", "2.3", "--json"], in: directory)
      #expect(expert.code == 0, "\(expert)")

      let explained = try json(
        try ingot(
          ["quantize", "uni", "--explain", "model.vision_tower.patch_embed.weight", "--rest", "int8-g32", "--json"],
          in: directory))
      #expect(explained["encoding"] == "f16")

      #expect(try ingot(["quantize", "uni", "-o", "q.ingot", "-q"], in: directory).code == 0)
      let verify = try ingot(
        ["verify", "q.ingot", "--reference", "uni", "--prompts", pico + "/eval.jsonl", "--limit", "2", "--json", "-q"],
        in: directory)
      let drift = try json(verify)
      #expect(drift["masked"]?.object?["kl"]?.object?["mean"]?.double ?? 0 > 0)
    }
  }

  @Test("SDAR is quantized, calibrated, looked into, run, verified and exported")
  func sdar() throws {
    try withTemporaryDirectory { directory in
      var files: [String: [UInt8]] = [:]
      for name in ["tokenizer.json", "tokenizer_config.json"] { files[name] = try contents(of: pico + "/" + name) }
      try Trained.withVariant(of: "sdar", files: files) { model in
        let data = ["--prompts", pico + "/eval.jsonl"]
        let made = try json(
          try ingot(
            ["quantize", model, "-o", "s.ingot", "--experts", "int4-g32", "--tokens", "2k", "--json"] + data,
            in: directory))
        #expect(made["tensors_dropped"] == 0)
        #expect(try ingot(["inspect", "s.ingot", "--check"], in: directory).code == 0)

        try #require(
          try ingot(["quantize", model, "-o", "k.ingot", "--experts", "keep", "-q"], in: directory).code == 0)
        let options = ["-p", question, "--gen-length", "8", "--json", "-q"]
        let answer = try json(try ingot(["run", model] + options, in: directory))
        let four = try json(try ingot(["run", model, "--block-length", "4"] + options, in: directory))
        #expect(four["tokens"] == answer["tokens"] && four["forwards"] == answer["forwards"], "\(answer)")
        #expect(try ingot(["inspect", model, "--diff", "k.ingot"], in: directory).code == 0)
        let kept = try json(try ingot(["run", "k.ingot"] + options, in: directory))
        #expect(kept["tokens"] == answer["tokens"] && answer["tokens"] != nil, "\(answer)")

        let verify = ["verify", "--reference", model, "--limit", "2", "--json", "-q"] + data
        let drift = try json(try ingot(verify + ["s.ingot"], in: directory))
        #expect(drift["masked"]?.object?["kl"]?.object?["mean"]?.double ?? 0 > 0)
        let none = try json(try ingot(verify + ["k.ingot"], in: directory))
        #expect(none["masked"]?.object?["kl"]?.object?["mean"]?.double == 0)

        for format in ["safetensors", "compressed-tensors", "gptq"] {
          let result = try ingot(["export", "s.ingot", "--to", format, "-o", format], in: directory)
          #expect(result.code == 0, "\(result)")
        }
        for format in ["gguf", "mlx"] {
          let refused = try ingot(["export", "s.ingot", "--to", format, "-o", format], in: directory)
          #expect(refused.code == 1 && refused.err.contains("family of models"), "\(refused)")
        }
      }
    }
  }

  private func withLing(_ body: (_ model: String, _ directory: String) throws -> Void) throws {
    try withTemporaryDirectory { directory in
      var files: [String: [UInt8]] = [:]
      for name in ["tokenizer.json", "tokenizer_config.json"] { files[name] = try contents(of: pico + "/" + name) }
      try Trained.withVariant(of: "ling", files: files) { try body($0, directory) }
    }
  }

  @Test("Ling is quantized, looked into and exported, with and without the layers that predict further tokens")
  func ling() throws {
    try withLing { model, directory in
      try write(Array(#"{"prompt": "a", "continuation": "b"}"#.utf8), to: directory + "/pairs.jsonl")
      let quantized = try ingot(["quantize", model, "-o", "l.ingot", "--experts", "int4-g32", "--json"], in: directory)
      let report = try json(quantized)
      #expect(report["tensors_passed_through"] == 39 && report["tensors_dropped"] == 0)
      #expect(quantized.err.contains("39 tensors") && quantized.err.contains("layers that predict further tokens"))
      #expect(try ingot(["inspect", "l.ingot", "--check"], in: directory).code == 0)
      #expect(try ingot(["inspect", "l.ingot", "--expert", "4.0"], in: directory).code == 0)
      let dropping = ["quantize", model, "-o", "d.ingot", "--experts", "int4-g32", "--drop", #"model\.layers\.4\..*"#]
      let dropped = try ingot(dropping, in: directory)
      #expect(dropped.code == 0 && dropped.err.contains("39"), "\(dropped)")

      for format in ["safetensors", "compressed-tensors", "gptq"] {
        for pack in ["l.ingot", "d.ingot"] {
          let result = try ingot(["export", pack, "--to", format, "-o", "\(pack).\(format)"], in: directory)
          #expect(result.code == 0, "\(result)")
        }
      }
      let settings = try contents(of: directory + "/l.ingot.gptq/config.json")
      for module in [#"4\\.eh_proj$"#, #"4\\.mlp\\.experts\\.\\d+\\.up_proj$"#] {
        #expect(settings.firstRange(of: Array((#""-:^model\\.layers\\."# + module).utf8)) != nil, "\(module)")
      }
      let scored = try ingot(["score", "l.ingot", "pairs.jsonl", "-o", "s.jsonl"], in: directory)
      #expect(scored.code == 1 && scored.err.contains("predicts the next token"), "\(scored)")
      let whole = try ingot(["export", "l.ingot", "--to", "gguf", "-o", "l.gguf"], in: directory)
      #expect(
        whole.code == 1 && whole.err.contains("39 tensors of layers that") && whole.err.contains("--drop"), "\(whole)")
      let own = try ingot(["export", "d.ingot", "--to", "gguf", "-o", "d.gguf"], in: directory)
      #expect(own.code == 0, "\(own)")
      let gguf = try contents(of: directory + "/d.gguf")
      #expect(gguf.firstRange(of: Array("bailingmoe2.block_count".utf8)) != nil)
      #expect(gguf.firstRange(of: Array("diffusion".utf8)) == nil)
      #expect(gguf.firstRange(of: Array("mask_token_id".utf8)) == nil)
      let other = ["export", "d.ingot", "--to", "gguf", "--profile", "llada2", "-o", "x.gguf"]
      for arguments in [other, ["export", "d.ingot", "--to", "mlx", "-o", "m"]] {
        let refused = try ingot(arguments, in: directory)
        #expect(refused.code == 1 && refused.err.contains("family of models"), "\(refused)")
      }
    }
  }

  @Test("Ling answers token by token, alone and in a batch, and says what options mean nothing to it")
  func lingRuns() throws {
    try withLing { model, directory in
      #expect(try ingot(["quantize", model, "-o", "k.ingot", "--experts", "keep", "-q"], in: directory).code == 0)
      let options = ["-p", question, "--gen-length", "9", "--json"]
      let answer = try json(try ingot(["run", model, "-q"] + options, in: directory))
      let tokens = try #require(answer["tokens"]?.array)
      #expect(answer["decoder"] == "next-token" && answer["forwards"]?.int == tokens.count)
      for others in [["k.ingot"], [model, "--no-cache"], [model, "--block-length", "1"]] {
        let other = try json(try ingot(["run"] + others + ["-q"] + options, in: directory))
        #expect(other["tokens"] == answer["tokens"], "\(others)")
      }
      let noted = try ingot(
        ["run", model, "--steps", "3", "--threshold", "0.5", "--stop-early", "--max-steps", "4"] + options,
        in: directory)
      #expect(try json(noted)["tokens"] == answer["tokens"])
      for option in ["--steps", "--threshold", "--stop-early", "--max-steps"] {
        #expect(noted.err.contains("note: \(option) changes nothing: decoder next-token "), "\(noted.err)")
      }
      for wrong in [["--block-length", "4"], ["--decoder", "2.0"], ["--decoder", "2.1-speed"]] {
        let refused = try ingot(["run", model] + wrong + options, in: directory)
        #expect(refused.code == 64 && refused.out.isEmpty && refused.err.contains("this model predicts"), "\(refused)")
        #expect(wrong[0] != "--decoder" || refused.err.contains("decoder \(wrong[1]) denoises blocks"), "\(refused)")
      }
      let alien = try ingot(["run", pico, "--decoder", "next-token", "-p", question], in: directory)
      #expect(alien.code == 64 && alien.err.contains("predict the next token"), "\(alien)")

      let line = try #require(
        try JSONParser.parse("{\"prompt\": \"\(question)\", \"gen_length\": 9, \"steps\": 2}").object)
      let lines = (0..<3).map { _ in JSONValue.object(line).text(indented: false) }.joined(separator: "\n")
      try write(Array(lines.utf8), to: directory + "/batch.jsonl")
      let batch = try ingot(["run", model, "--batch", "batch.jsonl", "-o", "answers.jsonl"], in: directory)
      #expect(batch.code == 0 && batch.err.contains("`steps` of a line changes nothing"), "\(batch)")
      let answers = String(decoding: try contents(of: directory + "/answers.jsonl"), as: UTF8.self)
      let found = try answers.split(separator: "\n").map { try JSONParser.parse(String($0)).object?["tokens"] }
      #expect(found == [answer["tokens"], answer["tokens"], answer["tokens"]], "\(answers)")
    }
  }

  @Test("Ling is calibrated on clean texts, and its drift is that of the next token")
  func lingDrift() throws {
    try withLing { model, directory in
      let data = ["--prompts", pico + "/eval.jsonl"]
      let calibrate = ["calibrate", model, "-o", "l.states", "--tokens", "2k", "-q"] + data
      #expect(try ingot(calibrate, in: directory).code == 0)
      try write(Array("a".utf8), to: directory + "/one.txt")
      let short = try ingot(["calibrate", model, "-o", "x.states", "--text", "one.txt"], in: directory)
      #expect(short.code == 1 && short.err.contains("no text that is long enough"), "\(short)")
      let classes = try json(try ingot(["inspect", "l.states", "--json"], in: directory))["classes"]?.object
      #expect(classes?["clean"] == 0 && classes?["visible"] == 0 && classes?["masked"]?.int ?? 0 >= 2048)
      let shown = try ingot(["inspect", "l.states"], in: directory)
      #expect(shown.out.contains("all predict the next token"), "\(shown)")
      let solve = ["quantize", model, "--experts", "int4-g32", "-q", "--calibration", "l.states", "-o", "s.ingot"]
      #expect(try ingot(solve, in: directory).code == 0)
      #expect(try ingot(["quantize", model, "-o", "k.ingot", "--experts", "keep", "-q"], in: directory).code == 0)

      let options = ["--limit", "2", "--gen-length", "6"] + data
      let none = try json(try ingot(["verify", "k.ingot", "-r", model, "--json", "-q"] + options, in: directory))
      #expect(none["masked"]?.object?["kl"]?.object?["max"]?.double == 0)
      let along = none["trajectories"]?.object?["along_reference"]?.object
      #expect(along?["same_decision"]?.object?["mean"]?.double == 1, "\(none)")
      let record = try ingot(["verify", "--record", "l.record", "-r", model, "-q"] + options, in: directory)
      #expect(record.code == 0, "\(record)")
      var means: [Double] = []
      for reference in [model, "l.record"] {
        let more = reference == model ? options : []
        let result = try ingot(["verify", "s.ingot", "-r", reference, "--json"] + more, in: directory)
        let drift = try json(result)
        means.append(drift["masked"]?.object?["kl"]?.object?["mean"]?.double ?? 0)
        #expect(drift["data"]?.object?["decoder"] == "next-token")
        #expect(drift["masked"]?.object?["by_block"] == [])
        #expect(drift["data"]?.object?["mask_ratios"]?.array?.compactMap(\.double) == [1])
      }
      #expect(means[0] > 0 && means[0] == means[1])
      let text = try ingot(
        ["verify", "s.ingot", "-r", model, "--mask-ratios", "0.5", "--level", "masked"] + options, in: directory)
      #expect(
        text.out.contains("next-token positions") && text.err.contains("--mask-ratios changes nothing"), "\(text)")
      let swept = try ingot(["verify", "s.ingot", "-r", model, "--block-lengths", "4"] + options, in: directory)
      #expect(swept.code == 64 && swept.err.contains("one token after the other"), "\(swept)")
    }
  }

  @Test("2.2 is told by its capacity of experts, and decodes by its own rules over 131,072 positions")
  func blockRouting() throws {
    try withTemporaryDirectory { directory in
      try configurePico(
        directory + "/model",
        [
          "block_size": 32, "expert_capacity": 8, "delete_token_id": 630, "split_token_id": 631,
          "max_position_embeddings": 131072, "n_group": 4, "topk_group": 2,
        ])
      #expect(try ingot(["quantize", "model", "-o", "m.ingot", "--experts", "keep", "-q"], in: directory).code == 0)
      var answers: [JSONValue?] = []
      for model in ["model", "m.ingot"] {
        let answer = try json(try ingot(["run", model, "-q", "--json", "-p", question], in: directory))
        #expect(answer["decoder"] == "2.2")
        answers.append(answer["tokens"])
      }
      #expect(answers[0] != nil && answers[0] == answers[1])
      let verify = try ingot(
        [
          "verify", "m.ingot", "--reference", "model", "--prompts", pico + "/eval.jsonl", "--limit", "2", "--json",
          "-q",
        ],
        in: directory)
      #expect(try json(verify)["weights"]?.object?["different"] == 0)
    }
  }

  @Test("another tokenizer is a difference of two checkpoints")
  func tokenizers() throws {
    try withTemporaryDirectory { directory in
      try changePico(directory + "/other", "tokenizer.json") { $0 + "\n" }
      try linkPico(directory + "/without", except: ["tokenizer_config.json"])
      let same = try ingot(["inspect", pico, "--diff", pico], in: directory)
      #expect(same.code == 0, "\(same)")
      for (other, name) in [("other", "tokenizer.json"), ("without", "tokenizer_config.json")] {
        let found = try ingot(["inspect", pico, "--diff", other], in: directory)
        #expect(found.code == 1 && found.out.contains(name), "\(found)")
      }
    }
  }
}
