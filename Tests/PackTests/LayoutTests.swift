import Pack
import Storage
import Tensors
import TestSupport
import Testing

/// Offsets worked out by hand from the text of the format.
@Suite struct PackLayoutTests {
  @Test func sixteenBitPlanesComeLastInAnExpert() {
    let layout = ContentLayout([
      .init(encoding: TinyPack.encoding("int4-g32"), elementCount: 96, columns: 96),
      .init(encoding: .bf16, elementCount: 33, columns: 33),
      .init(encoding: TinyPack.encoding("int8-g64"), elementCount: 64, columns: 64),
    ])
    // 96 codes in 48 bytes at 0; 64 codes at 64; then at 128: 3 scales, at 192: 66 bytes of bf16, at 320: one scale.
    #expect(layout.planes == [[0..<48, 128..<134], [192..<258], [64..<128, 320..<322]])
    #expect(layout.tailOffset == 128 && layout.byteCount == 322)
  }

  @Test func byteScalesComeBeforeTheTail() {
    let layout = ContentLayout([
      .init(encoding: TinyPack.encoding("int4-g16s8"), elementCount: 128, columns: 64),
      .init(encoding: .bf16, elementCount: 4, columns: 4),
      .init(encoding: TinyPack.encoding("int8-g32s8"), elementCount: 64, columns: 64),
    ])
    // 128 codes in 64 bytes at 0; 64 codes at 64; 2 rows of a base and 4 scales at 128, one of a base and 2 at 192.
    #expect(layout.planes == [[0..<64, 128..<138], [256..<264], [64..<128, 192..<195]])
    #expect(layout.tailOffset == 256 && layout.byteCount == 264)
  }

  @Test func contentWithoutSixteenBitPlanesHasNoTail() {
    let layout = ContentLayout([
      .init(encoding: .f32, elementCount: 5, columns: 5), .init(encoding: .f32, elementCount: 1, columns: 1),
    ])
    #expect(layout.planes == [[0..<20], [64..<68]])
    #expect(layout.tailOffset == 68 && layout.byteCount == 68)
  }

  @Test func contentOfSixteenBitPlanesIsAllTail() {
    let layout = ContentLayout([
      .init(encoding: .f16, elementCount: 3, columns: 3), .init(encoding: .bf16, elementCount: 32, columns: 32),
    ])
    #expect(layout.planes == [[0..<6], [64..<128]])
    #expect(layout.tailOffset == 0 && layout.byteCount == 128)
  }

  @Test func rowsOfOnePlaneEndAtMultiplesOf64() throws {
    let plan = try PackPlan(
      [.tensor(TinyPack.tensor("a", [1000, 33], .bf16))], files: TinyPack.files, rowChunkByteCount: 8192)
    // 66 bytes a row: 124 rows fit, 96 of them are a multiple of 32.
    #expect(plan.placements[0].rowsPerChunk == 96 && plan.placements[0].chunkCount == 11)
    #expect(plan.chunks.map(\.rows).last == 960..<1000)
    #expect(plan.chunks.dropLast().allSatisfy { $0.layout.byteCount == 6336 && 6336 % 64 == 0 })
  }

  /// `{}` as config and provenance, a bf16 matrix [2, 32] and expert 5 of layer 3 in int4-g32.
  private func handMade(in directory: String) throws -> PackBytes {
    let int4 = TinyPack.encoding("int4-g32")
    let files = ["source/config.json", "provenance.json"].map { PackPlan.File(name: $0, bytes: [0x7B, 0x7D]) }
    let plan = try PackPlan(
      [TinyPack.expert(5, layer: 3, [int4, int4, int4]), .tensor(TinyPack.tensor("a.weight", [2, 32], .bf16))],
      files: files)
    try TinyPack.write(plan, TinyPack.contents(plan, seed: 9), to: directory + "/a.ingot")
    return PackBytes(try contents(of: directory + "/a.ingot"))
  }

  @Test func headerFieldsStandWhereTheFormatSays() throws {
    let pack = try withTemporaryDirectory(handMade)
    // Expert: codes of 3 × 2048 weights in 1024 bytes each, then 64 scales in 128 bytes each: 3456 bytes at 16,384.
    // Matrix: 128 bytes at 19,840. Files: 2 bytes at 19,968 and at 20,032. Tables at 20,096.
    #expect(Array(pack.bytes[..<8]) == [0x49, 0x4E, 0x47, 0x4F, 0x54, 0x0D, 0x0A, 0x1A])
    #expect(pack.integer(at: 8, as: UInt16.self) == 1 && pack.integer(at: 10, as: UInt16.self) == 1)
    #expect(pack.integer(at: 12, as: UInt32.self) == 256)
    #expect(pack.integer(at: 16, as: UInt64.self) == 0 && pack.integer(at: 24, as: UInt64.self) == 0)
    #expect(pack.integer(at: 40, as: UInt64.self) == 20_096)
    // 4 chunks, 4 tensors, 2 files; names of 8, 45, 45, 43, 15 and 18 bytes: 256 + 384 + 32 + 174 = 846, up to 896.
    #expect(pack.integer(at: 48, as: UInt64.self) == 896)
    #expect(pack.integer(at: 32, as: UInt64.self) == 20_992 && pack.bytes.count == 20_992)
    #expect([64, 68, 72, 76].map { pack.integer(at: $0, as: UInt32.self) } == [4, 4, 2, 174])
    #expect(pack.integer(at: 56, as: UInt64.self) == pack.hash(20_096..<20_992))
    #expect(pack.bytes[80..<248].allSatisfy { $0 == 0 })
    #expect(pack.integer(at: 248, as: UInt64.self) == pack.hash(0..<248))
  }

