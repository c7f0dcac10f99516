import Safetensors
import Storage
import TestSupport
import Testing

/// One malformed file or directory: what is written, and what the error must say.
struct Malformed {
  /// Files of the directory.
  var files: [(name: String, bytes: [UInt8])] = []
  /// Opens the directory as a checkpoint instead of `model.safetensors` as a file.
  var opensDirectory = false
  /// The file at fault; nil for the directory itself.
  var at: String? = "model.safetensors"
  var byteOffset: Int?
  var tensor: String?

  /// One file whose header is `json`. The fault is at the first place where `marker` stands in it.
  init(_ json: String, data: Int = 0, at marker: String, tensor: String? = nil) throws {
    files = [("model.safetensors", fileBytes(json, data: data))]
    byteOffset = 8 + (try #require(position(of: marker, in: json)))
    self.tensor = tensor
  }

  init(bytes: [UInt8], byteOffset: Int?) {
    files = [("model.safetensors", bytes)]
    self.byteOffset = byteOffset
  }

  /// A directory with an index; the fault is in the index at `marker`.
  init(index: String, _ shards: [(String, [UInt8])], at marker: String?, tensor: String? = nil) throws {
    files = [(Checkpoint.indexName, Array(index.utf8))] + shards
    opensDirectory = true
    at = Checkpoint.indexName
    self.tensor = tensor
    byteOffset = marker.flatMap { position(of: $0, in: index) }
  }
}

/// The first place of a text in another, in bytes.
func position(of wanted: String, in text: String) -> Int? {
  let (bytes, wanted) = (Array(text.utf8), Array(wanted.utf8))
  return bytes.indices.first { bytes[$0...].starts(with: wanted) }
}

@Suite struct RuleTests {
  private let shard = fileBytes("{\(entry("a", "I8", "[4]", 0, 4))}", data: 4)
  private let otherShard = fileBytes("{\(entry("b", "I8", "[4]", 0, 4))}", data: 4)

