import Conversion
import Glibc
import Kernels
import Pack
import Storage
import Tensors
import TestSupport
import Testing

@Suite struct DeterminismTests {
  @Test("threads, kernels and memory do not change a bit", arguments: Compression.allCases)
  func runs(compression: Compression) throws {
    let options = try ConversionPlan.Options(experts: "int4-g32", rest: "int8-g32", compress: compression)
    let expected = try packed(TinyCheckpoint(), options)
    for kernels in KernelSet.available {
      for threads in [1, 2, 7] {
        for memoryLimit in [1 << 30, 28 << 20] {
          let run = Run(threads: threads, kernels: kernels, memoryLimit: memoryLimit)
          let found = try packed(TinyCheckpoint(), options, run)
          #expect(found.bytes == expected.bytes, "\(kernels), \(threads) threads, \(memoryLimit) bytes")
        }
      }
    }
  }

  @Test("what the page cache does not hold comes to the same", arguments: Compression.allCases, [1, 3])
  func coldSource(compression: Compression, threads: Int) throws {
    let options = try ConversionPlan.Options(experts: "int4-g32", rest: "int8-g32", compress: compression)
    let expected = try packed(TinyCheckpoint(), options)
    // With the least memory the source is mapped, cold or not.
    for memoryLimit in [1 << 30, (compression == .zstd ? 28 : 23) << 20] {
      try withTemporaryDirectory { directory in
        try TinyCheckpoint().write(to: directory)
        for name in listing(of: directory) where name.hasSuffix(".safetensors") {
          try dropFromCache("\(directory)/\(name)")
        }
        try convert(directory, options, Run(threads: threads, memoryLimit: memoryLimit))
        let found = try contents(of: directory + "/out.ingot")
        #expect(found == expected.bytes, "\(memoryLimit) bytes")
      }
    }
  }

  /// Only pages that are on the device can leave the cache.
  private func dropFromCache(_ path: String) throws {
    let descriptor = unsafe open(path, O_RDWR)
    defer { close(descriptor) }
    try #require(fsync(descriptor) == 0 && posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED) == 0)
  }

  /// All but the provenance, which names the layout and the sources: chunks of tensors, and the tables of tensors.
  private func weights(_ pack: PackBytes) -> [[UInt8]] {
    let chunks = (0..<pack.chunkCount).filter { pack.bytes[pack.chunkRecord($0) + 52] != 2 }
    return chunks.map { Array(pack.bytes[pack.chunkRange($0)]) }
      + chunks.map { Array(pack.bytes[pack.chunkRecord($0)..<pack.chunkRecord($0) + 64]) }
      + [Array(pack.bytes[pack.tensorRecord(0)..<pack.fileRecord(0)])]
  }

  @Test("every layout and sharding gives the same weights", arguments: [DType.bf16, .f16, .f32])
  func layouts(dtype: DType) throws {
    let options = try ConversionPlan.Options(
      experts: "int4-g32", rest: "int8-g32",
      [
        .init(match: "layers.0.mlp", choice: .keep), .init(match: "dense", choice: .keep),
      ])
    var tiny = TinyCheckpoint()
    tiny.dtype = dtype
    let expected = weights(try packed(tiny, options))
    for layout in TinyCheckpoint.Layout.allCases {
      for shards in TinyCheckpoint.Shards.allCases {
        (tiny.layout, tiny.shards) = (layout, shards)
        let found = try packed(tiny, options, Run(threads: 2))
        #expect(weights(found) == expected, "\(layout), \(shards)")
      }
    }
  }

  struct Size: Sendable, CustomTestStringConvertible {
    let encoding: Encoding
    let compression: Compression
    var testDescription: String { "\(encoding), \(compression)" }
    static let all = Encoding.all.flatMap { encoding in
      Compression.allCases.map { Size(encoding: encoding, compression: $0) }
    }
  }

  @Test("a dry run is exact to the byte", arguments: Size.all)
  func dryRun(size: Size) throws {
    var tiny = wide
    tiny.dtype = size.encoding == .f32 ? .f32 : size.encoding == .f16 ? .f16 : .bf16
    let name = size.encoding.description
    let rest: [Recipe.Rule] = [.init(match: "attention.dense", choice: .keep)]
    let options = try ConversionPlan.Options(experts: name, rest: name, rest, compress: size.compression)
    try withTemporaryDirectory { directory in
      try tiny.write(to: directory)
      let plan = try ConversionPlan(checkpoint: directory, options: options)
      let converter = try Converter(plan, kernels: .best, threads: 2, memoryLimit: 1 << 30)
      let before = listing(of: directory)
      let dry = try converter.measure(progress: { _ in }, isInterrupted: { false })
      #expect(listing(of: directory) == before && dry.rootHash == nil)
      let real = try convert(directory, options, Run(threads: 2))
      let bytes = try contents(of: directory + "/out.ingot")
      #expect(dry.byteCount == bytes.count && real.byteCount == bytes.count)
      #expect(dry.expertByteCount == real.expertByteCount && real.expertByteCount > 0)
      #expect(real.rootHash == PackBytes(bytes).integer(at: 248))
      let found = try PackCheck(path: directory + "/out.ingot").run(threads: 2).violations
      #expect(found == [])
    }
  }

  @Test func plainTensorsComeThroughBitForBit() throws {
    for dtype in [DType.bf16, .f16, .f32] {
      var tiny = TinyCheckpoint()
      (tiny.dtype, tiny.usesBias, tiny.usesQKVBias) = (dtype, true, true)
      let options = try ConversionPlan.Options(experts: "keep", rest: "keep")
      try withTemporaryDirectory { directory in
        try tiny.write(to: directory)
        try convert(directory, options)
        let pack = try PackFile(path: directory + "/out.ingot")
        #expect(pack.header.tensorCount == tiny.published.count)
        for tensor in tiny.published {
          let record = try pack.tensor(named: tensor.name)
          let content = try pack.content(ofChunk: record.firstChunk, codec: ChunkCodec(), verified: true)
          let (encoding, planes) = try pack.planes(of: record, chunk: 0)
          let bytes = content.bytes
          #expect(encoding == Encoding(keeping: tensor.dtype) && record.shape.dimensions == tensor.dimensions)
          #expect(bytes.extracting(planes[0]).array == tensor.bytes, "\(tensor.name)")
        }
      }
    }
  }
}
