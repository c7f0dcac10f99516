import JSON
import Models
import Safetensors
import Storage
import Tensors
import TestSupport
import Testing

/// FP8 in every spelling is found as the bf16 that it stands for; what is missing, too much or of another kind is named.
@Suite struct FP8StoreTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var sharing = FP8.Sharing.block(rows: 128, columns: 128)
    var isE4M3 = true
    var scaleDType = DType.f32
    var suffix = "_scale_inv"
    var layout = TinyCheckpoint.Layout.perExpert
    var config: [String: JSONValue?] = [:]
    var testDescription: String { "\(sharing) \(isE4M3 ? "e4m3" : "e5m2") \(scaleDType) \(suffix) \(layout)" }

    var fp8: FP8 {
      var fp8 = FP8()
      (fp8.sharing, fp8.isE4M3, fp8.scaleDType, fp8.suffix) = (sharing, isE4M3, scaleDType, suffix)
      return fp8
    }
  }

  static func huggingFace(_ rows: Int, _ columns: Int) -> JSONValue {
    [
      "quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
      "weight_block_size": [JSONValue(rows), JSONValue(columns)],
    ]
  }

  static func compressedTensors(_ strategy: String, bits: Int = 8, type: String = "float") -> JSONValue {
    [
      "quant_method": "compressed-tensors", "format": "float-quantized",
      "config_groups": [
        "group_0": [
          "targets": ["Linear"],
          "weights": [
            "num_bits": JSONValue(bits), "type": .string(type), "symmetric": true, "strategy": .string(strategy),
          ],
        ]
      ],
    ]
  }

  static let flags: JSONValue = ["enabled": true, "format": "e4m3fn", "weight_block_size": [20, 24]]

  static let cases: [Case] = [
    Case(config: ["quantization_config": huggingFace(128, 128)]), Case(isE4M3: false),
    // Blocks that are cut off at the edges.
    Case(sharing: .block(rows: 20, columns: 24), config: ["quantization_config": huggingFace(20, 24)]),
    Case(
      sharing: .row, scaleDType: .bf16, suffix: "_scale", config: ["quantization_config": compressedTensors("channel")]),
    Case(
      sharing: .tensor, scaleDType: .f16, suffix: "_scale", config: ["quantization_config": compressedTensors("tensor")]
    ),
    Case(
      sharing: .block(rows: 20, columns: 24), suffix: "_scale", layout: .merged, config: ["llada_fp8_experts": flags]),
    Case(suffix: "_scale", layout: .merged, config: ["use_fp8_experts": true]),
    Case(sharing: .row, layout: .mergedWeight), Case(sharing: .matrix, layout: .merged),
    Case(sharing: .tensor, layout: .fused),
    // A block holds rows of gate and of up.
    Case(sharing: .block(rows: 20, columns: 24), layout: .w13, config: ["llada_fp8_experts": flags]),
  ]

  private func isMatrix(_ name: String) -> Bool {
    name.contains(".experts") || name.hasSuffix("_proj.weight") || name.contains("attention.dense")
      || name.contains(".mlp.w")
  }

  @Test("every spelling is read as the bf16 that it stands for", arguments: cases)
  func spellings(test: Case) throws {
    var tiny = TinyCheckpoint()
    tiny.layout = test.layout
    var plain = tiny
    var wanted: [TinyCheckpoint.Stored] = []
    tiny.configChanges = test.config
    tiny.change = { wanted = test.fp8.convert(&$0, where: isMatrix) }
    try withTemporaryDirectory { directory in
      try makeDirectory(directory + "/fp8")
      try makeDirectory(directory + "/bf16")
      try tiny.write(to: directory + "/fp8")
      plain.change = { $0 = wanted }
      try plain.write(to: directory + "/bf16")
      let (fp8, bf16) = try (ModelStore(path: directory + "/fp8"), ModelStore(path: directory + "/bf16"))
      #expect(fp8.tensors.map(\.name) == bf16.tensors.map(\.name))
      #expect(fp8.tensors.allSatisfy { $0.type == .encoding(.bf16) || $0.name.hasSuffix("expert_bias") })
      #expect(fp8.notes.contains { if case .fp8(let count) = $0 { count > 0 } else { false } })
      let (ours, theirs) = (StoredWeights(fp8, cacheBudget: 1 << 20), StoredWeights(bf16))
      for id in fp8.items.filter({ !$0.isExpert }).map(\.id) {
        #expect(bytes(try ours.matrix(id)) == bytes(try theirs.matrix(id)), "\(id)")
      }
      for expert in 0..<tiny.experts {
        for _ in 0..<2 {  // once decoded, once from the cache
          let (a, b) = try (ours.expert(layer: 1, expert: expert), theirs.expert(layer: 1, expert: expert))
          #expect(bytes(a.gate) == bytes(b.gate) && bytes(a.up) == bytes(b.up) && bytes(a.down) == bytes(b.down))
        }
      }
      #expect(ours.counters.hits == tiny.experts && ours.counters.inPlace == 0)
      let reader = try #require(ours.expertReader(memory: 64 << 20, threads: 1))
      for expert in reader.order(layer: 1) {
        let (a, b) = try (reader.next(isUsed: true), theirs.expert(layer: 1, expert: expert))
        #expect(bytes(a.gate) == bytes(b.gate) && bytes(a.up) == bytes(b.up) && bytes(a.down) == bytes(b.down))
      }
    }
  }

  private func bytes(_ matrix: Matrix) -> [UInt8] {
    matrix.blocks.flatMap { $0.content.bytes.extracting($0.codes).array }
  }

  // MARK: Refusals

  private func refusal(
    _ config: [String: JSONValue?] = [:], _ change: @escaping (inout [TinyCheckpoint.Stored]) -> Void
  ) throws -> ModelError {
    var tiny = TinyCheckpoint()
    tiny.configChanges = config
    tiny.change = change
    return try withTemporaryDirectory { directory in
      try tiny.write(to: directory)
      do throws(ModelError) { _ = try ModelStore(path: directory) } catch { return error }
      throw TestFailure("accepted")
    }
  }

  private static let weight = "model.layers.1.mlp.experts.1.up_proj.weight"

  /// A change of the scales of one tensor of FP8.
  private func refusalOfScales(
    _ change: @escaping (inout TinyCheckpoint.Stored) -> Void
  ) throws -> (name: String, detail: String) {
    let error = try refusal { tensors in
      FP8().convert(&tensors) { $0 == Self.weight }
      change(&tensors[tensors.count - 1])
    }
    guard case .badTensor(let name, let detail, let path, let byteOffset) = error else { throw error }
    #expect(path.hasSuffix("/model.safetensors") && byteOffset > 8)
    return (name, detail)
  }

  @Test func scalesThatAreMissingAreNamed() throws {
    let found = try refusalOfScales { $0.name = "model.norm.bias" }
    #expect(found.name == Self.weight)
    #expect(found.detail.contains("`\(Self.weight)_scale_inv` or `\(Self.weight)_scale`"))
  }

  @Test func scalesOfAnotherShapeAreNamed() throws {
    let found = try refusalOfScales {
      $0.dimensions = [3]
      $0.bytes = [UInt8](repeating: 0, count: 12)
    }
    #expect(found.name == Self.weight + "_scale_inv")
    #expect(found.detail.contains("[3]") && found.detail.contains("[32, 64]") && found.detail.contains("128×128"))
  }

  @Test("scales of another type are named", arguments: [DType.f8e8m0, .u8, .f64])
  func scaleTypes(dtype: DType) throws {
    let found = try refusalOfScales {
      $0.dtype = dtype
      $0.bytes = [UInt8](repeating: 0, count: dtype.byteCount)
    }
    #expect(found.name == Self.weight + "_scale_inv" && found.detail.contains(dtype.name))
    #expect(found.detail.contains("ue8m0") == (dtype == .f8e8m0))
  }

  @Test func scalesWithoutFP8AreNamed() throws {
    let error = try refusal {
      $0.append(.init(name: Self.weight + "_scale", dtype: .f32, dimensions: [1], bytes: [0, 0, 0x80, 0x3F]))
    }
    guard case .badTensor(let name, let detail, _, _) = error else { throw error }
    #expect(name == Self.weight + "_scale" && detail.contains("`\(Self.weight)`, which is bf16"))
  }

  @Test func scalesThatAreThereTwiceAreNamed() throws {
    let error = try refusal { tensors in
      FP8().convert(&tensors) { $0 == Self.weight }
      tensors.append(.init(name: Self.weight + "_scale", dtype: .f32, dimensions: [1], bytes: [0, 0, 0x80, 0x3F]))
    }
    guard case .badTensor(let name, let detail, _, _) = error else { throw error }
    #expect(name == Self.weight + "_scale" && detail.contains("_scale_inv"))
  }

  @Test(
    "configurations that promise something else are refused by key",
    arguments: [
      ("quantization_config", huggingFace(128, 128), "none is"), ("use_fp8_experts", true, "none is"),
      ("quantization_config", ["quant_method": "awq", "bits": 4], "awq"),
      ("quantization_config.fmt", ["quant_method": "fp8", "fmt": "e3m4"], "e4m3"),
      ("quantization_config.scale_fmt", ["quant_method": "fp8", "scale_fmt": "ue8m0"], "ue8m0"),
      (
        "quantization_config.weight_block_size", ["quant_method": "fp8", "weight_block_size": [128]],
        "two whole numbers"
      ),
      ("quantization_config.weight_block_size", ["quant_method": "fp8", "weight_block_size": [0, 128]], "two whole"),
      ("quantization_config", ["quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized"], "nvfp4"),
      (
        "quantization_config.config_groups", ["quant_method": "compressed-tensors", "format": "float-quantized"],
        "missing"
      ),
      ("quantization_config.config_groups.group_0.weights.num_bits", compressedTensors("tensor", bits: 4), "4"),
      ("quantization_config.config_groups.group_0.weights.type", compressedTensors("tensor", type: "int"), "float"),
      ("llada_fp8_experts.format", ["enabled": true, "format": "e8m0"], "e4m3"),
    ] as [(String, JSONValue, String)])
  func configurations(key: String, value: JSONValue, words: String) throws {
    let outer = String(key.prefix { $0 != "." })
    let error = try refusal([outer: value]) { _ in }
    guard case .configuration(key, let detail, _, let byteOffset) = error else { throw error }
    #expect(detail.contains(words), "\(detail)")
    #expect((byteOffset ?? 0) > 0 || words == "missing")
  }
}
