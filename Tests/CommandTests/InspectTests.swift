import JSON
import Safetensors
import Tensors
import TestSupport
import Testing

@Suite struct InspectTests {
  /// A pack of pico, and a place for more.
  private func withPack(_ body: (_ pack: String, _ directory: String) throws -> Void) throws {
    try withTemporaryDirectory { directory in
      let pack = directory + "/pico.ingot"
      let run = try ingot("quantize", pico, "-o", pack, "-q")
      try #require(run.status == 0, "\(run.stderr)")
      try body(pack, directory)
    }
  }

  private func object(_ run: Run) throws -> JSONObject {
    try #require(try JSONParser.parse(run.stdout).object)
  }

  @Test func theSummaryOfAPack() throws {
    try withPack { pack, directory in
      let run = try ingot("inspect", pack)
      #expect(run.status == 0)
      #expect(run.stderr == "")
      let lines = run.stdout.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
      let root = try #require(try object(ingot("inspect", pack, "--json"))["file"]?.object?["root_hash"]?.string)
      let shown = lines.joined(separator: "\n").replacing(pack, with: "PACK").replacing(root, with: "ROOT")
      #expect(shown == Self.summary)
      #expect(lines.allSatisfy { $0.count <= 110 })
    }
  }

  private static let summary = """
    file         PACK: ingot pack, format 1
                 2.06 MB (2,061,376 bytes), root hash ROOT
    model        llada2_moe, 4 layers (1 dense), hidden 128, 16 experts, top-4
    parameters   1,768,880, 66.7 % of them in experts
    bits/weight  9.323 in all, 4.250 of the experts
    source       per-expert layout, 3 files, 3.56 MB
                 packed by ingot 0.1.0, scales by search

    class                tensors  parameters  encoding       bytes  bits/weight
    embedding                  1      81,920  bf16       163.84 kB       16.000
    head                       1      81,920  bf16       163.84 kB       16.000
    attention                  8     196,608  bf16       393.22 kB       16.000
    dense MLP                  3     147,456  bf16       294.91 kB       16.000
    shared expert              9      73,728  bf16       147.46 kB       16.000
    router                     6       6,192  bf16, f32   12.48 kB       16.124
    norm                      17       1,408  bf16         2.82 kB       16.000
    expert                   144   1,179,648  int4-g64   626.69 kB        4.250
    files, tables, gaps                                  256.13 kB
    all                      189   1,768,880               2.06 MB        9.323

    tensor                                                  shape       encoding  count      bytes
    model.word_embeddings.weight                            [640, 128]  bf16             163.84 kB
    lm_head.weight                                          [640, 128]  bf16             163.84 kB
    model.layers.{0…3}.attention.dense.weight               [128, 128]  bf16         ×4  131.07 kB
    model.layers.{0…3}.attention.query_key_value.weight     [256, 128]  bf16         ×4  262.14 kB
    model.layers.0.mlp.down_proj.weight                     [128, 384]  bf16              98.30 kB
    model.layers.0.mlp.gate_proj.weight                     [384, 128]  bf16              98.30 kB
    model.layers.0.mlp.up_proj.weight                       [384, 128]  bf16              98.30 kB
    model.layers.{1…3}.mlp.shared_experts.down_proj.weight  [128, 64]   bf16         ×3   49.15 kB
    model.layers.{1…3}.mlp.shared_experts.gate_proj.weight  [64, 128]   bf16         ×3   49.15 kB
    model.layers.{1…3}.mlp.shared_experts.up_proj.weight    [64, 128]   bf16         ×3   49.15 kB
    model.layers.{1…3}.mlp.gate.expert_bias                 [16]        f32          ×3      192 B
    model.layers.{1…3}.mlp.gate.weight                      [16, 128]   bf16         ×3   12.29 kB
    model.norm.weight                                       [128]       bf16                 256 B
    model.layers.{0…3}.attention.key_layernorm.weight       [32]        bf16         ×4      256 B
    model.layers.{0…3}.attention.query_layernorm.weight     [32]        bf16         ×4      256 B
    model.layers.{0…3}.input_layernorm.weight               [128]       bf16         ×4    1.02 kB
    model.layers.{0…3}.post_attention_layernorm.weight      [128]       bf16         ×4    1.02 kB
    model.layers.{1…3}.mlp.experts.{0…15}.down_proj.weight  [128, 64]   int4-g64    ×48  208.90 kB
    model.layers.{1…3}.mlp.experts.{0…15}.gate_proj.weight  [64, 128]   int4-g64    ×48  208.90 kB
    model.layers.{1…3}.mlp.experts.{0…15}.up_proj.weight    [64, 128]   int4-g64    ×48  208.90 kB

    embedded file                  bytes
    provenance.json                  651
    source/config.json               998
    source/tokenizer.json         30,309
    source/tokenizer_config.json     658

    largest relative RMSE                                   saturated
    model.layers.3.mlp.experts.1.down_proj.weight   0.1066     3.67 %
    model.layers.3.mlp.experts.0.down_proj.weight   0.1062     3.42 %
    model.layers.3.mlp.experts.10.down_proj.weight  0.1061     3.87 %
    model.layers.3.mlp.experts.9.down_proj.weight   0.1053     3.72 %
    model.layers.1.mlp.experts.1.down_proj.weight   0.1010     3.32 %

    """

