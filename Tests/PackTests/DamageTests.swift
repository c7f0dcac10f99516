import Pack
import Storage
import TestSupport
import Testing

@Suite struct PackDamageTests {
  /// Lengths at which a copy is likely to stop, and those next to every part of the file.
  private func lengths(_ pack: PackBytes) -> Set<Int> {
    var edges: Set<Int> = [0, 1]
    let fields = [8, 10, 12, 16, 24, 32, 40, 48, 56, 64, 68, 72, 76, 80, 248, 256]
    var starts = fields + [pack.tablesOffset, pack.tensorRecord(0), pack.fileRecord(0), pack.strings]
    starts += [pack.strings + pack.stringsLength, pack.bytes.count]
    for index in 0..<pack.chunkCount {
      starts += [pack.chunkRecord(index), pack.chunkRange(index).lowerBound, pack.chunkRange(index).upperBound]
    }
    starts += (0..<pack.tensorCount).map(pack.tensorRecord) + (0..<pack.fileCount).map(pack.fileRecord)
    for start in starts { edges.formUnion([start - 1, start, start + 1]) }
    edges.formUnion(stride(from: 0, to: pack.bytes.count, by: 4096))
    return edges.filter { $0 < pack.bytes.count }
  }

  @Test("a file cut anywhere is refused, by opening and by the check", arguments: Compression.allCases)
  func truncation(compression: Compression) throws {
    let whole = PackBytes(try TinyPack.bytes(compression))
    let lengths = lengths(whole)
    #expect(lengths.count > 100)
    try withTemporaryDirectory { directory in
      for length in lengths {
        let expected = length < 256 ? PackRule.length : .fileLength
        let found = try violations(Array(whole.bytes[..<length]), in: directory)
        #expect(found.map(\.rule) == [expected], "cut to \(length) bytes")
        let opening = try openingRefusal(directory + "/checked.ingot")
        #expect(opening?.rule == expected, "cut to \(length) bytes")
      }
    }
  }

  @Test("a file with something behind it is refused", arguments: [1, 63, 64, 4096])
  func extension_(count: Int) throws {
    let bytes = try TinyPack.bytes() + [UInt8](repeating: 0, count: count)
    try withTemporaryDirectory { directory in
      let found = try violations(bytes, in: directory)
      let opening = try openingRefusal(directory + "/checked.ingot")
      #expect(found.map(\.rule) == [.fileLength] && opening?.rule == .fileLength)
    }
  }

  @Test("any single bit that flips is found, and reading goes on without a crash", arguments: Compression.allCases)
  func bitFlips(compression: Compression) throws {
    let bytes = try TinyPack.bytes(compression)
    print("bit flips (\(compression)): TEST_SEED=\(testSeed)")
    var random = SeededRandom(seed: testSeed)
    let count = (compression == .none ? 10_000 : 4_000) * (runsLongTests ? 5 : 1)
    let bits = (0..<count).map { _ in Int.random(in: 0..<8 * bytes.count, using: &random) }
    try withTemporaryDirectory { directory in
      let path = directory + "/flipped.ingot"
      try write(bytes, to: path)
      let file = try FileInPlace(path)
      for bit in bits {
        file.write(bytes[bit / 8] ^ (1 << UInt8(bit % 8)), at: bit / 8)
        let found = try PackCheck(path: path).run(threads: 1).violations
        #expect(!found.isEmpty, "bit \(bit % 8) of byte \(bit / 8) flipped unseen")
        readEverything(path)
        file.write(bytes[bit / 8], at: bit / 8)
      }
      let healed = try PackCheck(path: path).run(threads: 2).violations
      #expect(healed == [])
    }
  }

  /// A value that arithmetic on offsets likes least, or any.
  private func value(_ random: inout SeededRandom, _ pack: PackBytes) -> UInt64 {
    switch random.next() % 8 {
    case 0: 0
    case 1: UInt64.max - random.next() % 128
    case 2: UInt64(pack.bytes.count) &+ random.next() % 129 &- 64
    case 3: 1 << (random.next() % 64)
    case 4: (1 << (random.next() % 64)) &- 1
    case 5: random.next() % 64
    case 6: 64 * (random.next() % 512)
    default: random.next()
    }
  }

  private func mutate(_ pack: inout PackBytes, _ random: inout SeededRandom) {
    for _ in 0...random.next() % 4 {
      let tables = pack.tablesOffset..<pack.bytes.count - 8
      let value = value(&random, pack)
      let position = Int.random(in: tables, using: &random)
      switch random.next() % 5 {
      case 0: pack.set(UInt8(truncatingIfNeeded: value), at: position)
      case 1: pack.set(UInt16(truncatingIfNeeded: value), at: position & ~1)
      case 2: pack.set(UInt32(truncatingIfNeeded: value), at: position & ~3)
      case 3: pack.set(value, at: position & ~7)
      default:
        // A record copied over another keeps most fields plausible.
        let size = [64, 96, 16][Int(random.next() % 3)]
        let start = [pack.chunkRecord(0), pack.tensorRecord(0), pack.fileRecord(0)][size == 64 ? 0 : size == 96 ? 1 : 2]
        let count = size == 64 ? pack.chunkCount : size == 96 ? pack.tensorCount : pack.fileCount
        let (from, to) = (Int.random(in: 0..<count, using: &random), Int.random(in: 0..<count, using: &random))
        pack.bytes.replaceSubrange(
          start + to * size..<start + (to + 1) * size, with: pack.bytes[start + from * size..<start + (from + 1) * size]
        )
      }
    }
    pack.sealTables()
  }

  @Test("tables changed and sealed again are accepted or refused, never a crash", arguments: Compression.allCases)
  func sealedMutations(compression: Compression) throws {
    let whole = PackBytes(try TinyPack.bytes(compression))
    print("sealed mutations (\(compression)): TEST_SEED=\(testSeed)")
    var random = SeededRandom(seed: testSeed &+ 1)
    var refused = 0
    try withTemporaryDirectory { directory in
      for _ in 0..<(runsLongTests ? 20_000 : 2_000) {
        var pack = whole
        mutate(&pack, &random)
        let found = try violations(pack.bytes, in: directory)
        let path = directory + "/checked.ingot"
        if !found.isEmpty { refused += 1 }
        #expect(found.allSatisfy { !$0.detail.isEmpty && ($0.byteRange ?? 0..<0).upperBound <= pack.bytes.count })
        let tables = try tablesRefusal(path)
        #expect(tables == nil || !found.isEmpty, "verifyTables refuses what the check accepts")
        readEverything(path)
      }
    }
    #expect(refused > 1_000)
  }

  @Test func aSealedHeaderOfAnythingNeverCrashes() throws {
    let whole = PackBytes(try TinyPack.bytes())
    var random = SeededRandom(seed: testSeed &+ 2)
    try withTemporaryDirectory { directory in
      for _ in 0..<2_000 {
        var pack = whole
        for _ in 0...random.next() % 3 { pack.set(value(&random, pack), at: 16 + 8 * Int(random.next() % 8)) }
        pack.sealHeader()
        let found = try violations(pack.bytes, in: directory)
        let opening = try openingRefusal(directory + "/checked.ingot")
        #expect(opening == nil || found == [opening])
        readEverything(directory + "/checked.ingot")
      }
    }
  }
}
