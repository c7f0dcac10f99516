import Export
import JSON
import Models
import Pack
import Storage
import Tensors
import TestSupport
import Testing

/// Every tensor of every export is read back as the format's own documents say, and is what the pack has, bit for bit.
@Suite struct RoundTripTests {
  static let encodings = Encoding.grouped.filter { $0.groupSize >= 32 && $0.groupSize <= 64 }.map(\.description)

  @Test("compressed-tensors", arguments: encodings)
  func compressedTensors(encoding: String) throws {
    try withPack(recipe(encoding)) { pack, directory in
      try export(pack, to: CompressedTensorsFormat.self, directory + "/out")
      var found = try Reader.safetensors(directory + "/out")
      for (name, packed) in try PackedTensor.all(pack) {
        guard !packed.codes.isEmpty else {
          try expectPlain(&found, name, packed)
          continue
        }
        let module = name.dropLast(".weight".count)
        let words = try take(module + ".weight_packed", from: &found)
        let scales = try take(module + ".weight_scale", from: &found)
        let shape = try take(module + ".weight_shape", from: &found)
        let bits = encoding.hasPrefix("int4") ? 4 : 8
        let (rows, columns) = (packed.shape[0], packed.shape[1])
        #expect(words.shape == [rows, columns * bits / 32] && words.dtype == "I32" && scales.dtype == "BF16")
        #expect(shape.bytes.enumerated().allSatisfy { $1 == ($0 == 0 ? UInt8(rows) : $0 == 8 ? UInt8(columns) : 0) })
        #expect(words.codes(bits: bits) == packed.codes && scales.bfloats == packed.scales, "\(name)")
        #expect(scales.shape == [rows, columns / packed.groupSize])
      }
      #expect(found.isEmpty, "\(found.keys.sorted().prefix(3))")
    }
  }

  @Test("mlx", arguments: encodings)
  func mlx(encoding: String) throws {
    let whole = try recipe(encoding, ("lm_head", "int8-g64"))
    try withPack(whole) { pack, directory in
      try export(pack, to: MLXFormat.self, directory + "/out")
      var found = try Reader.safetensors(directory + "/out")
      var stacks: [String: Set<Int>] = [:]
      for (name, packed) in try PackedTensor.all(pack) {
        var (outer, place) = ("language_model." + name, 0)
        if let match = name.firstMatch(of: /^(.*mlp\.)experts\.(\d+)\.(\w+)\.weight$/) {
          outer = "language_model.\(match.1)switch_mlp.\(match.3).weight"
          place = Int(match.2)!  // digits
        }
        guard !packed.codes.isEmpty else {
          try expectPlain(&found, outer, packed)
          continue
        }
        let module = outer.dropLast(".weight".count)
        stacks[String(module), default: []].insert(place)
        let (words, scales, biases) = (
          try #require(found[outer]), try #require(found[module + ".scales"]), try #require(found[module + ".biases"])
        )
        let bits = name.contains("lm_head") || encoding.hasPrefix("int8") ? 8 : 4
        let count = outer == "language_model." + name ? 1 : 16
        #expect(words.shape.suffix(2) == [packed.shape[0], packed.shape[1] * bits / 32] && words.dtype == "U32")
        #expect(words.part(place, of: count).codes(bits: bits) == packed.codes, "\(name)")
        #expect(scales.part(place, of: count).bfloats == packed.scales, "\(name)")
        let added = biases.part(place, of: count).bfloats
        #expect(added == packed.scales.map { -Float(1 << (bits - 1)) * $0 }, "\(name)")
      }
      for (module, places) in stacks {
        #expect(module.contains("switch_mlp") ? places.count == 16 : places == [0])
        for suffix in ["weight", "scales", "biases"] { found[module + "." + suffix] = nil }
      }
      #expect(found.isEmpty, "\(found.keys.sorted().prefix(3))")
    }
  }

