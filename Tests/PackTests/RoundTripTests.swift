import Pack
import Storage
import Tensors
import TestSupport
import Testing

@Suite struct PackRoundTripTests {
  struct Case: Sendable, CustomTestStringConvertible {
    let encoding: Encoding
    let compression: Compression
    var testDescription: String { "\(encoding), \(compression)" }

    static let all = Encoding.all.flatMap { encoding in
      Compression.allCases.map { Case(encoding: encoding, compression: $0) }
    }
  }

  /// One tensor in one chunk, one in several with a short last, a vector, and experts, one of them mixed.
  private func plan(_ encoding: Encoding) throws -> PackPlan {
    let mixed = [encoding, TinyPack.encoding("int8-g64"), .bf16]
    return try PackPlan(
      [
        .tensor(TinyPack.tensor("z.one", [7, 128], encoding)),
        .tensor(TinyPack.tensor("y.several", [203, 128], encoding)),
        TinyPack.expert(11, layer: 20, hidden: 256, width: 128, [encoding, encoding, encoding]),
        .tensor(TinyPack.tensor("a.vector", [128], encoding)),
        TinyPack.expert(0, layer: 7, hidden: 128, width: 256, mixed),
        TinyPack.expert(1, layer: 7, hidden: 128, width: 256, mixed.reversed()),
      ], files: TinyPack.files, rowChunkByteCount: 10_000)
  }

  @Test("every encoding comes back as it was written, whole and in chunks", arguments: Case.all)
  func roundTrip(of test: Case) throws {
    let plan = try plan(test.encoding)
    let contents = TinyPack.contents(plan, seed: 3)
    #expect(plan.placements[1].chunkCount > 1 && plan.placements[1].chunkCount * plan.placements[1].rowsPerChunk > 203)
    try withTemporaryDirectory { directory in
      let path = directory + "/a.ingot"
      let header = try TinyPack.write(plan, contents, to: path, test.compression)
      let report = try PackCheck(path: path).run(threads: 2)
      #expect(report.violations == [])
      #expect(report.chunkCount == plan.chunks.count + 3)
      let pack = try PackFile(path: path)
      try pack.verifyTables()
      #expect(pack.header == header)
      for (index, tensor) in plan.tensors.enumerated() { try compare(pack, plan, index, tensor, contents) }
      for file in TinyPack.files {
        let read = try pack.file(named: file.name)
        #expect(read == file.bytes)
      }
      try checkPlaces(PackBytes(try TestSupport.contents(of: path)), pack, plan, test)
    }
  }

  private func compare(
    _ pack: PackFile, _ plan: PackPlan, _ index: Int, _ tensor: PackPlan.Tensor, _ contents: [[UInt8]]
  ) throws {
    let record = try pack.tensor(named: tensor.name)
    #expect(record.encoding == tensor.encoding && record.shape == tensor.shape)
    #expect(record.sourceEncoding == tensor.sourceEncoding)
    #expect(record.relativeRMSE == (tensor.encoding.isGrouped ? 0.0625 : 0))
    #expect(record.saturatedShare == (tensor.encoding.isGrouped ? 0.25 : 0))
    let codec = ChunkCodec()
    for position in 0..<record.chunkCount {
      let chunk = plan.placements[index].firstChunk + position
      #expect(record.firstChunk + position == chunk)
      let planned = plan.chunks[chunk].layout.planes[index - plan.chunks[chunk].tensors.lowerBound]
      let (encoding, planes) = try pack.planes(of: record, chunk: position)
      #expect(encoding == tensor.encoding && planes == planned)
      let content = try pack.content(ofChunk: chunk, codec: codec, verified: true)
      let bytes = content.bytes
      #expect(bytes.array == contents[chunk])
      if plan.chunks[chunk].kind == .rows { #expect(record.rows(inChunk: position) == plan.chunks[chunk].rows) }
    }
  }

  /// Alignment, order, zeros between; for raw packs the places that a dry run gives.
  private func checkPlaces(_ bytes: PackBytes, _ pack: PackFile, _ plan: PackPlan, _ test: Case) throws {
    var dry = PackAssembler(plan: plan)
    for _ in 0..<dry.chunkTotal { dry.placeRaw() }
    var end = 256
    for index in 0..<pack.header.chunkCount {
      let record = try pack.chunk(index)
      let isRawExpert = record.kind == .expert && record.codec == .raw
      #expect(record.offset == end.roundedUp(to: isRawExpert ? 16_384 : 64))
      #expect(bytes.bytes[end..<record.offset].allSatisfy { $0 == 0 })
      if test.compression == .none {
        #expect(record.codec == .raw && record.byteRange == dry.records[index].byteRange)
        #expect(record.tailOffset == dry.records[index].tailOffset && record.owner == dry.records[index].owner)
      } else if record.codec == .zstd {
        #expect(32 * (record.contentLength - record.storedLength) >= record.contentLength)
      }
      end = record.byteRange.upperBound
    }
    #expect(bytes.tablesOffset == end.roundedUp(to: 64))
    if test.compression == .none {
      let errors = plan.tensors.map { _ in PackAssembler.TensorErrors() }
      #expect(dry.assemble(errors: errors).header.fileLength == bytes.bytes.count)
    }
  }

  @Test func incompressibleContentIsStoredRaw() throws {
    let plan = try PackPlan([.tensor(TinyPack.tensor("noise", [64, 64], .f32))], files: TinyPack.files)
    var random = SeededRandom(seed: 5)
    let noise = (0..<64 * 64 * 4).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    try withTemporaryDirectory { directory in
      try TinyPack.write(plan, [noise], to: directory + "/a.ingot", .zstd)
      let pack = try PackFile(path: directory + "/a.ingot")
      let (chunk, tokenizer) = (try pack.chunk(0), try pack.chunk(2))
      #expect(chunk.codec == .raw && chunk.storedHash == chunk.contentHash)
      #expect(tokenizer.codec == .zstd && tokenizer.storedLength < 40)
      #expect(pack.header.requiredFeatures == 1)
    }
  }

  @Test func aPackWhereNothingPaysNeedsNoFeature() throws {
    let files = TinyPack.files.filter { $0.bytes.count < 100 }
    let plan = try PackPlan([.tensor(TinyPack.tensor("one", [1], .f32))], files: files)
    try withTemporaryDirectory { directory in
      let header = try TinyPack.write(plan, [[1, 2, 3, 4]], to: directory + "/a.ingot", .zstd)
      let found = try PackCheck(path: directory + "/a.ingot").run(threads: 1).violations
      #expect(header.requiredFeatures == 0 && found == [])
    }
  }
}