  private func malformed(_ rule: SafetensorsRule) throws -> Malformed {
    let a = entry("a", "I8", "[4]", 0, 4)
    switch rule {
    case .system:
      var missing = Malformed(bytes: [], byteOffset: nil)
      missing.files = []
      return missing
    case .fileTooShort: return Malformed(bytes: [1, 2, 3, 4, 5, 6, 7], byteOffset: 0)
    case .headerTooLong: return Malformed(bytes: [0, 0, 0, 0, 0, 0, 0, 0x80, 0x7B], byteOffset: 0)
    case .headerOutsideFile: return Malformed(bytes: [3, 0, 0, 0, 0, 0, 0, 0, 0x7B, 0x7D], byteOffset: 0)
    case .headerNotJSON: return try Malformed("{\(a),\"a\" :1}", data: 4, at: "\"a\" :")
    case .headerNotObject: return try Malformed(" {\(a)}", data: 4, at: " {")
    case .metadataNotText: return try Malformed(#"{"__metadata__":{"a":"b","format":1}}"#, at: "\"format")
    case .ambiguousName:
      let (first, second) = (entry("\u{E9}", "I8", "[4]", 0, 4), entry("e\u{301}", "I8", "[4]", 4, 8))
      return try Malformed("{\(first),\(second)}", data: 8, at: "\"e\u{301}", tensor: "e\u{301}")
    case .entryNotObject: return try Malformed(#"{"a":[1]}"#, at: "\"a", tensor: "a")
    case .missingField: return try Malformed(#"{"a":{"dtype":"I8","shape":[]}}"#, at: "\"a", tensor: "a")
    case .unknownField:
      let json = #"{"a":{"dtype":"I8","shape":[],"data_offsets":[0,1],"x":0}}"#
      return try Malformed(json, data: 1, at: "\"x", tensor: "a")
    case .fieldKind: return try Malformed("{\(entry("a", "I8", "[4.0]", 0, 4))}", data: 4, at: "\"shape", tensor: "a")
    case .rankTooHigh:
      let json = "{\(entry("a", "I8", "[1,1,1,1,1,1,1,1,1]", 0, 1))}"
      return try Malformed(json, data: 1, at: "\"shape", tensor: "a")
    case .shapeOverflow:
      // Fits as a count of elements, not as a count of bytes.
      return try Malformed("{\(entry("a", "F32", "[4611686018427387904]", 0, 0))}", at: "\"shape", tensor: "a")
    case .offsetsReversed:
      return try Malformed("{\(entry("a", "I8", "[4]", 4, 0))}", data: 4, at: "\"data_", tensor: "a")
    case .dataOutsideFile: return try Malformed("{\(a)}", data: 3, at: "\"a", tensor: "a")
    case .lengthMismatch:
      return try Malformed("{\(entry("a", "I16", "[4]", 0, 4))}", data: 4, at: "\"data_", tensor: "a")
    case .overlap: return try Malformed("{\(a),\(entry("b", "I8", "[4]", 3, 7))}", data: 7, at: "\"b", tensor: "b")
    case .hole: return try Malformed("{\(a),\(entry("b", "I8", "[4]", 5, 9))}", data: 9, at: "\"b", tensor: "b")
    case .trailingBytes:
      let bytes = fileBytes("{\(a)}", data: 5)
      return Malformed(bytes: bytes, byteOffset: bytes.count - 1)
    default: return try malformedDirectory(rule)
    }
  }

  private func malformedDirectory(_ rule: SafetensorsRule) throws -> Malformed {
    let shards = [("x-00000", shard), ("x-00001", otherShard)]
    let good = #""a":"x-00000","b":"x-00001""#
    switch rule {
    case .noCheckpoint, .twoCheckpoints:
      var empty = try Malformed(index: "{\"weight_map\":{\(good)}}", shards + [("model.safetensors", shard)], at: nil)
      if rule == .noCheckpoint { empty.files = [("config.json", [])] }
      empty.at = nil
      return empty
    case .indexNotJSON: return try Malformed(index: "{\"weight_map\":{\(good),}}", shards, at: "}}")
    case .indexMalformed: return try Malformed(index: #"{"weight_map":{"a":7}}"#, shards, at: "\"a", tensor: "a")
    case .shardName:
      return try Malformed(index: #"{"weight_map":{"a":"../x-00000"}}"#, shards, at: "\"a", tensor: "a")
    case .shardMissing:
      return try Malformed(index: #"{"weight_map":{"a":"x-00000","b":"y"}}"#, shards, at: "\"b", tensor: "b")
    case .tensorNotInShard:
      let index = #"{"weight_map":{"a":"x-00000","b":"x-00001","c":"x-00001"}}"#
      return try Malformed(index: index, shards, at: "\"c", tensor: "c")
    case .tensorNotInIndex:
      let both = fileBytes("{\(entry("b", "I8", "[4]", 0, 4)),\(entry("c", "I8", "[4]", 4, 8))}", data: 8)
      var extra = try Malformed(
        index: "{\"weight_map\":{\(good)}}", [shards[0], ("x-00001", both)], at: nil, tensor: "c")
      extra.at = "x-00001"
      extra.byteOffset = both.firstIndex(of: UInt8(ascii: "c")).map { $0 - 1 }
      return extra
    case .tensorInTwoShards:
      let both = fileBytes("{\(entry("a", "I8", "[4]", 0, 4)),\(entry("b", "I8", "[4]", 4, 8))}", data: 8)
      var twice = try Malformed(
        index: "{\"weight_map\":{\(good)}}", [shards[0], ("x-00001", both)], at: nil, tensor: "a")
      twice.at = "x-00001"
      twice.byteOffset = 9
      return twice
    case .fileTooLarge:
      var large = try Malformed(index: "", shards, at: nil)
      large.files[0].bytes = [UInt8](repeating: 0x20, count: Checkpoint.maximumSmallFileByteCount + 1)
      return large
    case .gguf:
      var early = Malformed(bytes: [], byteOffset: 4)
      early.files = [("x.gguf", GGUF(version: 1).bytes)]
      early.opensDirectory = true
      early.at = "x.gguf"
      return early
    default: throw TestFailure("no malformed file for the rule \(rule)")
    }
  }

  @Test("each rule refuses its file, with the rule, the file and the byte", arguments: SafetensorsRule.allCases)
  func eachRuleRefuses(rule: SafetensorsRule) throws {
    let malformed = try malformed(rule)
    try withTemporaryDirectory { directory in
      for file in malformed.files { try write(file.bytes, to: "\(directory)/\(file.name)") }
      let error = try #require(refusal(malformed, in: directory))
      #expect(error.rule == rule)
      #expect(error.path == directory + (malformed.at.map { "/" + $0 } ?? ""))
      #expect(error.byteOffset == malformed.byteOffset)
      #expect(error.tensor == malformed.tensor)
      #expect(!error.message.isEmpty && !error.message.hasSuffix("."))
    }
  }

  private func refusal(_ malformed: Malformed, in directory: String) -> SafetensorsError? {
    do throws(SafetensorsError) {
      if malformed.opensDirectory {
        _ = try Checkpoint(directory: directory)
      } else {
        _ = try SafetensorsFile(path: "\(directory)/model.safetensors")
      }
      return nil
    } catch {
      return error
    }
  }
}
