import JSON
import TestSupport
import Testing

/// Every command on checkpoints of FP8.
@Suite struct FP8CommandTests {
  @Test(
    "FP8 is inspected, run, quantized and verified as the bf16 that it stands for", arguments: FP8.Spelling.allCases)
  func commands(spelling: FP8.Spelling) throws {
    try withTemporaryDirectory { directory in
      try FP8.write("pico", spelling, to: directory + "/fp8", dequantized: directory + "/bf16")
      let listing = try ingot(["inspect", "fp8"], in: directory)
      #expect(listing.code == 0 && listing.out.contains("f8_e4m3"), "\(listing)")
      #expect(try ingot(["inspect", "fp8", "--check"], in: directory).code == 0)

      let diff = try ingot(["inspect", "fp8", "--diff", "bf16"], in: directory)
      #expect(diff.code == 1 && !diff.out.contains("_proj"), "only config.json differs: \(diff)")
      for target in [["--expert", "2.3"], ["--tensor", expert(spelling), "--npy", "a.npy", "--force"]] {
        let (ours, theirs) = try (
          ingot(["inspect", "fp8", "--json"] + target, in: directory),
          ingot(["inspect", "bf16", "--json"] + target.map { $0 == "a.npy" ? "b.npy" : $0 }, in: directory)
        )
        #expect(ours.code == 0 && ours.out.replacing("fp8", with: "bf16") == theirs.out, "\(ours) \(theirs)")
      }
      #expect(try contents(of: directory + "/a.npy") == contents(of: directory + "/b.npy"))

      let run = try ingot(["run", "fp8", "-p", question], in: directory)
      #expect(try run.code == 0 && run.out == ingot(["run", "bf16", "-p", question], in: directory).out, "\(run)")
      #expect(run.err.contains("FP8"))
      let verified = ["--prompts", pico + "/eval.jsonl", "--limit", "2", "-q"]
      let verify = try ingot(["verify", "fp8", "--reference", "bf16", "--json"] + verified, in: directory)
      let drift = try #require(try JSONParser.parse(verify.out).object, "\(verify)")
      #expect(
        drift["weights"]?.object?["different"] == 0 && drift["masked"]?.object?["kl"]?.object?["mean"]?.double == 0)

      let quantized = try ingot(["quantize", "fp8", "-o", "q.ingot"], in: directory)
      #expect(quantized.code == 0 && quantized.err.contains("FP8"), "\(quantized)")
      #expect(try ingot(["inspect", "q.ingot", "--check", "-q"], in: directory).code == 0)
      #expect(try ingot(["run", "q.ingot", "-q", "-p", question], in: directory).code == 0)
      #expect(try ingot(["verify", "q.ingot", "--reference", "fp8"] + verified, in: directory).code == 0)
    }
  }

  private func expert(_ spelling: FP8.Spelling) -> String {
    (spelling == .uni ? "model.language_model." : "model.") + "layers.2.mlp.experts.3.up_proj.weight"
  }

  @Test func aCodeThatIsNoNumberIsFoundByTheCheck() throws {
    try withTemporaryDirectory { directory in
      try FP8.write("pico", .huggingFace, to: directory + "/fp8", dequantized: directory + "/bf16") { tensors in
        for index in tensors.indices where tensors[index].name == expert(.huggingFace) {
          tensors[index].bytes[128 * 9 + 4] = 0x7F
        }
      }
      let check = try ingot(["inspect", "fp8", "--check"], in: directory)
      #expect(check.code == 4 && check.out.contains(expert(.huggingFace)), "\(check)")
      let quantize = try ingot(["quantize", "fp8", "-o", "out.ingot"], in: directory)
      #expect(quantize.code == 1 && quantize.err.contains("row 9, column 4"), "\(quantize)")
    }
  }
}
