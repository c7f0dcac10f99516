import Safetensors
import Storage
import Tensors
import TestSupport
import Testing

@Suite struct SafetensorsWriterTests {
  @Test func whatIsWrittenReadsBackInThePublishedLayout() throws {
    try withTemporaryDirectory { directory in
      let path = directory + "/file"
      let shape = try #require(Shape([2]))
      try SafetensorsWriter.write(
        [
          .init(name: "b", dtype: .bf16, shape: shape) { [1, 2, 3, 4] },
          .init(name: "a\"é", dtype: .bf16, shape: shape) { [5, 6, 7, 8] },
          .init(name: "z", dtype: .f32, shape: shape) { [0, 1, 2, 3, 4, 5, 6, 7] },
        ], to: path)
      #expect(listing(of: directory) == ["file"])
      let file = try SafetensorsFile(path: path)
      #expect(file.tensors.map(\.name) == ["z", "a\"é", "b"])
      #expect(file.metadata == ["format": "pt"])
      #expect(file.headerByteCount % 8 == 0)
      #expect(
        Array(try contents(of: path)[file.headerByteCount...]) == [0, 1, 2, 3, 4, 5, 6, 7, 5, 6, 7, 8, 1, 2, 3, 4])
    }
  }

  @Test func aFileThatCannotBeWrittenIsReported() {
    let error = #expect(throws: SafetensorsError.self) { try SafetensorsWriter.write([], to: "/proc/nowhere/file") }
    #expect(error?.rule == .system)
    #expect(error?.path == "/proc/nowhere/file")
  }

  /// The tensors of LLaDA2 mini in one shard of 2.1: experts by index, everything else in the first.
  private func miniTensors(experts: Range<Int>) throws -> [TensorDescription] {
    var tensors: [TensorDescription] = []
    func add(_ name: String, _ dimensions: [Int], _ dtype: DType = .bf16) throws {
      tensors.append(TensorDescription(name: name, dtype: dtype, shape: try #require(Shape(dimensions))))
    }
    let (hidden, vocabulary) = (2048, 157_184)
    func addMLP(_ prefix: String, width: Int) throws {
      try add("\(prefix).gate_proj.weight", [width, hidden])
      try add("\(prefix).up_proj.weight", [width, hidden])
      try add("\(prefix).down_proj.weight", [hidden, width])
    }
    let first = experts.lowerBound == 0
    if first {
      try add("model.word_embeddings.weight", [vocabulary, hidden])
      try add("lm_head.weight", [vocabulary, hidden])
      try add("model.norm.weight", [hidden])
    }
    for layer in 0..<20 {
      let prefix = "model.layers.\(layer)"
      if first {
        try add("\(prefix).input_layernorm.weight", [hidden])
        try add("\(prefix).post_attention_layernorm.weight", [hidden])
        try add("\(prefix).attention.query_key_value.weight", [3072, hidden])
        try add("\(prefix).attention.query_layernorm.weight", [128])
        try add("\(prefix).attention.key_layernorm.weight", [128])
        try add("\(prefix).attention.dense.weight", [hidden, hidden])
        if layer == 0 {
          try addMLP("\(prefix).mlp", width: 5120)
        } else {
          try add("\(prefix).mlp.gate.weight", [256, hidden])
          try add("\(prefix).mlp.gate.expert_bias", [256], .f32)
          try addMLP("\(prefix).mlp.shared_experts", width: 512)
        }
      }
      guard layer > 0 else { continue }
      for expert in experts { try addMLP("\(prefix).mlp.experts.\(expert)", width: 512) }
    }
    return tensors
  }

  /// Published sizes of LLaDA2.1-mini: entries, header without its length, data, file.
  private static let published: [(entries: Int, header: Int, data: Int, file: Int)] =
    [(2_045, 251_216, 5_734_859_776, 5_735_111_000)]
    + Array(repeating: (1_824, 224_896, 3_825_205_248, 3_825_430_152), count: 2)
    + [(1_824, 226_488, 3_825_205_248, 3_825_431_744)]
    + Array(repeating: (1_824, 226_720, 3_825_205_248, 3_825_431_976), count: 4)

  @Test("names and shapes alone give the published file sizes of LLaDA2.1-mini", arguments: published.indices)
  func publishedSizes(shard: Int) throws {
    let expected = Self.published[shard]
    let tensors = try miniTensors(experts: 32 * shard..<32 * (shard + 1))
    let bytes = SafetensorsHeader.build(tensors: tensors)
    let data = tensors.reduce(0) { $0 + $1.byteCount }
    #expect(tensors.count == expected.entries)
    #expect(bytes.count - SafetensorsHeader.lengthByteCount == expected.header)
    #expect(data == expected.data)
    #expect(bytes.count + data == expected.file)
    let header = try parse(bytes, fileByteCount: expected.file)
    #expect(header.tensors.count == expected.entries)
  }

  @Test("a header with the tensors of LLaDA2 flash opens at once")
  func largeHeader() throws {
    var tensors: [TensorDescription] = []
    for layer in 1...31 {
      for expert in 0..<256 {
        for part in ["gate_proj", "up_proj", "down_proj"] {
          let name = "model.layers.\(layer).mlp.experts.\(expert).\(part).weight"
          tensors.append(TensorDescription(name: name, dtype: .bf16, shape: Shape(rows: 1024, columns: 4096)))
        }
      }
    }
    let bytes = SafetensorsHeader.build(tensors: tensors)
    let size = bytes.count + tensors.count * 8_388_608
    let clock = ContinuousClock()
    var fastest = Duration.seconds(100)
    for _ in 0..<5 {
      let start = clock.now
      let header = try parse(bytes, fileByteCount: size)
      fastest = min(fastest, clock.now - start)
      #expect(header.tensors.count == 23_808)
    }
    print("header of \(bytes.count) bytes: \(fastest)")
    // Measured 45 ms alone; the bound leaves room for a busy machine.
    #expect(fastest < .milliseconds(400))
  }
}
