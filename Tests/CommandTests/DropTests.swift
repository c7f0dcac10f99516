import Glibc
import JSON
import TestSupport
import Testing

/// Tensors that a model does without: dropped by `--drop`, or because they say nothing new; always told.
@Suite struct DropTests {
  private let extra = ["mtp.fc.weight", "model.layers.4.mlp.gate.weight", "model.layers.4.norm.weight"]

  private func withExtras(_ body: (String) throws -> Void) throws {
    try withTemporaryDirectory { directory in
      try rewritePico(directory + "/model") {
        for name in extra {
          $0.append(RawTensor(name: name, dtype: "BF16", shape: [4], bytes: [UInt8](repeating: 0, count: 8)))
        }
      }
      try body(directory)
    }
  }

  private func provenance(_ pack: String, in directory: String) throws -> JSONObject? {
    let result = try ingot(["inspect", pack, "--json"], in: directory)
    return try JSONParser.parse(result.out).object?["provenance"]?.object
  }

  @Test func theMessageLeadsToAPackThatRuns() throws {
    try withExtras { directory in
      for command in [
        ["quantize", "model", "--dry-run"], ["run", "model", "-p", "x"], ["verify", "model", "--reference", pico],
      ] {
        let result = try ingot(command, in: directory)
        #expect(
          result.code == 1 && result.err.contains("3 tensors have no place") && result.err.contains("--drop"),
          "\(result)")
      }
      let drops = ["--drop", "^mtp\\.", "--drop", "layers\\.4\\."]
      let result = try ingot(
        ["quantize", "model", "-o", "of.ingot", "--experts", "keep", "--json"] + drops, in: directory)
      #expect(result.code == 0 && result.err.contains("3 dropped"), "\(result)")
      #expect(
        result.err.contains(#"1 dropped by `^mtp\.`: `mtp.fc.weight`"#)
          && result.err.contains(#"2 dropped by `layers\.4\.`"#))
      let dropped: JSONValue = [
        ["match": "^mtp\\.", "tensors": ["mtp.fc.weight"]],
        ["match": "layers\\.4\\.", "tensors": ["model.layers.4.mlp.gate.weight", "model.layers.4.norm.weight"]],
      ]
      let document = try JSONParser.parse(result.out).object
      #expect(document?["tensors_dropped"] == 3 && document?["dropped"] == dropped)
      #expect(document?["tensors_kept"]?.int == 189)
      #expect(try provenance("of.ingot", in: directory)?["dropped"] == dropped)
      #expect(try ingot(["run", "of.ingot", "-q", "-p", question], in: directory).out == picosAnswer)
      let verify = try ingot(["verify", pico, "--reference", "of.ingot", "--level", "weights", "-q"], in: directory)
      #expect(verify.code == 0, "\(verify)")
    }
  }

  @Test(
    "a pattern that drops nothing, or what the model needs, is an error",
    arguments: [
      (["nothing", "^mtp", "layers\\.4\\."], "`nothing` matches no tensor"),
      (["^mtp", "layers\\.4\\.", "lm_head"], "`lm_head.weight`, which the model needs"),
      (["weight"], "which the model needs"),
      (["mtp", "layers\\.4\\.", "query_layernorm"], "query_layernorm.weight`, which"),
      (["mtp", "layers\\.4\\.", "experts"], "which the model needs"), (["("], "cannot be used"),
    ])
  func refused(patterns: [String], words: String) throws {
    try withExtras { directory in
      let result = try ingot(
        ["quantize", "model", "-o", "of.ingot"] + patterns.flatMap { ["--drop", $0] }, in: directory)
      let shown = words.replacing("`nothing`", with: "'nothing'")
      #expect(result.code == 64 && result.err.contains(shown), "\(result)")
      #expect(!exists(directory + "/of.ingot"))
    }
  }

  /// θ^(−2i/16), as older tools save it; pico turns 16 of 32 channels.
  private func frequencies(theta: Double, dtype: String) -> [UInt8] {
    let numbers = (0..<8).map { Float(pow(theta, -Double($0) / 8)) }
    return dtype == "F32" ? Samples.f32(numbers) : Samples.bf16(numbers)
  }

  @Test("rotary frequencies that config.json gives are left out and told", arguments: ["F32", "BF16"])
  func rotaryBuffers(dtype: String) throws {
    try withTemporaryDirectory { directory in
      let names = ["model.rotary_emb.inv_freq", "model.layers.0.attention.rotary_emb.inv_freq"]
      try rewritePico(directory + "/model") {
        for name in names {
          $0.append(RawTensor(name: name, dtype: dtype, shape: [8], bytes: frequencies(theta: 600000, dtype: dtype)))
        }
      }
      let result = try ingot(["quantize", "model", "-o", "of.ingot"], in: directory)
      #expect(result.code == 0 && result.err.contains("2 tensors hold rotary frequencies"), "\(result)")
      #expect(
        try provenance("of.ingot", in: directory)?["dropped"]
          == [["match": .null, "tensors": .array(names.sorted().map { .string($0) })]])
      let run = try ingot(["run", "model", "-p", question], in: directory)
      #expect(run.out == picosAnswer && run.err.contains("rotary frequencies"), "\(run)")
      #expect(try ingot(["verify", "of.ingot", "--reference", "model", "--level", "weights"], in: directory).code == 0)
    }
  }

  @Test("rotary frequencies of another base are refused, with a way on", arguments: ["F32", "BF16"])
  func otherRotaryBuffers(dtype: String) throws {
    try withTemporaryDirectory { directory in
      try rewritePico(directory + "/model") {
        $0.append(
          RawTensor(
            name: "model.rotary_emb.inv_freq", dtype: dtype, shape: [8], bytes: frequencies(theta: 10000, dtype: dtype))
        )
      }
      for command in [["quantize", "model", "-o", "of.ingot"], ["run", "model", "-p", "x"]] {
        let result = try ingot(command, in: directory)
        #expect(
          result.code == 1 && result.err.contains("other rotary frequencies") && result.err.contains("--drop"),
          "\(result)")
      }
      #expect(try ingot(["quantize", "model", "-q", "-o", "of.ingot", "--drop", "inv_freq$"], in: directory).code == 0)
    }
  }

  @Test func withoutDroppedTensorsTheProvenanceIsWhatItWas() throws {
    try withTemporaryDirectory { directory in
      let result = try ingot(["quantize", pico, "-q", "-o", "of.ingot"], in: directory)
      #expect(result.code == 0)
      let provenance = try provenance("of.ingot", in: directory)
      #expect(provenance != nil && provenance?["dropped"] == nil)
    }
  }
}