  @Test func theJSONOfAPackAndOfACheckpoint() throws {
    try withPack { pack, directory in
      let packed = try object(ingot("inspect", pack, "--json"))
      #expect(packed["schema"] == "ingot.inspect/1")
      #expect(packed["quant"]?.object?["scheme"] == "int4-g64")
      #expect(packed["tensors"]?.array?.count == 189)
      #expect(packed["chunks"]?.array?.count == 97)
      #expect(packed["shards"]?.array?.count == 0)
      // The absolute offset is where the source's bytes are found again.
      let head = try #require(packed["tensors"]?.array?.first?.object)
      #expect(head["name"] == "lm_head.weight")
      let offset = try #require(head["data_offset"]?.int)
      let source = try object(ingot("inspect", pico, "--json"))
      #expect(source.members.map(\.key) == packed.members.map(\.key))
      #expect(source["file"]?.object?["format"] == "checkpoint")
      #expect(source["shards"]?.array?.count == 3)
      let original = try #require(source["tensors"]?.array?.first?.object)
      #expect(original.members.map(\.key) == head.members.map(\.key))
      let shard = try contents(of: "\(pico)/\(try #require(original["file"]?.string))")
      let sourceOffset = try #require(original["data_offset"]?.int)
      #expect(try contents(of: pack)[offset..<offset + 163_840] == shard[sourceOffset..<sourceOffset + 163_840])
    }
  }

  @Test func allTensorsOneALine() throws {
    let run = try ingot("inspect", "--all", pico)
    #expect(run.stdout.split(separator: "\n").count { $0.contains("model.layers.2.mlp.experts.") } == 48)
  }

