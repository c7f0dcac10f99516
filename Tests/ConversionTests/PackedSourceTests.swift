import Conversion
import JSON
import Kernels
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
        if suffix == "_scale" { tensors[index].dtype = .i16 } else { tensors[index].bytes[8] = 127 }
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
      for name in ["keep", "int8-g32"] { try plan.requireExperts(#require(Recipe.Choice(name: name)), decidedBy: name) }
      #expect(throws: ConversionError.self) { try plan.requireExperts(.standardExperts, decidedBy: "it") }
    }
  }

  @Test("a scale that is no number of bf16 is refused before the work, and taken as a number")
  func wideScales() throws {
    let name = "model.layers.1.mlp.experts.0.up_proj.weight"
    try withTemporaryDirectory { directory in
      try makeDirectory(directory + "/packed")
      var (checkpoint, _) = try exported(ConversionPlan.Options(), in: directory)
      let change = checkpoint.change
      checkpoint.change = { tensors in
        change(&tensors)
        for index in tensors.indices where tensors[index].name == name + "_scale" {
          let bits = stride(from: 0, to: tensors[index].bytes.count, by: 2).map {
            UInt32(tensors[index].bytes[$0]) << 16 | UInt32(tensors[index].bytes[$0 + 1]) << 24 | 1
          }
          tensors[index].dtype = .f32
          tensors[index].bytes = bits.flatMap { value in (0..<4).map { UInt8(value >> (8 * $0) & 255) } }
        }
      }
      try checkpoint.write(to: directory + "/packed")
      var options = ConversionPlan.Options()
      let plan = try ConversionPlan(checkpoint: directory + "/packed", options: options)
      do throws(ConversionError) {
        try plan.requireHeld()
        throw .interrupted
      } catch {
        guard case .model(.packedCode(name, 0, 0, let detail, _)) = error else { throw error }
        #expect(detail.contains("bf16"))
      }
      options.requantizes = true
      let anew = try ConversionPlan(checkpoint: directory + "/packed", options: options)
      #expect(anew.model.requantized.map(\.name) == ["compressed-tensors-4bit-g64"])
      let outcome = try convert(directory + "/packed", options, Run(threads: 2))
      let error = try #require(anew.requantizationError(outcome.statistics))
      // The scales of a search go on from codes of the same grid.
      #expect(error > 0 && error < 0.1)
      // All memory that there is, or hardly any: the same pack.
      let bytes = try contents(of: directory + "/packed/out.ingot")
      try convert(directory + "/packed", options, Run(memoryLimit: 40 << 20))
      #expect(try contents(of: directory + "/packed/out.ingot") == bytes)
    }
  }

  @Test func whatIsPlainIsNotQuantizedAnew() throws {
    var options = ConversionPlan.Options()
    options.requantizes = true
    guard case .requantizesNothing = try refusal(wide, options) else { throw TestFailure("accepted") }
  }

  /// What GPTQ and MLX write for a matrix of 128 × 128 with 4 bits in groups of 64.
  private static let parts: [(tool: String, parts: [(suffix: String, dtype: DType, dimensions: [Int])])] = [
    (
      "gptq",
      [
        (".qweight", .i32, [16, 128]), (".scales", .f16, [2, 128]), (".qzeros", .i32, [2, 16]), (".g_idx", .i32, [128]),
      ]
    ),
    ("mlx", [(".weight", .u32, [128, 16]), (".scales", .bf16, [128, 2]), (".biases", .bf16, [128, 2])]),
  ]
  private static let shapes: [[Int]] = [
    [], [0], [4], [0, 128], [16, 0], [1 << 60, 0], [0, 1 << 62], [3, 5], [16, 129], [17, 128], [128, 3], [2, 128, 1],
    [1, 128, 16],
  ]

  @Test("parts of any shape are read or refused, and none traps", arguments: parts.indices)
  func shapesOfParts(index: Int) throws {
    let (tool, parts) = Self.parts[index]
    let module = "model.layers.1.mlp.experts.1.gate_proj"
    for changed in parts.indices {
      for shape in [parts[changed].dimensions] + Self.shapes {
        var tiny = wide
        tiny.configChanges = [
          "quantization_config": tool == "gptq" ? ["quant_method": "gptq", "bits": 4] : ["bits": 4, "group_size": 64]
        ]
        tiny.change = { tensors in
          tensors.removeAll { $0.name == module + ".weight" }
          for (place, part) in parts.enumerated() {
            let dimensions = place == changed ? shape : part.dimensions
            let count = dimensions.contains(0) ? 0 : dimensions.reduce(1, *)
            tensors.append(
              .init(
                name: module + part.suffix, dtype: part.dtype, dimensions: dimensions,
                bytes: (0..<count * part.dtype.byteCount).map {
                  part.suffix == ".g_idx" && $0 % 4 == 0 ? UInt8($0 / 256 % 2) : 0
                }))
          }
        }
        try withTemporaryDirectory { directory in
          try tiny.write(to: directory)
          let isRight = shape == parts[changed].dimensions
          do throws(ModelError) {
            let model = try ModelStore(path: directory)
            #expect(isRight && model.tensors.contains { $0.name == module + ".weight" && $0.type.isGrouped })
          } catch {
            #expect(!isRight, "\(tool), \(parts[changed].suffix), \(shape): \(error)")
          }
        }
      }
    }
  }

  @Test("zeros of GPTQ are less one, modulo 16, or as they are", arguments: ["gptq", "gptq_v2"])
  func zeros(format: String) throws {
    let module = "model.layers.1.mlp.experts.1.gate_proj"
    var tiny = wide
    tiny.configChanges = [
      "quantization_config": ["quant_method": "gptq", "bits": 4, "checkpoint_format": .string(format)]
    ]
    tiny.change = { tensors in
      tensors.removeAll { $0.name == module + ".weight" }
      for part in Self.parts[0].parts where part.suffix != ".g_idx" {
        // Codes 0, scales 1, and of row r the zero r modulo 16.
        let bytes = (0..<part.dimensions.reduce(1, *) * part.dtype.byteCount).map { (at: Int) -> UInt8 in
          switch part.suffix {
          case ".scales": at % 2 == 0 ? 0 : 0x3C
          case ".qzeros": UInt8(2 * at % 16 + (2 * at + 1) % 16 * 16)
          default: 0
          }
        }
        tensors.append(
          .init(name: module + part.suffix, dtype: part.dtype, dimensions: part.dimensions, bytes: bytes))
      }
    }
    try withTemporaryDirectory { directory in
      try tiny.write(to: directory)
      let model = try ModelStore(path: directory, asNumbers: true)
      let tensor = try #require(model.tensors.first { $0.name == module + ".weight" })
      let codes = try #require(tensor.codesAsNumbers)
      var numbers = AlignedBuffer(byteCount: 4 * 128 * 128)
      codes.write(0..<128, as: .f32, into: &numbers)
      let found = floats(numbers.bytes.array, as: .f32)
      for row in 0..<128 {
        let zero = format == "gptq" ? (row + 1) % 16 : row % 16
        #expect(found[128 * row..<128 * (row + 1)].allSatisfy { $0 == Float(-zero) }, "row \(row)")
      }
    }
  }

  @Test func codesBesideTheElementsAreNotPassedOver() throws {
    try withTemporaryDirectory { directory in
      try makeDirectory(directory + "/packed")
      var (checkpoint, _) = try exported(ConversionPlan.Options(), in: directory)
      let (change, name) = (checkpoint.change, "model.layers.1.mlp.experts.1.gate_proj.weight")
      checkpoint.change = { tensors in
        let plain = tensors.filter { $0.name == name }
        change(&tensors)
        tensors += plain
      }
      try checkpoint.write(to: directory + "/packed")
      do throws(ModelError) { _ = try ModelStore(path: directory + "/packed") } catch {
        guard case .badTensor(name, let detail, _, _) = error else { throw error }
        #expect(detail.contains("twice"))
        return
      }
      throw TestFailure("accepted")
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
