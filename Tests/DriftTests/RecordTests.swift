import Decoding
import Drift
import JSON
import Safetensors
import Storage
import Tensors
import TestSupport
import Testing

@Suite struct RecordTests {
  @Test(
    "what is written is read, bit for bit",
    arguments: [(40, 8), (4096, 256), (4097, 257)])
  func roundTrip(vocabulary: Int, experts: Int) throws {
    try withTemporaryDirectory { directory in
      let path = directory + "/a.record"
      let record = RecordSamples.record(vocabulary: vocabulary, experts: experts)
      try record.write(to: path, replaces: false, tool: "1")
      #expect(DriftRecord.isRecord(path))
      #expect(try DriftRecord(path: path) == record)
      let file = try SafetensorsFile(path: path)
      #expect((file["masked.tokens"] != nil) == (vocabulary > 4096))
      #expect(file["masked.routes.1.experts"]?.dtype == (experts > 256 ? .i32 : .u8))

      let again = directory + "/b.record"
      try record.write(to: again, replaces: false, tool: "1")
      #expect(try contents(of: path) == contents(of: again))
      #expect(throws: SafetensorsError.self) { try record.write(to: path, replaces: false, tool: "1") }
      try record.write(to: path, replaces: true, tool: "1")
    }
  }

  @Test func partsMayBeAbsent() throws {
    try withTemporaryDirectory { directory in
      let path = directory + "/a.record"
      var record = RecordSamples.record()
      record.trajectories = nil
      record.floor = nil
      record.options.decoding = .init()
      record.options.decoding.blockLength = 4
      record.model.bitsPerWeight = nil
      try record.write(to: path, replaces: true, tool: "1")
      #expect(try DriftRecord(path: path) == record)
      record = RecordSamples.record()
      record.scores = nil
      record.options.decoding = .speed21
      record.texts = []
      record.pairs = []
      try record.write(to: path, replaces: true, tool: "1")
      #expect(try DriftRecord(path: path) == record)
    }
  }

  /// The error of a file, or nil where it is read.
  private func problem(_ path: String) -> RecordError? {
    do throws(RecordError) { _ = try DriftRecord(path: path) } catch { return error }
    return nil
  }

  @Test func everyBitCounts() throws {
    try withTemporaryDirectory { directory in
      let path = directory + "/a.record"
      let record = RecordSamples.record()
      try record.write(to: path, replaces: true, tool: "1")
      let bytes = try contents(of: path)
      let headerEnd = try SafetensorsFile(path: path).headerByteCount
      let places = Array(0..<headerEnd) + Array(stride(from: headerEnd, to: bytes.count, by: 5))
      for place in places {
        var damaged = bytes
        damaged[place] ^= 1 << UInt8(place % 8)
        try write(damaged, to: path)
        if problem(path) != nil { continue }
        // Spaces behind the header may become other white space.
        let found = try DriftRecord(path: path)
        #expect(place < headerEnd && found == record, "byte \(place)")
      }
    }
  }

  @Test func aFileCutShortIsRefused() throws {
    try withTemporaryDirectory { directory in
      let path = directory + "/a.record"
      try RecordSamples.record().write(to: path, replaces: true, tool: "1")
      let bytes = try contents(of: path)
      for count in Array(stride(from: 0, to: bytes.count, by: 211)) + [bytes.count - 1] {
        try write(Array(bytes[..<count]), to: path)
        #expect(problem(path) != nil, "\(count) bytes")
        #expect(DriftRecord.isRecord(path) == (count >= 46), "\(count) bytes")
      }
      try write(bytes + [0], to: path)
      #expect(problem(path) != nil)
    }
  }

  @Test func otherVersionsAreNamed() throws {
    try withTemporaryDirectory { directory in
      let path = directory + "/a.record"
      try RecordSamples.record().write(to: path, replaces: true, tool: "1")
      let bytes = try contents(of: path)
      let key = Array(#""ingot.drift_record":""#.utf8)
      let place = try #require(bytes.indices.first { bytes[$0...].starts(with: key) })
      var newer = bytes
      newer[place + key.count] = UInt8(ascii: "3")
      try write(newer, to: path)
      #expect(problem(path) == .version("3", path: path))
    }
  }

  /// The sample as version 1 had it: rounded logarithms, and nothing on the computation.
  @Test func recordsOfVersionOneAreRead() throws {
    try withTemporaryDirectory { directory in
      let path = directory + "/a.record"
      var record = RecordSamples.record()
      try record.write(to: path, replaces: true, tool: "1")
      var parts = try RecordParts(path: path)
      parts.tensors.removeAll { $0.description.name.hasSuffix("log_normalizer") }
      for index in parts.tensors.indices where parts.tensors[index].description.name.hasSuffix("logits") {
        let old = parts.tensors[index].description
        let name = old.name.replacing("logits", with: "log_probabilities")
        parts.tensors[index].description = TensorDescription(name: name, dtype: old.dtype, shape: old.shape)
      }
      parts.document = replacing(parts.document, "schema", "ingot.drift-record/1")
      try parts.write(to: path, version: 1)
      record.model.computation = nil
      record.options.isRaw = nil
      let (scored, along) = (record.scores?.rows ?? [], record.trajectories?.rows ?? [])
      record.scores?.rows = scored.map(rounded)
      record.trajectories?.rows = along.map(rounded)
      #expect(try DriftRecord(path: path) == record)
      // Neither version has the other's tensors.
      try parts.write(to: path)
      #expect(problem(path) != nil)
    }
  }

  private func rounded(_ row: ReferenceRow) -> ReferenceRow {
    var row = row
    row.logNormalizer = nil
    return row
  }

  private func replacing(_ document: JSONValue, _ key: String, _ value: JSONValue) -> JSONValue {
    var object = JSONObject()
    for member in document.object?.members ?? [] {
      object.append(.init(key: member.key, value: member.key == key ? value : member.value))
    }
    return .object(object)
  }

  @Test func anotherComputationIsNamed() throws {
    let own = try #require(RecordSamples.record().model.computation)
    var other = own
    #expect(own.difference(to: other) == nil)
    other.ropeTheta = 10_000
    #expect(own.difference(to: other) == "rope_theta: 600000.0 and 10000.0")
    other = own
    other.expertCapacity = nil
    #expect(own.difference(to: other) == "expert_capacity: 7 and null")
  }

  @Test func otherFilesAreNoRecords() throws {
    try withTemporaryDirectory { directory in
      #expect(!DriftRecord.isRecord(directory) && !DriftRecord.isRecord(directory + "/none"))
      try SafetensorsWriter.write([], to: directory + "/a")
      #expect(!DriftRecord.isRecord(directory + "/a"))
      guard case .broken = problem(directory + "/a") else {
        Issue.record("\(String(describing: problem(directory + "/a")))")
        return
      }
      guard case .file = problem(directory + "/none") else { throw TestFailure("no such file") }
    }
  }

  @Test func randomBytesAreRefused() throws {
    try withTemporaryDirectory { directory in
      let path = directory + "/a"
      var random = SeededRandom(seed: 3)
      for _ in 0..<300 {
        var bytes = (0..<Int(random.next() % 3000)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        if bytes.count > 9, random.next() % 2 == 0 {
          bytes.replaceSubrange(0..<9, with: [UInt8(bytes.count / 256), 1, 0, 0, 0, 0, 0, 0, UInt8(ascii: "{")])
        }
        try write(bytes, to: path)
        #expect(problem(path) != nil)
      }
    }
  }
}
