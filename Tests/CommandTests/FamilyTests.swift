import Glibc
import JSON
import TestSupport
import Testing

/// Every command on other families than LLaDA2.0: the language part of Uni, 2.2 with block routing, SDAR.
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
