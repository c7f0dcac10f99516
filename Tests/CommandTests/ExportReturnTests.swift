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
    "codes and scales of compressed-tensors go back into the same pack",
    arguments: ["int4-g32", "int4-g64", "int8-g32", "int8-g64"])
  func packed(encoding: String) throws {
    try withTemporaryDirectory { directory in
      for command in [
        ["quantize", pico, "-o", "a.ingot", "--experts", encoding, "-q"],
        ["export", "a.ingot", "--to", "compressed-tensors", "-o", "ct", "-q"],
        ["quantize", "ct", "-o", "b.ingot", "-q"],
      ] {
        let result = try ingot(command, in: directory)
        #expect(result.code == 0, "\(command): \(result)")
      }
      let (first, second) = (try tensors("a.ingot", in: directory), try tensors("b.ingot", in: directory))
      #expect(!first.isEmpty && first == second)
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
