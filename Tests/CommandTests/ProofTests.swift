import JSON
import TestSupport
import Testing

/// Hashes in the tables of a pack tell what its bytes should be; what is called equal has been hashed.
@Suite struct ProofTests {
  private func withPack(_ options: [String] = [], _ body: (PackBytes, String) throws -> Void) throws {
    try withTemporaryDirectory { directory in
      let packed = try ingot(["quantize", pico, "-o", "good.ingot", "-q"] + options, in: directory)
      #expect(packed.code == 0, "\(packed.err)")
      try body(PackBytes(try contents(of: directory + "/good.ingot")), directory)
    }
  }

  private func expert(_ pack: PackBytes) throws -> Int {
    try #require((0..<pack.chunkCount).first { pack.bytes[pack.chunkRecord($0) + 52] == 1 })
  }

  /// The chunk of an embedded file.
  private func file(_ name: String, _ pack: PackBytes) throws -> Int {
    for index in 0..<pack.fileCount {
      let record = pack.fileRecord(index)
      let start = pack.strings + Int(pack.integer(at: record, as: UInt32.self))
      let length = Int(pack.integer(at: record + 4, as: UInt16.self))
      if pack.bytes[start..<start + length].elementsEqual(name.utf8) {
        return Int(pack.integer(at: record + 8, as: UInt32.self))
      }
    }
    throw TestFailure("the pack has no \(name)")
  }

  private func expectRefused(_ arguments: [String], rule: Int, in directory: String) throws {
    let result = try ingot(arguments, in: directory)
    #expect(result.code == 4 && !result.out.contains("the same"), "\(arguments): \(result)")
    #expect(result.err.contains("rule \(rule) is broken"), "\(arguments): \(result.err)")
  }

  @Test("a damaged copy is not the same", arguments: [[], ["--compress", "zstd"]])
  func damagedCopy(options: [String]) throws {
    try withPack(options) { pack, directory in
      let same = try ingot(["inspect", "good.ingot", "--diff", "good.ingot"], in: directory)
      #expect(same.code == 0 && same.out.contains("the same, 189 tensors compared"), "\(same)")
      var flipped = pack
      flipped.bytes[pack.chunkRange(try expert(pack)).lowerBound + 40] ^= 0x10
      try write(flipped.bytes, to: directory + "/flipped.ingot")
      let weights = ["--level", "weights", "-q"]
      for (first, second) in [("good.ingot", "flipped.ingot"), ("flipped.ingot", "good.ingot")] {
        try expectRefused(["inspect", first, "--diff", second], rule: 17, in: directory)
        try expectRefused(["verify", first, "-r", second] + weights, rule: 17, in: directory)
      }
      try expectRefused(["inspect", pico, "--diff", "flipped.ingot"], rule: 17, in: directory)
      // Nothing is attached to what is not the pack that it says it is, and nothing is measured first.
      try expectRefused(
        ["verify", "flipped.ingot", "-r", pico, "--level", "masked", "--limit", "1", "--attach"], rule: 17,
        in: directory)
      #expect(try contents(of: directory + "/flipped.ingot") == flipped.bytes)
    }
  }

  @Test func aWrongBitInAnEmbeddedFileIsNotTheSame() throws {
    try withPack { pack, directory in
      var flipped = pack
      flipped.bytes[pack.chunkRange(try file("source/tokenizer.json", pack)).lowerBound + 40] ^= 1
      try write(flipped.bytes, to: directory + "/flipped.ingot")
      try expectRefused(["inspect", "good.ingot", "--diff", "flipped.ingot"], rule: 17, in: directory)
    }
  }

  /// The bytes were changed and their hash with them, but not that of the content.
  @Test func aRawRecordWithTwoHashesIsRefusedByAll() throws {
    try withPack { pack, directory in
      var stale = pack
      let chunk = try expert(pack)
      stale.bytes[pack.chunkRange(chunk).lowerBound + 40] ^= 0x10
      stale.set(stale.hash(pack.chunkRange(chunk)), at: pack.chunkRecord(chunk) + 32)
      stale.sealTables()
      try write(stale.bytes, to: directory + "/stale.ingot")
      for arguments in [
        ["inspect", "stale.ingot"], ["inspect", "good.ingot", "--diff", "stale.ingot"],
        ["inspect", "stale.ingot", "--diff", "good.ingot"], ["run", "stale.ingot", "-p", "Hello"],
        ["verify", "stale.ingot", "-r", "good.ingot", "--level", "weights"],
      ] {
        try expectRefused(arguments, rule: 34, in: directory)
      }
      let check = try ingot(["inspect", "stale.ingot", "--check"], in: directory)
      #expect(check.code == 4 && check.out.contains("34"), "\(check)")
    }
  }

  @Test(
    "a provenance or a configuration that is no JSON object is said to be none",
    arguments: ["provenance.json", "source/config.json"], ["not JSON at all. ", #"{"tool": "a", "tool": "b"}"#, "[]"])
  func requiredFiles(name: String, text: String) throws {
    try withPack { pack, directory in
      var changed = pack
      let range = pack.chunkRange(try file(name, pack))
      let padded = Array(text.utf8) + [UInt8](repeating: 0x20, count: range.count)
      changed.bytes.replaceSubrange(range, with: padded.prefix(range.count))
      changed.seal()
      try write(changed.bytes, to: directory + "/changed.ingot")
      try expectRefused(["inspect", "changed.ingot"], rule: 33, in: directory)
      try expectRefused(["inspect", "changed.ingot", "--json"], rule: 33, in: directory)
      try expectRefused(["inspect", "good.ingot", "--diff", "changed.ingot"], rule: 33, in: directory)
      let check = try ingot(["inspect", "changed.ingot", "--check"], in: directory)
      #expect(check.code == 4 && check.out.contains("33"), "\(check)")
    }
  }

  @Test func whatCannotBeReadOfACheckpointIsNotTheSame() throws {
    try withTemporaryDirectory { directory in
      for (name, text) in [("a", "{1"), ("b", "{2")] {
        try linkPico(to: "\(directory)/\(name)") { _ in text }
      }
      let diff = try ingot(["inspect", "a", "--diff", "b"], in: directory)
      #expect(diff.code == 1 && diff.out.contains("metadata differs"), "\(diff)")
    }
  }
}