  @Test("gptq", arguments: encodings)
  func gptq(encoding: String) throws {
    try withPack(recipe(encoding)) { pack, directory in
      try export(pack, to: GPTQFormat.self, directory + "/out")
      var found = try Reader.safetensors(directory + "/out")
      for (name, packed) in try PackedTensor.all(pack) {
        guard !packed.codes.isEmpty else {
          try expectPlain(&found, name, packed)
          continue
        }
        let module = name.dropLast(".weight".count)
        let words = try take(module + ".qweight", from: &found)
        let scales = try take(module + ".scales", from: &found)
        let zeros = try take(module + ".qzeros", from: &found)
        let groups = try take(module + ".g_idx", from: &found)
        let bits = encoding.hasPrefix("int4") ? 4 : 8
        let (rows, columns) = (packed.shape[0], packed.shape[1])
        #expect(words.shape == [columns * bits / 32, rows] && scales.dtype == "F16" && groups.shape == [columns])
        #expect(words.transposed(width: 4).codes(bits: bits) == packed.codes, "\(name)")
        #expect(scales.transposed(width: 2).floats == packed.scales, "\(name)")
        #expect(zeros.shape == [columns / packed.groupSize, rows * bits / 32])
        #expect(zeros.bytes.allSatisfy { $0 == (bits == 4 ? 0x77 : 0x7F) })
        let columnGroups = (0..<columns).flatMap { column -> [UInt8] in [UInt8(column / packed.groupSize), 0, 0, 0] }
        #expect(groups.bytes == columnGroups)
      }
      #expect(found.isEmpty, "\(found.keys.sorted().prefix(3))")
    }
  }

  @Test("safetensors", arguments: ["int4-g64", "int8-g32s8", "int4-g16s8"], [DType.f32, .bf16])
  func safetensors(encoding: String, dtype: DType) throws {
    try withPack(recipe(encoding, ("lm_head", "int8-g64"))) { pack, directory in
      try export(pack, to: SafetensorsFormat.self, directory + "/out") {
        $0.dtype = ExportOptions.ElementType(rawValue: dtype.description)
      }
      var found = try Reader.safetensors(directory + "/out")
      for (name, packed) in try PackedTensor.all(pack) {
        guard !packed.codes.isEmpty else {
          try expectPlain(&found, name, packed)
          continue
        }
        let tensor = try take(name, from: &found)
        #expect(tensor.shape == packed.shape && tensor.dtype == dtype.name)
        let expected = packed.values.flatMap { elementBytes($0, as: dtype) }
        try #require(tensor.bytes == expected, "\(name)")
      }
      #expect(found.isEmpty)
      // What is written is a checkpoint that every command takes.
      _ = try ModelStore(path: directory + "/out")
      let config = try object(directory + "/out/config.json")
      #expect(config["torch_dtype"] == (dtype == .f32 ? "float32" : "bfloat16"))
    }
  }

  @Test("gguf", arguments: encodings)
  func gguf(encoding: String) throws {
    try withPack(recipe(encoding)) { pack, directory in
      try export(pack, to: GGUFFormat.self, directory + "/out.gguf")
      let file = try GGUFReader(try contents(of: directory + "/out.gguf"))
      #expect(file.values["general.architecture"] == .text("llada2"))
      #expect(file.values["llada2.expert_count"] == .number(16))
      #expect(file.values["llada2.expert_gating_func"] == .number(2))
      #expect(file.values["tokenizer.ggml.mask_token_id"] == .number(636))
      #expect(file.lists["tokenizer.ggml.tokens"]?.count == 640)
      let packed = try PackedTensor.all(pack)
      for layer in 1..<4 {
        for part in ["gate", "up", "down"] {
          let tensor = try #require(file.tensors["blk.\(layer).ffn_\(part)_exps.weight"])
          let size = encoding.hasPrefix("int4") ? 18 : 34
          #expect(tensor.type == (size == 18 ? 2 : 8) && tensor.dimensions[2] == 16)
          for expert in 0..<16 {
            let own = try #require(packed["model.layers.\(layer).mlp.experts.\(expert).\(part)_proj.weight"])
            #expect(tensor.dimensions[..<2] == [own.shape[1], own.shape[0]])
            var (codes, scales): ([Int32], [Float]) = ([], [])
            for block in 0..<own.codes.count / 32 {
              let start = tensor.offset + (expert * own.codes.count / 32 + block) * size
              let body = file.bytes[start + 2..<start + size]
              let scale = halves(Array(file.bytes[start..<start + 2]))[0]
              scales.append(Float(Float16(bitPattern: scale)))
              codes +=
                size == 34
                ? body.map { Int32(Int8(bitPattern: $0)) }
                : body.map { Int32($0 & 15) - 8 } + body.map { Int32($0 >> 4) - 8 }
            }
            #expect(codes == own.codes, "\(part), expert \(expert)")
            #expect(scales == scales.indices.map { own.scales[$0 * 32 / own.groupSize] }, "\(part), expert \(expert)")
          }
        }
      }
      let norm = try #require(file.tensors["output_norm.weight"])
      #expect(norm.type == 0)
      var widened: [UInt8] = []
      for (index, byte) in (packed["model.norm.weight"]?.bytes ?? []).enumerated() {
        widened += index % 2 == 0 ? [0, 0, byte] : [byte]
      }
      #expect(Array(file.bytes[norm.offset..<norm.offset + widened.count]) == widened)
      let head = try #require(file.tensors["output.weight"])
      let bytes = packed["lm_head.weight"]?.bytes ?? []
      #expect(head.type == 30 && Array(file.bytes[head.offset..<head.offset + bytes.count]) == bytes)
      #expect(file.tensors.count == 1 + 2 + 4 * 6 + 3 + 3 * (2 + 3 + 3))
    }
  }

