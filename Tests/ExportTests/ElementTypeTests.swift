import Export
import Pack
import Safetensors
import Storage
import Tensors
import TestSupport
import Testing

/// Plain matrices of a GGUF in a type that was asked for.
@Suite struct ElementTypeTests {
  /// What ggml makes of a block of 32 numbers: the words of `quantize_row_q8_0_ref`.
  private func block(_ values: ArraySlice<Float>) -> [UInt8] {
    let scale = (values.map(abs).max() ?? 0) / 127
    let inverse = scale == 0 ? 0 : 1 / scale
    let bits = Float16(scale).bitPattern
    let codes = values.map { value -> UInt8 in
      let x = value * inverse
      let nearest = x < 0 ? -(-x + 0.5).rounded(.down) : (x + 0.5).rounded(.down)
      return UInt8(bitPattern: Int8(nearest))
    }
    return [UInt8(bits & 255), UInt8(bits >> 8)] + codes
  }

  private func bytes(_ values: [Float], as type: ExportOptions.ElementType) -> [UInt8] {
    switch type {
    case .bf16: values.flatMap { elementBytes($0, as: .bf16) }
    case .f16: values.flatMap { elementBytes($0, as: .f16) }
    case .f32: values.flatMap { elementBytes($0, as: .f32) }
    case .q8_0: stride(from: 0, to: values.count, by: 32).flatMap { block(values[$0..<$0 + 32]) }
    }
  }

  @Test("matrices take the type, vectors and the router stay f32", arguments: ExportOptions.ElementType.allCases)
  func matrices(type: ExportOptions.ElementType) throws {
    let whole = try recipe("int4-g64", (#"layers\.2\..*\.experts\."#, "keep"))
    try withPack(whole) { pack, directory in
      let plan = try export(pack, to: GGUFFormat.self, directory + "/out.gguf") { $0.dtype = type }
      let file = try GGUFReader(try contents(of: directory + "/out.gguf"))
      #expect(file.bytes.count == plan.byteCount)
      let packed = try PackedTensor.all(pack)
      func values(_ name: String) throws -> [Float] {
        try halves(#require(packed[name]).bytes).map(BFloat16.widen)
      }
      let number = [ExportOptions.ElementType.bf16: 30, .f16: 1, .f32: 0, .q8_0: 8][type]
      for (name, own) in [
        ("token_embd.weight", "model.word_embeddings.weight"), ("output.weight", "lm_head.weight"),
        ("blk.0.ffn_up.weight", "model.layers.0.mlp.up_proj.weight"),
        ("blk.1.attn_qkv.weight", "model.layers.1.attention.query_key_value.weight"),
        ("blk.1.ffn_down_shexp.weight", "model.layers.1.mlp.shared_experts.down_proj.weight"),
      ] {
        let tensor = try #require(file.tensors[name])
        let expected = bytes(try values(own), as: type)
        #expect(tensor.type == number)
        #expect(Array(file.bytes[tensor.offset..<tensor.offset + expected.count]) == expected, "\(name)")
      }
      let stack = try #require(file.tensors["blk.2.ffn_up_exps.weight"])
      let experts = try (0..<16).flatMap {
        bytes(try values("model.layers.2.mlp.experts.\($0).up_proj.weight"), as: type)
      }
      #expect(stack.type == number && Array(file.bytes[stack.offset..<stack.offset + experts.count]) == experts)
      for name in ["output_norm.weight", "blk.1.ffn_gate_inp.weight", "blk.1.exp_probs_b.bias"] {
        #expect(file.tensors[name]?.type == 0)
      }
      #expect(file.tensors["blk.1.ffn_up_exps.weight"]?.type == 2)
    }
  }

  /// Exports pico with one number of its head changed.
  private func refused(_ number: Float, _ type: ExportOptions.ElementType?) throws -> ExportRefusal? {
    var changed: [String: [UInt8]] = [:]
    for name in listing(of: picoPath) where name.hasSuffix(".safetensors") {
      for entry in try SafetensorsFile(path: picoPath + "/" + name).tensors where entry.name == "lm_head.weight" {
        var bytes = try contents(of: picoPath + "/" + name)
        bytes.replaceSubrange(entry.byteRange.suffix(2), with: elementBytes(number, as: .bf16))
        changed[name] = bytes
      }
    }
    return try Trained.withVariant(of: "pico", files: changed) { checkpoint in
      try withPack(of: checkpoint, recipe("int4-g64")) { pack, directory in
        let found = try refusal { () throws(ExportError) in
          try export(pack, to: GGUFFormat.self, directory + "/out.gguf") { $0.dtype = type }
        }
        if found != nil { #expect(listing(of: directory) == ["model.ingot"]) }
        return found
      }
    }
  }

  @Test("numbers that a type does not hold are refused by the tensor's name, before anything is written")
  func tooLarge() throws {
    #expect(try refused(65280, .f16) == nil)
    #expect(try refused(-65536, .f16) == .values(tensor: "lm_head.weight", .tooLarge(for: "F16")))
    #expect(try refused(8_323_072, .q8_0) == .values(tensor: "lm_head.weight", .tooLarge(for: "Q8_0")))
    #expect(try refused(8_257_536, .q8_0) == nil)
    #expect(try refused(3e38, .f32) == nil && refused(3e38, .bf16) == nil && refused(3e38, nil) == nil)
  }
}