  @Test func aSoundPackAndASoundCheckpointPassTheCheck() throws {
    try withPack { pack, directory in
      let run = try ingot("inspect", pack, "--check")
      #expect(run.status == 0)
      #expect(run.stdout.hasPrefix("check: all 97 chunks, 2.06 MB, agree with their hashes; root hash "))
    }
    let run = try ingot("inspect", pico, "--check")
    #expect(run.status == 0)
    #expect(
      run.stdout == "check: all 189 tensors, 3.56 MB in 3 files, keep the rules; every weight is finite\n")
  }

  @Test func damageIsNamedByLayerAndExpert() throws {
    try withPack { pack, directory in
      let chunks = try #require(object(ingot("inspect", pack, "--json"))["chunks"]?.array)
      let chunk = try #require(chunks.first { $0.object?["layer"] == 2 && $0.object?["expert"] == 5 }?.object)
      let offset = try #require(chunk["offset"]?.int)
      var bytes = try contents(of: pack)
      bytes[offset + 100] ^= 1
      try write(bytes, to: pack)

      let run = try ingot("inspect", pack, "--check")
      #expect(run.status == 4)
      let lines = run.stdout.split(separator: "\n")
      #expect(lines[0] == "check: 1 of 97 chunks are damaged (rules 17)")
      #expect(lines[1].hasPrefix("  chunk 50, layer 2, expert 5, bytes 1,179,648 to "))
      #expect(lines[2].hasPrefix("    rule 17: stored hash "))
      #expect(lines[3].hasPrefix("hint: "))

      let json = try ingot("inspect", pack, "--check", "--json")
      #expect(json.status == 4)
      let violations = try #require(object(json)["violations"]?.array)
      #expect(violations.map { $0.object?["begin"]?.int } == [offset])
      #expect(try object(json)["sound"] == false)

      let expert = try ingot("inspect", pack, "--expert", "2.5")
      #expect(expert.status == 4)
      #expect(expert.stdout == "")
      #expect(expert.stderr.contains("chunk 50, layer 2, expert 5"))
      let diff = try ingot("inspect", pack, "--diff", pico, "--threads", "3")
      #expect(diff.status == 4)
      #expect(diff.stderr.contains("chunk 50, layer 2, expert 5"))
      #expect(try ingot("inspect", pack).status == 0)
    }
  }

  @Test func whatIsNoModelIsRefused() throws {
    try withTemporaryDirectory { directory in
      try write(Array("hello".utf8), to: directory + "/short")
      try write([UInt8](repeating: 7, count: 1000), to: directory + "/noise")
      try write([UInt8](repeating: 7, count: 1000), to: directory + "/noise.safetensors")
      #expect(try ingot("inspect", directory + "/short").status == 4)
      #expect(try ingot("inspect", directory + "/noise").status == 1)
      #expect(try ingot("inspect", directory + "/noise.safetensors").status == 1)
      #expect(try ingot("inspect", directory + "/noise.safetensors", "--check").status == 4)
      #expect(try ingot("inspect", directory + "/noise", "--check").status == 4)
      #expect(try ingot("inspect", directory).status == 1)
      #expect(try ingot("inspect", directory + "/absent").status == 1)
      #expect(try ingot("inspect").status == 64)
      #expect(try ingot("inspect", pico, "--check", "--all").status == 64)
    }
  }

  @Test("a type of safetensors is none of GGUF, whatever its name", arguments: ["Q4_0", "Q8_0"])
  func typesOfGGUFInSafetensors(dtype: String) throws {
    try withTemporaryDirectory { directory in
      for (model, shape) in [("huge", [1 << 31, 1 << 31]), ("short", [128, 128])] {
        try rewritePico("\(directory)/\(model)") { tensors in
          guard let index = tensors.firstIndex(where: { $0.name.contains(".experts.") }) else { return }
          (tensors[index].dtype, tensors[index].shape, tensors[index].bytes) = (dtype, shape, [])
        }
        let listed = try ingot(["inspect", model, "--all"], in: directory)
        #expect(listed.code == 0 && listed.out.contains(dtype), "\(listed)")
        let refused = try ingot(["quantize", model, "-o", "x.ingot"], in: directory)
        #expect(refused.code == 1 && refused.err.contains("has type \(dtype)"), "\(refused)")
      }
    }
  }

  @Test("a scale of a GGUF that is not finite is found", arguments: ["int4-g32", "int8-g32"])
  func scalesOfAGGUF(encoding: String) throws {
    try withTemporaryDirectory { directory in
      for command in [
        ["quantize", pico, "-o", "a.ingot", "--experts", encoding, "-q"],
        ["export", "a.ingot", "--to", "gguf", "-o", "a.gguf", "-q"], ["inspect", "a.gguf", "--check", "-q"],
      ] {
        let result = try ingot(command, in: directory)
        #expect(result.code == 0, "\(command): \(result)")
      }
      let path = directory + "/a.gguf"
      let file = try SafetensorsFile(path: path)
      let tensor = try #require(file.tensors.first { $0.name == "blk.1.ffn_up_exps.weight" })
      // The second block of the second row.
      let each = encoding == "int4-g32" ? 18 : 34
      let place = tensor.byteRange.lowerBound + (tensor.shape.columns / 32 + 1) * each
      var bytes = try contents(of: path)
      (bytes[place], bytes[place + 1]) = (0, 0x7C)
      try write(bytes, to: path)
      let found = try ingot(["inspect", "a.gguf", "--check", "-q"], in: directory)
      #expect(
        found.code == 4 && found.out.contains("first at row 1, column 32") && found.out.contains(tensor.name),
        "\(found)")
    }
  }

  @Test func differencesDecideTheExitCode() throws {
    try withPack { pack, directory in
      #expect(try ingot("inspect", pico, "--diff", pico).stdout == "diff: the same, 189 tensors compared\n")
      #expect(try ingot("inspect", pack, "--diff", pack).status == 0)
      let kept = directory + "/kept.ingot"
      #expect(try ingot("quantize", pico, "-o", kept, "-q", "--experts", "keep").status == 0)
      #expect(try ingot("inspect", kept, "--diff", pico).status == 0)

      let run = try ingot("inspect", pico, "--diff", pack)
      #expect(run.status == 1)
      #expect(
        run.stdout.hasSuffix(
          "\ndiff: 144 of other encodings, numbers of 144 of 189 differ, worst relative RMSE 0.1066\n"))
      let json = try ingot("inspect", pico, "--diff", pack, "--json")
      #expect(json.status == 1)
      let worst = try #require(object(json)["numbers"]?.array?.first?.object)
      #expect(worst["name"] == "model.layers.3.mlp.experts.1.down_proj.weight")
      // What quantizing recorded is what comparing finds.
      let error = try #require(worst["relative_rmse"]?.double)
      let tensors = try #require(object(ingot("inspect", pack, "--json"))["tensors"]?.array)
      let recorded = try #require(
        tensors.first { $0.object?["name"] == worst["name"] }?.object?["relative_rmse"]?.double)
      #expect(abs(error / recorded - 1) < 1e-5)
    }
  }

  @Test func aTensorAsNumPyFile() throws {
    try withPack { pack, directory in
      let path = directory + "/head.npy"
      let run = try ingot("inspect", pack, "--tensor", "lm_head.weight", "--npy", path)
      #expect(run.status == 0)
      #expect(run.stdout.hasPrefix("lm_head.weight  [640, 128]  bf16\n"))
      let bytes = try contents(of: path)
      #expect(bytes.count == 128 + 4 * 640 * 128)
      #expect(String(decoding: bytes[10..<70], as: UTF8.self).hasPrefix("{'descr': '<f4', 'fortran_order': False,"))
      #expect(listing(of: directory) == ["head.npy", "pico.ingot"])
      let again = try ingot("inspect", pack, "--tensor", "lm_head.weight", "--npy", path)
      #expect(again.status == 1)
      #expect(again.stderr.contains("exists already"))
      #expect(try ingot("inspect", pack, "--tensor", "lm_head.weight", "--npy", path, "--force").status == 0)
      #expect(try ingot("inspect", pack, "--expert", "1.1", "--npy", path, "--force").status == 64)
      let itself = try ingot("inspect", pack, "--tensor", "lm_head.weight", "--npy", pack, "--force")
      #expect(itself.status == 1 && itself.stderr.contains("to be read"))
      #expect(try ingot("inspect", pack, "--check").status == 0, "the pack is as it was")
    }
  }

  @Test func anExpertHasThreeProjections() throws {
    try withPack { pack, directory in
      let result = try object(ingot("inspect", pack, "--expert", "3.1", "--json"))
      #expect(result["schema"] == "ingot.inspect.tensor/1")
      let tensors = try #require(result["tensors"]?.array).compactMap(\.object)
      #expect(
        tensors.map { $0["name"]?.string } == [
          "model.layers.3.mlp.experts.1.gate_proj.weight", "model.layers.3.mlp.experts.1.up_proj.weight",
          "model.layers.3.mlp.experts.1.down_proj.weight",
        ])
      for tensor in tensors {
        let counts = try #require(tensor["code_histogram"]?.array).compactMap { $0.object?["count"]?.int }
        #expect(counts.count == 16)
        #expect(counts.reduce(0, +) == 8192)
      }
    }
    let missing = try ingot("inspect", pico, "--expert", "0.1")
    #expect(missing.status == 1)
    #expect(missing.stderr.contains("there is no tensor `model.layers.0.mlp.experts.1.gate_proj.weight`"))
  }
}
