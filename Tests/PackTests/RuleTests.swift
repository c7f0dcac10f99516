import Pack
import Storage
import Tensors
import TestSupport
import Testing

@Suite struct PackRuleTests {
  private static let raw = try? TinyPack.bytes(.none)
  private static let zstd = try? TinyPack.bytes(.zstd)

  @Test func theSmallPacksBreakNoRule() throws {
    try withTemporaryDirectory { directory in
      for bytes in [try #require(Self.raw), try #require(Self.zstd)] {
        #expect(try violations(bytes, in: directory) == [])
        #expect(try tablesRefusal(directory + "/checked.ingot") == nil)
        #expect(readEverything(directory + "/checked.ingot") > 10_000)
      }
    }
  }

  @Test("every rule has a pack that breaks it", arguments: PackRule.allCases)
  func everyRuleHasACase(rule: PackRule) {
    #expect(MalformedPack.all.contains { $0.rule == rule }, "no malformed pack for rule \(rule.rawValue)")
  }

  @Test("a pack that breaks one rule is refused for that rule alone", arguments: MalformedPack.all)
  func oneRuleIsReported(malformed: MalformedPack) throws {
    var pack = PackBytes(try #require(malformed.isZstd ? Self.zstd : Self.raw))
    let place = try malformed.attack(&pack)
    try withTemporaryDirectory { directory in
      let found = try violations(pack.bytes, in: directory)
      let rules = Set(found.map(\.rule))
      #expect(rules == [malformed.rule], "\(found)")
      for violation in found {
        let range = try #require(violation.byteRange, "no place: \(violation)")
        #expect(place.map { range.contains($0) } ?? true, "\(violation) is not at \(place ?? 0)")
        #expect(range.upperBound <= max(pack.bytes.count, 256), "\(violation)")
      }
      try expectRefusals(of: malformed, directory + "/checked.ingot")
    }
  }

  private func expectRefusals(of malformed: MalformedPack, _ path: String) throws {
    let opening = try openingRefusal(path)
    #expect((opening?.rule == malformed.rule) == (malformed.refusedBy == .opening), "\(String(describing: opening))")
    if opening == nil {
      let tables = try tablesRefusal(path)
      #expect((tables?.rule == malformed.rule) == (malformed.refusedBy == .tables), "\(String(describing: tables))")
    }
    readEverything(path)
  }

  @Test func anUnknownEncodingIsListedAndNotDecoded() throws {
    var pack = PackBytes(try #require(Self.raw))
    pack.set(UInt16(99), at: pack.tensorRecord(5) + 6)
    pack.set(UInt16(PackHeader.writerVersion) + 1, at: 10)
    pack.sealTables()
    try withTemporaryDirectory { directory in
      #expect(try violations(pack.bytes, in: directory) == [])
      let file = try PackFile(path: directory + "/checked.ingot")
      try file.verifyTables()
      let tensor = try file.tensor(named: "q.weight")
      #expect(tensor.encoding == nil && tensor.encodingID == 99 && tensor.groupSize == 32)
      let error = PackError.unknownEncoding(id: 99, groupSize: 32, tensor: "q.weight", path: file.path)
      #expect(throws: error) { try file.planes(of: tensor, chunk: 0) }
    }
  }

  @Test func whatIsNewerButCompatibleIsRead() throws {
    var pack = PackBytes(try #require(Self.raw))
    pack.set(UInt16(9), at: 10)
    pack.set(UInt64.max, at: 24)
    pack.sealHeader()
    try withTemporaryDirectory { directory in
      let found = try violations(pack.bytes, in: directory)
      #expect(found == [])
      let header = try PackFile(path: directory + "/checked.ingot").header
      #expect(header.writeVersion == 9)
    }
  }

  @Test("a pack is of the version that its newest encoding needs", arguments: Encoding.all)
  func version(encoding: Encoding) throws {
    let plan = try PackPlan([.tensor(TinyPack.tensor("a", [4, 128], encoding))], files: TinyPack.files)
    try withTemporaryDirectory { directory in
      let header = try TinyPack.write(plan, TinyPack.contents(plan, seed: 1), to: directory + "/a.ingot")
      #expect(header.writeVersion == encoding.kind.version)
      #expect(try PackFile(path: directory + "/a.ingot").header.writeVersion == header.writeVersion)
    }
  }

  @Test("bases out of their range are found", arguments: ["int4-g16s8", "int8-g64s8"], [0, 109, 136, 255])
  func bases(name: String, base: UInt8) throws {
    let plan = try PackPlan(
      [.tensor(TinyPack.tensor("a", [300, 128], TinyPack.encoding(name)))], files: TinyPack.files)
    try withTemporaryDirectory { directory in
      try TinyPack.write(plan, TinyPack.contents(plan, seed: 1), to: directory + "/a.ingot")
      let whole = PackBytes(try contents(of: directory + "/a.ingot"))
      #expect(try violations(whole.bytes, in: directory) == [])
      let scales = plan.chunks[0].layout.planes[0][1]
      for row in [0, 1, 299] {
        var pack = whole
        pack.bytes[pack.chunkRange(0).lowerBound + scales.lowerBound + row * scales.count / 300] = base
        pack.seal()
        let found = try violations(pack.bytes, in: directory)
        #expect(found.map(\.rule) == [.scales], "row \(row): \(found)")
      }
    }
  }
}