  private func take(_ name: some StringProtocol, from found: inout [String: Reader]) throws -> Reader {
    let tensor = found.removeValue(forKey: String(name))
    return try #require(tensor, "\(name)")
  }

  private func expectPlain(_ found: inout [String: Reader], _ name: String, _ packed: PackedTensor) throws {
    let tensor = try take(name, from: &found)
    #expect(tensor.shape == packed.shape && tensor.bytes == packed.bytes, "\(name)")
  }
}

/// A GGUF as its specification says, as much of it as the tests ask for.
struct GGUFReader {
  enum Value: Equatable {
    case number(Double)
    case text(String)
  }
  struct Tensor {
    let dimensions: [Int]
    let type: Int
    let offset: Int
  }
  let bytes: [UInt8]
  private(set) var values: [String: Value] = [:]
  private(set) var lists: [String: [Value]] = [:]
  private(set) var tensors: [String: Tensor] = [:]
  private var position = 0

  init(_ bytes: [UInt8]) throws {
    self.bytes = bytes
    guard Array(bytes[..<4]) == Array("GGUF".utf8) else { throw TestFailure("no magic") }
    position = 4
    guard integer(4) == 3 else { throw TestFailure("another version") }
    let (tensorCount, valueCount) = (integer(8), integer(8))
    for _ in 0..<valueCount {
      let key = text()
      let type = integer(4)
      if type == 9 {
        let element = integer(4)
        let count = integer(8)
        lists[key] = try (0..<count).map { _ in try value(element) }
      } else {
        values[key] = try value(type)
      }
    }
    var infos: [(String, [Int], Int, Int)] = []
    for _ in 0..<tensorCount {
      let name = text()
      let rank = integer(4)
      infos.append((name, (0..<rank).map { _ in integer(8) }, integer(4), integer(8)))
    }
    let start = (position + 31) / 32 * 32
    for (name, dimensions, type, offset) in infos {
      guard offset % 32 == 0 else { throw TestFailure("\(name) is not aligned") }
      tensors[name] = Tensor(dimensions: dimensions, type: type, offset: start + offset)
    }
  }

  private mutating func integer(_ count: Int) -> Int {
    defer { position += count }
    return (0..<count).reduce(0) { $0 | Int(bytes[position + $1]) << (8 * $1) }
  }

  private mutating func text() -> String {
    let count = integer(8)
    defer { position += count }
    return String(decoding: bytes[position..<position + count], as: UTF8.self)
  }

  private mutating func value(_ type: Int) throws -> Value {
    switch type {
    case 2: .number(Double(integer(2)))
    case 4: .number(Double(integer(4)))
    case 5: .number(Double(Int32(truncatingIfNeeded: integer(4))))
    case 6: .number(Double(Float(bitPattern: UInt32(integer(4)))))
    case 7: .number(Double(integer(1)))
    case 8: .text(text())
    default: throw TestFailure("a value of type \(type)")
    }
  }
}
