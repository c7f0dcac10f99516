import Inspection
import JSON
import Pack
import Storage
import Tensors
import TestSupport
import Testing

/// The drift report in a pack, as `inspect` and `verify` see it.
@Suite struct AttachedReportTests {
  private let vector = RawTensor(name: "v", shape: shape(1), encoding: .f32, planes: [floatBytes([1])])

  /// A pack with this report, its root hash from before put where `HASH` stands.
  private func withReport(_ report: String, _ body: (_ path: String) throws -> Void) throws {
    try withTemporaryDirectory { directory in
      let path = directory + "/t.ingot"
      try writePack([vector], to: path)
      let amendment = try PackAmendment(path: path)
      try amendment.attach(Array(report.replacing("HASH", with: XXH3.text(amendment.rootHash)).utf8))
      try body(path)
    }
  }

  @Test func aReportAboutThisPackIsKnownAsSuch() throws {
    try withReport(#"{"schema": "ingot.drift/1", "candidate": {"hash": "HASH"}}"#) { path in
      let report = try #require(try InspectedModel(path: path).report)
      #expect(report.isAboutThisPack && report.problem == nil)
      #expect(report.document?["schema"] == "ingot.drift/1")
    }
  }

  @Test(
    "a report about another file, or about none, is not this pack's",
    arguments: [
      #"{"schema": "ingot.drift/1", "candidate": {"hash": "0123456789abcdef"}}"#, #"{"schema": "ingot.drift/1"}"#,
      #"{"schema": "ingot.drift/1", "candidate": ["HASH"]}"#, #"{"schema": "ingot.drift/1", "candidate": {"hash": 1}}"#,
    ])
  func another(text: String) throws {
    try withReport(text) { path in
      let report = try #require(try InspectedModel(path: path).report)
      #expect(!report.isAboutThisPack && report.problem == nil && report.document != nil)
    }
  }

  @Test(
    "what is no report of ours has a problem and no other effect",
    arguments: [
      ("no JSON", false), ("[1]", false), ("{\"a\": 1, \"a\": 2}", false), ("\u{0}", false),
      (String(repeating: "[", count: 100_000), false),
    ])
  func unreadable(text: String, isObject: Bool) throws {
    try withReport(text) { path in
      let model = try InspectedModel(path: path)
      let report = try #require(model.report)
      #expect(report.problem != nil && (report.document != nil) == isObject)
      #expect(model.tensors.count == 1)
    }
  }

  @Test func aDamagedReportDoesNotHideThePack() throws {
    try withReport(#"{"schema": "ingot.drift/1"}"#) { path in
      let pack = try PackFile(path: path)
      let place = try pack.chunk(pack.header.chunkCount - 1).offset
      var bytes = try contents(of: path)
      bytes[place + 3] ^= 1
      try write(bytes, to: path)
      let report = try #require(try InspectedModel(path: path).report)
      #expect(report.document == nil && report.problem?.contains("rule 17") == true)
    }
  }

  @Test func theIdentityOfAPackIsThatWithoutItsReport() throws {
    try withTemporaryDirectory { directory in
      let path = directory + "/t.ingot"
      try writePack([vector], to: path)
      let before = ModelIdentity(try InspectedModel(path: path))
      try PackAmendment(path: path).attach(Array("{}".utf8))
      let model = try InspectedModel(path: path)
      let after = ModelIdentity(model)
      #expect(after.hash == before.hash && after.byteCount == before.byteCount)
      #expect(after.bitsPerWeight == before.bitsPerWeight)
      #expect(model.header?.rootHash != before.hash && model.fileByteCount > before.byteCount)
    }
  }

  @Test func aReportIsADifferenceBetweenPacksAndNoneToACheckpoint() throws {
    try withTemporaryDirectory { directory in
      let (plain, measured) = (directory + "/plain.ingot", directory + "/measured.ingot")
      for path in [plain, measured] { try writePack([vector], to: path) }
      try PackAmendment(path: measured).attach(Array("{}".utf8))
      let (first, second) = (try InspectedModel(path: plain), try InspectedModel(path: measured))
      let packs = try ModelDiff(first, second, threads: 1, kernels: kernels)
      #expect(packs.metadata.files == ["drift-report.json"])
      try writeFloats([("v", shape(1), [1])], to: directory + "/model.safetensors")
      let source = try InspectedModel(path: directory + "/model.safetensors")
      let checkpoint = try ModelDiff(source, second, threads: 1, kernels: kernels)
      #expect(checkpoint.metadata.files == [])
    }
  }
}
