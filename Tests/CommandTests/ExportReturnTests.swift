import JSON
import TestSupport
import Testing

/// Exports that come back as checkpoints.
@Suite struct ExportReturnTests {
  /// Names, encodings and hashes of all tensors of a pack.
  private func tensors(_ pack: String, in directory: String) throws -> [[JSONValue]] {
    let listing = try ingot(["inspect", pack, "--json", "-q"], in: directory)
    let tensors = try JSONParser.parse(listing.out).object?["tensors"]?.array ?? []
    return tensors.map { tensor in ["name", "encoding", "hash"].map { tensor.object?[$0] ?? .null } }
  }

  @Test(
    "codes and scales of an export go back into the same pack",
    arguments: ["int4-g32", "int4-g64", "int8-g32", "int8-g64"], ["compressed-tensors", "gptq", "mlx", "gguf"])
  func packed(encoding: String, format: String) throws {
    try withTemporaryDirectory { directory in
      let isGGUF = format == "gguf"
      let out = isGGUF ? "out.gguf" : "out"
      for command in [
        ["quantize", pico, "-o", "a.ingot", "--experts", encoding, "-q"],
        ["export", "a.ingot", "--to", format, "-o", out, "-q"],
        ["quantize", out, "-o", "b.ingot", "-q"] + (isGGUF ? ["--config", pico] : []),
      ] {
        let result = try ingot(command, in: directory)
        #expect(result.code == 0, "\(command): \(result)")
      }
      var (first, second) = (try tensors("a.ingot", in: directory), try tensors("b.ingot", in: directory))
      if isGGUF {
        // Norms, biases and routers are wider there.
        #expect(first.map { $0[0] } == second.map { $0[0] })
        first.removeAll { !($0[1].string?.hasPrefix("int") ?? false) }
        second.removeAll { !($0[1].string?.hasPrefix("int") ?? false) }
      }
      #expect(!first.isEmpty && first == second)
    }
  }

  @Test("an expert of zeros does not change groups on its way through a GGUF", arguments: ["int4-g32", "int8-g64"])
  func unusedExpert(encoding: String) throws {
    try withTemporaryDirectory { directory in
      let expert = "model.layers.1.mlp.experts.3."
      try changePicoWeights(to: directory + "/zeros", [expert: { $0.map { _ in 0 } }])
      for command in [
        ["quantize", "zeros", "-o", "a.ingot", "--experts", encoding, "-q"],
        ["export", "a.ingot", "--to", "gguf", "-o", "out.gguf", "-q"],
        ["quantize", "out.gguf", "-o", "b.ingot", "--config", pico, "-q"],
        ["export", "b.ingot", "--to", "mlx", "-o", "mlx", "-q"],
      ] {
        let result = try ingot(command, in: directory)
        #expect(result.code == 0, "\(command): \(result)")
      }
      let found = try tensors("b.ingot", in: directory).filter { $0[0].string?.contains(".mlp.experts.") ?? false }
      #expect(!found.isEmpty && found.allSatisfy { $0[1].string == encoding })
    }
  }

  @Test("the config.json of an FP8 checkpoint will do for a GGUF")
  func configurationOfOtherWeights() throws {
    try withTemporaryDirectory { directory in
      try FP8.write("pico", .huggingFace, to: directory + "/fp8", dequantized: directory + "/bf16")
      for command in [
        ["quantize", "bf16", "-o", "a.ingot", "-q"],
        ["export", "a.ingot", "--to", "gguf", "-o", "out.gguf", "-q"],
        ["quantize", "out.gguf", "-o", "b.ingot", "--config", "fp8", "-q"],
        ["inspect", "b.ingot", "--check", "-q"],
        ["run", "b.ingot", "-p", question, "--gen-length", "32", "-q"],
      ] {
        let result = try ingot(command, in: directory)
        #expect(result.code == 0, "\(command): \(result)")
      }
    }
  }

  @Test("an export is run as the pack is", arguments: ["gptq", "mlx", "gguf"])
  func run(format: String) throws {
    try withTemporaryDirectory { directory in
      for command in [
        ["quantize", pico, "-o", "a.ingot", "-q"],
        ["export", "a.ingot", "--to", format, "-o", "out", "--shard-size", "300kB", "-q"],
      ] {
        let result = try ingot(command, in: directory)
        #expect(result.code == 0, "\(command): \(result)")
      }
      if format == "gguf" {
        for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
          try write(contents(of: "\(pico)/\(name)"), to: "\(directory)/out/\(name)")
        }
      }
      let options = ["-p", question, "--gen-length", "32", "-q"]
      let (a, b) = (
        try ingot(["run", "a.ingot"] + options, in: directory), try ingot(["run", "out"] + options, in: directory)
      )
      #expect(a.code == 0 && b.code == 0 && a.out == b.out, "\(a), \(b)")
    }
  }

  @Test("an export of what was FP8 or packed says nothing of that", arguments: ["fp8", "ct"])
  func withoutItsSourcesKeys(source: String) throws {
    try withTemporaryDirectory { directory in
      try FP8.write("pico", .huggingFace, to: directory + "/fp8", dequantized: directory + "/bf16")
      for command in [
        ["quantize", "bf16", "-o", "a.ingot", "-q"],
        ["export", "a.ingot", "--to", "compressed-tensors", "-o", "ct", "-q"],
        ["quantize", source, "-o", "b.ingot", "-q"],
        ["export", "b.ingot", "--to", "safetensors", "--dtype", "f32", "-o", "plain", "-q"],
        ["inspect", "plain", "--check", "-q"],
        ["run", "plain", "-p", question, "-q"],
      ] {
        let result = try ingot(command, in: directory)
        #expect(result.code == 0, "\(command): \(result)")
      }
      let config = try JSONParser.parse(String(decoding: contents(of: directory + "/plain/config.json"), as: UTF8.self))
      #expect(config.object?["quantization_config"] == nil)
      let options = ["--level", "masked", "--limit", "1", "--no-floor", "--no-replay", "--json", "-q"]
      let verified = try ingot(
        ["verify", "plain", "--reference", "b.ingot", "--prompts", pico + "/eval.jsonl"] + options, in: directory)
      let report = try JSONParser.parse(verified.out)
      #expect(report.object?["masked"]?.object?["kl"]?.object?["mean"]?.double ?? 1 < 1e-9, "\(verified)")
    }
  }
}