  @Test func chunkRecordsStandWhereTheFormatSays() throws {
    let pack = try withTemporaryDirectory(handMade)
    let expected: [(offset: UInt64, length: UInt64, tail: UInt64, owner: UInt32, last: [UInt8])] = [
      (16_384, 3456, 3072, 1, [1, 0, 3, 0, 5, 0]), (19_840, 128, 0, 0, [0, 0, 0, 0, 0, 0]),
      (19_968, 2, 2, 1, [2, 0, 0, 0, 0, 0]), (20_032, 2, 2, 0, [2, 0, 0, 0, 0, 0]),
    ]
    for (index, chunk) in expected.enumerated() {
      let start = 20_096 + 64 * index
      let lengths = [0, 8, 16, 24].map { pack.integer(at: start + $0, as: UInt64.self) }
      #expect(lengths == [chunk.offset, chunk.length, chunk.length, chunk.tail])
      let hash = pack.hash(Int(chunk.offset)..<Int(chunk.offset + chunk.length))
      #expect([32, 40].map { pack.integer(at: start + $0, as: UInt64.self) } == [hash, hash])
      #expect(pack.integer(at: start + 48, as: UInt32.self) == chunk.owner)
      #expect(Array(pack.bytes[start + 52..<start + 64]) == chunk.last + [0, 0, 0, 0, 0, 0])
    }
  }

  @Test func tensorAndFileRecordsStandWhereTheFormatSays() throws {
    let pack = try withTemporaryDirectory(handMade)
    // name offset and length; encoding, group, rank; first chunk; rows, columns, rows a chunk; planes
    let expected: [[UInt64]] = [
      [0, 8, 2, 0, 2, 1, 2, 32, 2, 0, 0], [8, 45, 17, 32, 2, 0, 64, 32, 64, 2048, 3328],
      [53, 45, 17, 32, 2, 0, 32, 64, 32, 0, 3072], [98, 43, 17, 32, 2, 0, 32, 64, 32, 1024, 3200],
    ]
    for (index, fields) in expected.enumerated() {
      let start = 20_096 + 256 + 96 * index
      let small = [UInt64(pack.integer(at: start, as: UInt32.self))] + [4, 6, 8].map { UInt64(half(pack, start + $0)) }
      #expect(small == Array(fields[..<4]))
      #expect(UInt64(pack.bytes[start + 10]) == fields[4] && pack.bytes[start + 11] == 0)
      #expect(UInt64(pack.integer(at: start + 12, as: UInt32.self)) == fields[5])
      #expect(pack.integer(at: start + 16, as: UInt32.self) == 1)
      let errors: [Float] = index == 0 ? [0, 0] : [0.0625, 0.25]
      #expect([20, 24].map { Float(bitPattern: pack.integer(at: start + $0)) } == errors)
      #expect(half(pack, start + 28) == 2 && half(pack, start + 30) == 0)
      let large = [32, 40, 64, 72, 80].map { pack.integer(at: start + $0, as: UInt64.self) }
      #expect(large == Array(fields[6...]))
      #expect(pack.bytes[start + 48..<start + 64].allSatisfy { $0 == 0 })
      #expect(pack.bytes[start + 88..<start + 96].allSatisfy { $0 == 0 })
    }
    let files = 20_096 + 256 + 384
    #expect(Array(pack.bytes[files..<files + 16]) == [141, 0, 0, 0, 15, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0])
    #expect(Array(pack.bytes[files + 16..<files + 32]) == [156, 0, 0, 0, 18, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0])
    #expect(String(decoding: pack.bytes[files + 32..<files + 40], as: UTF8.self) == "a.weight")
    #expect(
      String(decoding: pack.bytes[files + 173..<files + 206], as: UTF8.self) == "provenance.jsonsource/config.json")
    #expect(pack.bytes[(files + 206)...].allSatisfy { $0 == 0 })
  }

  private func half(_ pack: PackBytes, _ position: Int) -> UInt16 { pack.integer(at: position) }
}
