import Conversion
import JSON
import Models
import Pack
import Quantization
import Storage
import Tensors
import TestSupport
import Testing

/// Checkpoints of int4 and int8 as compressed-tensors packs them: their codes and scales go into a pack as they are.
@Suite struct PackedSourceTests {
  private static let config: JSONValue = [
    "quant_method": "compressed-tensors", "format": "pack-quantized",
    "config_groups": [
      "group_0": [
        "targets": ["Linear"],
        "weights": ["num_bits": 4, "type": "int", "symmetric": true, "strategy": "group", "group_size": 32],
      ]
    ],
  ]

  /// Codes and scales of a matrix in a pack, element by element.
  private struct Quantized {
    let name: String
    let shape: Shape
    let bits: Int
    var codes: [Int]
    /// Bits of bf16.
    var scales: [UInt16]

    init(_ record: TensorRecord, _ pack: PackFile) throws {
      name = record.name
      shape = record.shape
      bits = record.encoding?.codeBits ?? 0
      (codes, scales) = ([], [])
      for position in 0..<record.chunkCount {
        let (_, planes) = try pack.planes(of: record, chunk: position)
        let content = try pack.content(ofChunk: record.firstChunk + position, codec: ChunkCodec(), verified: true)
        let bytes = content.bytes.array
        let (plane, factors) = (Array(bytes[planes[0]]), Array(bytes[planes[1]]))
        for element in 0..<plane.count * 8 / bits {
          if bits == 8 {
            codes.append(Int(Int8(bitPattern: plane[element])))
          } else {
            let byte = Int(plane[element / 32 * 16 + element % 16])
            codes.append((element % 32 < 16 ? byte & 15 : byte >> 4) - 8)
          }
        }
        scales += stride(from: 0, to: factors.count, by: 2).map { UInt16(factors[$0]) | UInt16(factors[$0 + 1]) << 8 }
      }
    }

    /// As compressed-tensors stores them.
    var stored: [TinyCheckpoint.Stored] {
      var packed = [UInt8](repeating: 0, count: codes.count * bits / 8)
      for (element, code) in codes.enumerated() {
        let raised = code + 1 << (bits - 1)
        packed[element * bits / 8] |= UInt8(raised) << UInt8(element * bits % 8)
      }
      func stored(_ suffix: String, _ dtype: DType, _ dimensions: [Int], _ bytes: [UInt8]) -> TinyCheckpoint.Stored {
        .init(name: name + suffix, dtype: dtype, dimensions: dimensions, bytes: bytes)
      }
      let (rows, columns) = (shape.rows, shape.columns)
      return [
        stored("_packed", .i32, [rows, columns * bits / 32], packed),
        stored(
          "_scale", .bf16, [rows, scales.count / rows], scales.flatMap { [UInt8($0 & 255), UInt8($0 >> 8)] }),
        stored("_shape", .i64, [2], [rows, columns].flatMap { n in (0..<8).map { UInt8(n >> (8 * $0) & 255) } }),
      ]
    }
  }

  /// The checkpoint whose matrices are those of a pack, and the pack.
  private func exported(
    _ options: ConversionPlan.Options, in directory: String, change: (inout Quantized) -> Void = { _ in }
  ) throws -> (checkpoint: TinyCheckpoint, pack: PackFile) {
    try wide.write(to: directory)
    try convert(directory, options)
    let pack = try PackFile(path: directory + "/out.ingot")
    var tensors: [String: [TinyCheckpoint.Stored]] = [:]
    for index in 0..<pack.header.tensorCount {
      let record = try pack.tensor(index)
      guard record.encoding?.isGrouped ?? false else { continue }
      var quantized = try Quantized(record, pack)
      change(&quantized)
      tensors[record.name] = quantized.stored
    }
    var tiny = wide
    tiny.configChanges = ["quantization_config": Self.config]
    tiny.change = { all in all = all.flatMap { tensors[$0.name] ?? [$0] } }
    return (tiny, pack)
  }

  private func chunks(_ pack: PackFile) throws -> [UInt64] {
    try pack.chunks().filter { $0.kind != .file }.map(\.storedHash)
  }

