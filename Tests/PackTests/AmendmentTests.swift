import Glibc
import Pack
import Storage
import Tensors
import TestSupport
import Testing

/// A drift report put into a pack that is there.
@Suite struct PackAmendmentTests {
  private static let report = Array(#"{"schema":"ingot.drift/1"}"#.utf8)
  private static let longer = Array(("{" + String(repeating: " ", count: 5_000) + "}").utf8)

  /// The small pack at a path.
  private func makePack(_ directory: String, _ compression: Compression = .none) throws -> String {
    let path = directory + "/a.ingot"
    try write(TinyPack.bytes(compression), to: path)
    return path
  }

  private func expectSound(_ path: String) throws {
    let found = try PackCheck(path: path).run(threads: 2).violations
    #expect(found == [])
  }

  @Test("everything before the tables stays where it is", arguments: Compression.allCases)
  func attached(compression: Compression) throws {
    try withTemporaryDirectory { directory in
      let path = try makePack(directory, compression)
      let before = try contents(of: path)
      let old = try PackFile(path: path)
      let header = try PackAmendment(path: path).attach(Self.report)
      #expect(listing(of: directory) == ["a.ingot"])
      try expectSound(path)

      let pack = try PackFile(path: path)
      let after = try contents(of: path)
      let end = old.header.tablesOffset
      #expect(pack.header == header && header.fileLength == after.count)
      #expect(after[256..<end] == before[256..<end])
      #expect(header.chunkCount == old.header.chunkCount + 1 && header.fileCount == 4)
      #expect(header.requiredFeatures == old.header.requiredFeatures)
      #expect(header.rootHash != old.header.rootHash)
      try expectSameChunks(old, pack)
      let read = try pack.file(named: "drift-report.json")
      #expect(read == Self.report)
      let chunk = try pack.chunk(header.chunkCount - 1)
      #expect(chunk.offset == end && chunk.codec == .raw && chunk.owner == 0)
    }
  }

  /// All records but the owners of files, and what is read through them.
  private func expectSameChunks(_ old: PackFile, _ new: PackFile) throws {
    for index in 0..<old.header.chunkCount {
      let first = try old.chunk(index)
      var second = try new.chunk(index)
      if first.kind == .file {
        #expect(second.owner == first.owner + 1)
        second.owner = first.owner
      }
      #expect(first == second)
    }
    for index in 0..<old.header.tensorCount {
      let (first, second) = (try old.tensor(index), try new.tensor(index))
      #expect(first == second)
    }
    for file in TinyPack.files {
      let read = try new.file(named: file.name)
      #expect(read == file.bytes)
    }
  }

  @Test("the header without the report is the one from before", arguments: Compression.allCases)
  func withoutReport(compression: Compression) throws {
    try withTemporaryDirectory { directory in
      let path = try makePack(directory, compression)
      // What a newer writer says of itself is kept.
      var bytes = PackBytes(try contents(of: path))
      bytes.set(UInt16(7), at: 10)
      bytes.set(UInt64(0xF0F0), at: 24)
      bytes.sealHeader()
      try write(bytes.bytes, to: path)
      let original = try PackFile(path: path)
      let same = try original.headerWithoutReport
      #expect(same == original.header)
      try PackAmendment(path: path).attach(Self.report)
      let amended = try PackFile(path: path)
      let without = try amended.headerWithoutReport
      #expect(without == original.header && amended.header.rootHash != original.header.rootHash)
      #expect(without.encoded() == Array(bytes.bytes[..<256]))
      let amendment = try PackAmendment(path: path)
      #expect(amendment.rootHash == original.header.rootHash)
    }
  }

  @Test func aReportIsReplacedAndTheFileDoesNotGrow() throws {
    try withTemporaryDirectory { directory in
      let path = try makePack(directory)
      try PackAmendment(path: path).attach(Self.report)
      let once = try contents(of: path)
      try PackAmendment(path: path).attach(Self.report)
      #expect(try contents(of: path) == once)
      try PackAmendment(path: path).attach(Self.longer)
      try expectSound(path)
      let read = try PackFile(path: path).file(named: "drift-report.json")
      #expect(read == Self.longer)
      try PackAmendment(path: path).attach(Self.report)
      #expect(try contents(of: path) == once)
    }
  }

  @Test func aCompressedReportOfAnotherWriterIsReplaced() throws {
    try withTemporaryDirectory { directory in
      let path = directory + "/a.ingot"
      let files = TinyPack.files.filter { $0.bytes.count < 100 }
      let item = PackPlan.Item.tensor(TinyPack.tensor("one", [1], .f32))
      let plain = try TinyPack.write(PackPlan([item], files: files), [[1, 2, 3, 4]], to: path, .zstd)
      let report = PackPlan.File(name: "drift-report.json", bytes: Self.longer)
      let header = try TinyPack.write(PackPlan([item], files: files + [report]), [[1, 2, 3, 4]], to: path, .zstd)
      try expectSound(path)
      #expect(plain.requiredFeatures == 0 && header.requiredFeatures == PackHeader.zstdFeature)
      let without = try PackFile(path: path).headerWithoutReport
      #expect(without == plain)
      let amended = try PackAmendment(path: path).attach(Self.report)
      #expect(amended.requiredFeatures == 0)
      try expectSound(path)
    }
  }

  @Test func aReportThatIsNotInTheLastChunkIsRefused() throws {
    try withTemporaryDirectory { directory in
      let path = try makePack(directory)
      try PackAmendment(path: path).attach(Self.report)
      // The chunks of the report and of the provenance, 11 and 10, change hands.
      var bytes = PackBytes(try contents(of: path))
      for (file, chunk) in [(0, 10), (1, 11)] {
        bytes.set(UInt32(chunk), at: bytes.fileRecord(file) + 8)
        bytes.set(UInt32(file), at: bytes.chunkRecord(chunk) + 48)
      }
      bytes.sealTables()
      let found = try violations(bytes.bytes, in: directory)
      #expect(found.map(\.rule) == [.fileRecord])
      let place = bytes.fileRecord(0)
      #expect(found.first?.byteRange == place..<place + 16)
      try write(bytes.bytes, to: path)
      let error = #expect(throws: PackError.self) { _ = try PackAmendment(path: path) }
      guard case .broken(let violation, _)? = error else { return #expect(Bool(false), "\(String(describing: error))") }
      #expect(violation.rule == .fileRecord)
    }
  }

  @Test func anInterruptLeavesThePackAsItWas() throws {
    try withTemporaryDirectory { directory in
      let path = try makePack(directory)
      let before = try contents(of: path)
      var asked = 0
      let error = #expect(throws: PackError.self) {
        try PackAmendment(path: path).attach(
          Self.report,
          isInterrupted: {
            asked += 1
            return asked == 2
          })
      }
      #expect(error == .interrupted && asked == 2)
      #expect(try contents(of: path) == before)
      #expect(listing(of: directory) == ["a.ingot"])
    }
  }

  @Test func progressCountsToTheTables() throws {
    try withTemporaryDirectory { directory in
      let path = try makePack(directory)
      let amendment = try PackAmendment(path: path)
      var seen: [Int] = []
      try amendment.attach(Self.report, progress: { seen.append($0) })
      #expect(seen.count == 1 && (amendment.byteCount - 63...amendment.byteCount).contains(seen[0]))
    }
  }

  @Test func anEmptyReportIsRefused() throws {
    try withTemporaryDirectory { directory in
      let path = try makePack(directory)
      let error = #expect(throws: PackError.self) { try PackAmendment(path: path).attach([]) }
      guard case .limit? = error else { return #expect(Bool(false), "\(String(describing: error))") }
    }
  }

  /// Four tebibytes that take no room as long as nobody writes them.
  @Test func aDiskWithoutRoomIsSaidBeforeAnyWork() throws {
    try withTemporaryDirectory { directory in
      let path = directory + "/a.ingot"
      let plan = try PackPlan(
        [.tensor(TinyPack.tensor("vast", [1 << 20, 1 << 20], .f32))], files: TinyPack.files, rowChunkByteCount: 1 << 30)
      var assembler = PackAssembler(plan: plan)
      for _ in 0..<assembler.chunkTotal { assembler.placeRaw() }
      let (header, tables) = assembler.assemble(errors: [.init()])
      let file = try OutputFile(path: path)
      try file.write(header.encoded().bytes, at: 0)
      try file.write(tables.bytes, at: header.tablesOffset)
      try file.commit()
      let error = #expect(throws: PackError.self) { try PackAmendment(path: path).attach(Self.report) }
      guard case .diskSpace(let needed, let free, _)? = error else { throw TestFailure("\(String(describing: error))") }
      #expect(needed > 4 << 40 && free < needed)
      #expect(listing(of: directory) == ["a.ingot"])
      let rootHash = try PackFile(path: path).header.rootHash
      #expect(rootHash == header.rootHash)
    }
  }

  @Test func anotherPackIsNotAmended() throws {
    try withTemporaryDirectory { directory in
      let path = try makePack(directory)
      let hash = try PackFile(path: path).header.rootHash
      let amendment = try PackAmendment(path: path, rootHash: hash)
      let error = #expect(throws: PackError.self) { _ = try PackAmendment(path: path, rootHash: hash ^ 1) }
      #expect(error == .replaced(path: path))
      // Another pack takes the name after the first was opened.
      let other = try TinyPack.bytes(seed: 8)
      try write(other, to: directory + "/b.ingot")
      try #require(unsafe rename(directory + "/b.ingot", path) == 0)
      let late = #expect(throws: PackError.self) { try amendment.attach(Self.report) }
      #expect(late == .replaced(path: amendment.path))
      #expect(try contents(of: path) == other)
    }
  }

  @Test func modeAndLinksStay() throws {
    try withTemporaryDirectory { directory in
      let path = try makePack(directory)
      try #require(unsafe chmod(path, 0o640) == 0)
      let link = directory + "/link.ingot"
      try #require(unsafe symlink("a.ingot", link) == 0)
      try PackAmendment(path: link).attach(Self.report)
      var status = stat()
      #expect(unsafe lstat(link, &status) == 0 && status.st_mode & S_IFMT == S_IFLNK)
      #expect(unsafe stat(path, &status) == 0 && status.st_mode & 0o777 == 0o640)
      let fileCount = try PackFile(path: path).header.fileCount
      #expect(fileCount == 4)
    }
  }

  @Test func aReaderOfTheOldFileKeepsIt() throws {
    try withTemporaryDirectory { directory in
      let path = try makePack(directory)
      let old = try PackFile(path: path)
      try PackAmendment(path: path).attach(Self.report)
      #expect(old.header.fileCount == 3 && readEverything(path) > 10_000)
      let content = try old.content(ofChunk: 0, codec: ChunkCodec(), verified: true)
      #expect(content.byteCount == 4096)
    }
  }

  /// Pieces of the copy begin and end anywhere in a large pack.
  @Test func aPackOfSeveralPiecesIsCopiedWhole() throws {
    try withTemporaryDirectory { directory in
      let path = directory + "/a.ingot"
      let plan = try PackPlan([.tensor(TinyPack.tensor("large", [5_000, 2_000], .f32))], files: TinyPack.files)
      let chunks = plan.chunks.enumerated().map { [UInt8](repeating: UInt8($0 + 1), count: $1.layout.byteCount) }
      try TinyPack.write(plan, chunks, to: path)
      let before = try contents(of: path)
      var seen: [Int] = []
      let amendment = try PackAmendment(path: path)
      try amendment.attach(Self.longer, progress: { seen.append($0) })
      try expectSound(path)
      let end = try PackFile(path: path).headerWithoutReport.tablesOffset
      #expect(seen.count == 3 && seen == seen.sorted())
      #expect(try contents(of: path)[256..<end] == before[256..<end])
      var stopped = 0
      let error = #expect(throws: PackError.self) {
        try PackAmendment(path: path).attach(Self.report, progress: { stopped = $0 }, isInterrupted: { stopped > 0 })
      }
      #expect(error == .interrupted && stopped == 256 + 16 << 20)
    }
  }
}
