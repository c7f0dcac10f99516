import Glibc
import Storage
import TestSupport
import Testing

/// Files past the page cache: the same bytes, whatever the positions, lengths and addresses.
@Suite struct DirectTests {
  private static let bytes: [UInt8] = {
    var random = SeededRandom(seed: 11)
    return (0..<6 << 20).map { _ in UInt8(truncatingIfNeeded: random.next()) }
  }()

  /// Runs as a writer gives them: bytes left out before, bytes.
  private static let runs: [[(gap: Int, count: Int)]] = [
    [(0, 0)], [(0, 1)], [(0, 4096)], [(0, 5 << 20)], [(256, 5 << 20)],
    [(256, 64), (3776, 1 << 20), (0, 65536), (0, 65537), (0, 3), (4092, 65536)],
    [(256, 100), (9000, 2 << 20), (0, 1), (0, 2 << 20), (1, 70000), (123, 4096)],
    [(4096, 70000), (3728, 70000), (3 << 20, 70000), (0, 1 << 20), (0, 2), (4094, 3 << 20)],
  ]

  private func expectRun(
    _ runs: [(gap: Int, count: Int)], path: String, depth: Int, byteCount: Int? = nil
  ) throws {
    var expected: [UInt8] = []
    var output = try SequentialOutput(OutputFile(path: path), depth: depth, byteCount: byteCount)
    for run in runs {
      expected += [UInt8](repeating: 0, count: run.gap)
      var buffer = AlignedBuffer(byteCount: run.count)
      var target = buffer.mutableBytes
      let source = Self.bytes.rawBytes.extracting(first: run.count)
      target.write(source, at: 0)
      try output.append(buffer.share(), byteCount: run.count, at: expected.count)
      expected += Self.bytes[..<run.count]
      #expect(output.end == expected.count)
    }
    let file = try output.finish()
    let first: [UInt8] = [1, 2, 3]
    try file.write(first.rawBytes, at: 0)
    try file.commit()
    if expected.count < 3 { expected += [UInt8](repeating: 0, count: 3 - expected.count) }
    expected.replaceSubrange(0..<3, with: first)
    let found = try contents(of: path)
    #expect(found == expected, "\(runs)")
  }

  @Test(arguments: [0, 1, 2, 5]) func whatIsWrittenIsThere(depth: Int) throws {
    try withTemporaryDirectory { directory in
      for runs in Self.runs { try expectRun(runs, path: directory + "/file", depth: depth) }
    }
  }

  @Test("room that was taken is given back where the file ends before", arguments: [0, 4096, 1 << 20, 20 << 20])
  func roomOnTheDisk(byteCount: Int) throws {
    try withTemporaryDirectory { directory in
      for runs in Self.runs { try expectRun(runs, path: directory + "/file", depth: 2, byteCount: byteCount) }
    }
  }

  /// In memory, where direct access may not exist or not mean anything.
  @Test func anyFileSystemTakesIt() throws {
    let path = "/dev/shm/ingot-direct-\(getpid())"
    defer { unsafe _ = unlink(path) }
    for runs in Self.runs { try expectRun(runs, path: path, depth: 2) }
  }

  /// Only pages that are on the device can leave the cache.
  private func settle(_ path: String) throws {
    let descriptor = unsafe open(path, O_RDWR)
    defer { close(descriptor) }
    try #require(fsync(descriptor) == 0)
  }

  private func read(_ range: Range<Int>, of file: ReadOnlyFile) throws -> [UInt8] {
    var buffer = AlignedBuffer(byteCount: ReadOnlyFile.bufferByteCount(range.count))
    let place = try file.read(range, into: &buffer)
    return buffer.bytes.extracting(place).array
  }

  @Test("what is read is what was written, from the cache and past it", arguments: [false, true])
  func reading(fromCache: Bool) throws {
    try withTemporaryDirectory { directory in
      let path = directory + "/file"
      let all = Array(Self.bytes[..<(1 << 20 + 5)])
      try write(all, to: path)
      let mapping = try MappedFile(path: path)
      let file = try ReadOnlyFile(path: path)
      for range in [0..<1, 0..<256, 5..<4097, 4095..<4096, 4096..<8192, 100_000..<1_000_001, 1 << 20..<1 << 20 + 5] {
        if !fromCache {
          try settle(path)
          mapping.release(0..<all.count)
        }
        let found = try read(range, of: file)
        #expect(found == Array(all[range]), "\(range)")
      }
    }
  }

  @Test func whatIsInTheCacheIsLookedAtThere() throws {
    try withTemporaryDirectory { directory in
      let path = directory + "/file"
      let all = Array(Self.bytes[..<(1 << 20 + 5)])
      try write(all, to: path)
      let file = try ReadOnlyFile(path: path)
      for range in [0..<1, 5..<4097, 4095..<4096, 100_000..<1_000_001, 1 << 20..<1 << 20 + 5] {
        // Systems before 5.14 do not tell that all pages are there; then the bytes are read.
        if let found = file.cached(range)?.array { #expect(found == Array(all[range]), "\(range)") }
      }
      try #require(unsafe truncate(path, 5000) == 0)
      // Not a page that is left: touching one that is not would end the process.
      let gone = file.cached(4000..<9000)?.array
      #expect(gone == nil)
    }
  }

  @Test func aFileThatEndsEarlyIsAnError() throws {
    try withTemporaryDirectory { directory in
      let path = directory + "/file"
      try write(Array(Self.bytes[..<10_000]), to: path)
      let file = try ReadOnlyFile(path: path)
      let mapping = try MappedFile(path: path)
      try settle(path)
      mapping.release(0..<10_000)
      try #require(unsafe truncate(path, 5000) == 0)
      for range in [4000..<6000, 6000..<7000] {
        let error = #expect(throws: FileError.self) { _ = try self.read(range, of: file) }
        #expect(error?.code == EIO && error?.path == path)
      }
    }
  }
}