  @Test(
    "a pack that went through compressed-tensors is the pack",
    arguments: Encoding.grouped.filter { $0.codes?.scale == .bf16 })
  func roundTrip(encoding: Encoding) throws {
    for rest in ["keep", "int8-g64"] {
      try withTemporaryDirectory { directory in
        try makeDirectory(directory + "/packed")
        let options = try ConversionPlan.Options(experts: "\(encoding)", rest: rest)
        let (checkpoint, pack) = try exported(options, in: directory)
        try checkpoint.write(to: directory + "/packed")
        // What is quantized stays so, whatever the default is.
        var plain = ConversionPlan.Options()
        plain.compression = .zstd
        try convert(directory + "/packed", plain)
        plain.compression = .none
        try convert(directory + "/packed", plain, Run(threads: 3))
        let again = try PackFile(path: directory + "/packed/out.ingot")
        #expect(try chunks(again) == chunks(pack))
        let model = try ModelStore(path: directory + "/packed")
        #expect(model.notes.contains { if case .packed(let count) = $0 { count >= 12 } else { false } })
        let (ours, theirs) = (StoredWeights(model), try StoredWeights(path: directory + "/out.ingot"))
        for expert in 0..<checkpoint.experts {
          let (a, b) = try (ours.expert(layer: 1, expert: expert), theirs.expert(layer: 1, expert: expert))
          for (x, y) in [(a.gate, b.gate), (a.up, b.up), (a.down, b.down)] { #expect(planes(x) == planes(y)) }
        }
      }
    }
  }

  private func planes(_ matrix: Matrix) -> [[UInt8]] {
    matrix.blocks.flatMap { block in
      [block.codes, block.scales].map { block.content.bytes.extracting($0).array }
    }
  }

  @Test func aGroupOfZerosHasWhateverScaleItsWriterTook() throws {
    try withTemporaryDirectory { directory in
      try makeDirectory(directory + "/packed")
      let (checkpoint, _) = try exported(ConversionPlan.Options(), in: directory) { matrix in
        for element in 0..<64 { matrix.codes[element] = 0 }
        matrix.scales[0] = 0x3400  // 2⁻²³, the epsilon of binary32
      }
      try checkpoint.write(to: directory + "/packed")
      try convert(directory + "/packed", ConversionPlan.Options())
      let pack = try PackFile(path: directory + "/packed/out.ingot")
      let matrix = try Quantized(pack.tensor(named: "model.layers.1.mlp.experts.2.up_proj.weight"), pack)
      #expect(matrix.scales[0] == 0 && matrix.scales[1] != 0)
    }
  }

  @Test(
    "what an encoding cannot hold is named by tensor, row and group",
    arguments: [("int8-g32", "−128"), ("int4-g32", "the scale"), ("int8-g32", "the scale")])
  func refused(encoding: String, words: String) throws {
    let name = "model.layers.1.mlp.experts.3.down_proj.weight"
    try withTemporaryDirectory { directory in
      try makeDirectory(directory + "/packed")
      let (checkpoint, _) = try exported(try ConversionPlan.Options(experts: encoding), in: directory) { matrix in
        guard matrix.name == name else { return }
        if words == "−128" { matrix.codes[128 * 5 + 70] = -128 } else { matrix.scales[4 * 5 + 2] = 0x4780 }
      }
      try checkpoint.write(to: directory + "/packed")
      do throws(ConversionError) { try convert(directory + "/packed", ConversionPlan.Options()) } catch {
        guard case .model(.packedCode(name, 5, 2, let detail, _)) = error else { throw error }
        #expect(detail.contains(words))
        #expect(listing(of: directory + "/packed").contains("out.ingot") == false)
        #expect(throws: ModelError.self) {
          try StoredWeights(path: directory + "/packed").expert(layer: 1, expert: 3)
        }
        return
      }
      throw TestFailure("accepted")
    }
  }

  @Test(
    "triples that cannot be read are named",
    arguments: [
      ("_zero_point", "asymmetric"), ("_g_idx", "out of order"), ("_scale", "BF16"), ("_shape", "groups"),
    ])
  func triples(suffix: String, words: String) throws {
    let name = "model.layers.1.mlp.experts.1.gate_proj.weight"
    try withTemporaryDirectory { directory in
      try makeDirectory(directory + "/packed")
      var (checkpoint, _) = try exported(ConversionPlan.Options(), in: directory)
      let change = checkpoint.change
      checkpoint.change = { tensors in
        change(&tensors)
        guard let index = tensors.firstIndex(where: { $0.name == name + suffix }) else {
          tensors.append(.init(name: name + suffix, dtype: .i32, dimensions: [1], bytes: [0, 0, 0, 0]))
          return
        }
        if suffix == "_scale" { tensors[index].dtype = .f16 } else { tensors[index].bytes[8] = 127 }
      }
      try checkpoint.write(to: directory + "/packed")
      do throws(ModelError) { _ = try ModelStore(path: directory + "/packed") } catch {
        guard case .badTensor(let found, let detail, _, _) = error else { throw error }
        #expect(found == name + (suffix == "_shape" ? "_packed" : suffix) && detail.contains(words), "\(detail)")
        return
      }
      throw TestFailure("accepted")
    }
  }

  @Test func theStandardIsNoWishUnlessItIsNamed() throws {
    try withTemporaryDirectory { directory in
      try makeDirectory(directory + "/packed")
      let (checkpoint, _) = try exported(try ConversionPlan.Options(experts: "int8-g32"), in: directory)
      try checkpoint.write(to: directory + "/packed")
      let plan = try ConversionPlan(checkpoint: directory + "/packed", options: ConversionPlan.Options())
      #expect(plan.options.recipe.experts == .keep)
      for name in ["keep", "int8-g32"] { try plan.requireExperts(#require(Recipe.Choice(name: name))) }
      #expect(throws: ConversionError.self) { try plan.requireExperts(.standardExperts) }
    }
  }

  @Test("what is quantized is not quantized again", arguments: ["experts", "override", "rest"])
  func twice(place: String) throws {
    try withTemporaryDirectory { directory in
      try makeDirectory(directory + "/packed")
      let (checkpoint, _) = try exported(try ConversionPlan.Options(rest: "int8-g32"), in: directory)
      try checkpoint.write(to: directory + "/packed")
      let rule = Recipe.Rule(match: "experts", choice: .encode(try #require(Encoding(name: "int8-g32"))))
      let options = try ConversionPlan.Options(
        experts: place == "experts" ? "int4-g128" : "keep", rest: place == "rest" ? "int4-g32" : "keep",
        place == "override" ? [rule] : [])
      do throws(ConversionError) { try convert(directory + "/packed", options) } catch {
        guard case .recipe(.isQuantized) = error else { throw error }
        return
      }
      throw TestFailure("accepted")
    }
  }
}
