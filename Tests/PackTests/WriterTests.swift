import Glibc
import Pack
import Storage
import Tensors
import TestSupport
import Testing

@Suite struct PackWriterTests {
  /// Writes the first chunks of the small pack and gives up.
  private func writeHalf(_ path: String, in directory: String) throws {
    let plan = try TinyPack.plan()
    let contents = TinyPack.contents(plan, seed: 7)
    var writer = try PackWriter(path: path, plan: plan)
    let codec = ChunkCodec()
    for index in 0..<3 {
      try writer.append(
        codec.encode(TinyPack.buffer(contents[index]), tailOffset: plan.chunks[index].layout.tailOffset))
    }
    #expect(writer.byteCount == 256 + 3 * 4096)
    #expect(listing(of: directory).count == (exists(path) ? 1 : 0), "bytes go to a file without a name")
  }

  @Test func aWriterThatIsDroppedLeavesNothing() throws {
    try withTemporaryDirectory { directory in
      try writeHalf(directory + "/a.ingot", in: directory)
      #expect(listing(of: directory).isEmpty)
    }
  }

  @Test func anExistingFileIsUntouchedUntilTheNewOneIsWhole() throws {
    try withTemporaryDirectory { directory in
      let path = directory + "/a.ingot"
      try write([1, 2, 3], to: path)
      try writeHalf(path, in: directory)
      #expect(try contents(of: path) == [1, 2, 3])
      let plan = try TinyPack.plan()
      try TinyPack.write(plan, TinyPack.contents(plan, seed: 7), to: path)
      #expect(listing(of: directory) == ["a.ingot"])
      #expect(try contents(of: path) == TinyPack.bytes())
    }
  }

  @Test func aReaderOfTheOldFileKeepsIt() throws {
    try withTemporaryDirectory { directory in
      let path = directory + "/a.ingot"
      let plan = try TinyPack.plan()
      try TinyPack.write(plan, TinyPack.contents(plan, seed: 7), to: path)
      let old = try PackFile(path: path)
      try TinyPack.write(plan, TinyPack.contents(plan, seed: 8), to: path)
      let content = try old.content(ofChunk: 0, codec: ChunkCodec(), verified: true)
      let bytes = content.bytes
      #expect(bytes.array == TinyPack.contents(plan, seed: 7)[0])
    }
  }

  @Test func aDirectoryThatIsNotThereIsReported() throws {
    let error = #expect(throws: PackError.self) {
      _ = try PackWriter(path: "/proc/nowhere/a.ingot", plan: try TinyPack.plan())
    }
    guard case .system(let failure)? = error else { return #expect(Bool(false), "\(String(describing: error))") }
    #expect(failure.code == ENOENT && failure.path == "/proc/nowhere/a.ingot")
  }

  @Test("a plan beyond the limits is refused", arguments: [0, 1 << 10])
  func limits(fileCount: Int) {
    let files =
      fileCount == 0
      ? [PackPlan.File(name: "empty", bytes: [])]
      : (0...fileCount).map { PackPlan.File(name: "f\($0)", bytes: [1]) }
    let item = PackPlan.Item.tensor(TinyPack.tensor("a", [1], .f32))
    let error = #expect(throws: PackError.self) { _ = try PackPlan([item], files: files) }
    guard case .limit? = error else { return #expect(Bool(false), "\(String(describing: error))") }
  }

  @Test func anExpertOfMoreThanAGibibyteIsRefused() {
    let f32 = [Encoding.f32, .f32, .f32]
    let error = #expect(throws: PackError.self) {
      _ = try PackPlan([TinyPack.expert(0, hidden: 1 << 14, width: 1 << 13, f32)], files: [])
    }
    guard case .limit? = error else { return #expect(Bool(false), "\(String(describing: error))") }
  }
}
