package import Pack
package import Storage
package import Tensors

/// A small pack with one of everything: rows in several chunks with a short last one, an expert of mixed encodings, a
/// vector, a gap between planes, three files.
package enum TinyPack {
  package static let config = Array(#"{"model_type":"llada2_moe"}"#.utf8)
  /// Compresses well.
  package static let tokenizer = Array(("{" + String(repeating: " ", count: 600) + "}").utf8)
  package static let files = [
    PackPlan.File(name: "source/config.json", bytes: config),
    PackPlan.File(name: "source/tokenizer.json", bytes: tokenizer),
    PackPlan.File(name: "provenance.json", bytes: Array(#"{"schema":1}"#.utf8)),
  ]

  package static func tensor(_ name: String, _ dimensions: [Int], _ encoding: Encoding) -> PackPlan.Tensor {
    guard let shape = Shape(dimensions) else { fatalError("a test's shape") }
    return PackPlan.Tensor(
      name: name, shape: shape, encoding: encoding, sourceEncoding: encoding.isGrouped ? .bf16 : encoding)
  }

  package static func encoding(_ name: String) -> Encoding {
    guard let encoding = Encoding(name: name) else { fatalError("a test's encoding") }
    return encoding
  }

  /// Three projections of hidden size `hidden` and width `width`.
  package static func expert(
    _ expert: Int, layer: Int = 1, hidden: Int = 64, width: Int = 32, _ encodings: [Encoding]
  ) -> PackPlan.Item {
    let prefix = "model.layers.\(layer).mlp.experts.\(expert)."
    return .expert(
      layer: layer, expert: expert, gate: tensor(prefix + "gate_proj.weight", [width, hidden], encodings[0]),
      up: tensor(prefix + "up_proj.weight", [width, hidden], encodings[1]),
      down: tensor(prefix + "down_proj.weight", [hidden, width], encodings[2]))
  }

  /// In the order of the file. Sorted by name the tensors are: embed 0, down 1, gate 2, up 3, norm 4, q 5.
  package static func plan() throws -> PackPlan {
    try PackPlan(
      [
        .tensor(tensor("embed.weight", [100, 64], .bf16)),
        expert(0, [encoding("int4-g32"), encoding("int8-g64"), .bf16]),
        .tensor(tensor("norm.weight", [64], .f32)),
        .tensor(tensor("q.weight", [41, 32], encoding("int8-g32"))),
      ], files: files, rowChunkByteCount: 4096)
  }

  /// Valid contents for all chunks of tensors of a plan.
  package static func contents(_ plan: PackPlan, seed: UInt64) -> [[UInt8]] {
    var random = SeededRandom(seed: seed)
    return plan.chunks.map { chunk in
      var content = [UInt8](repeating: 0, count: chunk.layout.byteCount)
      for (position, tensor) in chunk.tensors.enumerated() {
        let planes = chunk.layout.planes[position]
        let planned = plan.tensors[tensor]
        fill(
          &content, planes[0], planes.count > 1 ? planes[1] : 0..<0, planned.encoding, planned.shape.columns, &random)
      }
      return content
    }
  }

  private static func fill(
    _ content: inout [UInt8], _ codes: Range<Int>, _ scales: Range<Int>, _ encoding: Encoding, _ columns: Int,
    _ random: inout SeededRandom
  ) {
    let dtype: DType? = encoding == .f32 ? .f32 : encoding == .f16 ? .f16 : encoding == .bf16 ? .bf16 : nil
    if let dtype {
      var writer = ByteWriter()
      while writer.bytes.count < codes.count { writer.append(elementBytes(random.normal() / 32, as: dtype)) }
      content.replaceSubrange(codes, with: writer.bytes)
      return
    }
    if encoding.codes?.scale == .byte {
      let rowByteCount = 1 + columns / encoding.groupSize
      for place in scales {
        let isBase = (place - scales.lowerBound) % rowByteCount == 0
        content[place] = isBase ? 110 + UInt8(random.next() % 26) : UInt8(truncatingIfNeeded: random.next() >> 24)
      }
      for place in codes {
        let code = UInt8(truncatingIfNeeded: random.next() >> 24)
        content[place] = encoding.codes?.code == .int8 && code == 0x80 ? 0x7F : code
      }
      return
    }
    let groupByteCount = encoding.groupSize * encoding.codeBits / 8
    for group in 0..<scales.count / 2 {
      // Every fifth scale is +0, whose codes are all 0.
      let isZero = random.next() % 5 == 0
      let scale = isZero ? 0 : 0x3C00 + UInt16(random.next() % 64) + (random.next() % 2 == 0 ? 0x8000 : 0)
      content[scales.lowerBound + 2 * group] = UInt8(truncatingIfNeeded: scale)
      content[scales.lowerBound + 2 * group + 1] = UInt8(truncatingIfNeeded: scale >> 8)
      for byte in 0..<groupByteCount {
        var code = UInt8(truncatingIfNeeded: random.next() >> 24)
        if encoding.codes?.code == .int8 {
          if code == 0x80 { code = 0x7F }
          if isZero { code = 0 }
        } else if isZero {
          code = 0x88
        }
        content[codes.lowerBound + group * groupByteCount + byte] = code
      }
    }
  }

  /// Writes a pack with these contents.
  @discardableResult
  package static func write(
    _ plan: PackPlan, _ contents: [[UInt8]], to path: String, _ compression: Compression = .none
  ) throws -> PackHeader {
    var writer = try PackWriter(path: path, plan: plan)
    let codec = ChunkCodec(compression)
    for (chunk, content) in zip(plan.chunks, contents) {
      try writer.append(codec.encode(buffer(content), tailOffset: chunk.layout.tailOffset))
    }
    let errors = plan.tensors.map { tensor in
      tensor.encoding.isGrouped
        ? PackAssembler.TensorErrors(relativeRMSE: 0.0625, saturatedShare: 0.25) : PackAssembler.TensorErrors()
    }
    let pack = try writer.finish(errors: errors, codec: codec)
    let header = pack.header
    try pack.commit()
    return header
  }

  /// A copy in aligned memory.
  package static func buffer(_ bytes: [UInt8]) -> AlignedBuffer {
    var buffer = AlignedBuffer(byteCount: bytes.count)
    var target = buffer.mutableBytes
    target.write(bytes.bytes, at: 0)
    return buffer
  }

  /// The bytes of the standard small pack.
  package static func bytes(_ compression: Compression = .none, seed: UInt64 = 7) throws -> [UInt8] {
    try withTemporaryDirectory { directory in
      let plan = try plan()
      let path = directory + "/tiny.ingot"
      try write(plan, contents(plan, seed: seed), to: path, compression)
      return try TestSupport.contents(of: path)
    }
  }
}
