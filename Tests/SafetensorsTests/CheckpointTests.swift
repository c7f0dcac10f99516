import Glibc
import Safetensors
import Storage
import Tensors
import TestSupport
import Testing

@Suite struct CheckpointTests {
  /// Two shards of 4 and 6 bytes, numbered from nowhere in particular.
  private func writeShards(in directory: String, index: String?) throws {
    try writeShard([("a", 1), ("b", 3)], to: directory + "/one.safetensors")
    try writeShard([("c", 6)], to: directory + "/two.safetensors")
    if let index { try write(Array(index.utf8), to: "\(directory)/\(Checkpoint.indexName)") }
  }

  private static let map = #""a":"one.safetensors","b":"one.safetensors","c":"two.safetensors""#

  private func refusal(index: String) throws -> SafetensorsError? {
    try withTemporaryDirectory { directory in
      try writeShards(in: directory, index: index)
      return refusal(directory)
    }
  }

  private func refusal(_ directory: String) -> SafetensorsError? {
    do throws(SafetensorsError) {
      _ = try Checkpoint(directory: directory)
      return nil
    } catch {
      return error
    }
  }

  @Test(
    "shards of any name open through the index",
    arguments: ["{\"weight_map\":{\(map)}}", "{\"metadata\":{\"total_size\":10.0},\"x\":1,\"weight_map\":{\(map)}}"])
  func shardsOpen(index: String) throws {
    try withTemporaryDirectory { directory in
      try writeShards(in: directory, index: index)
      let checkpoint = try Checkpoint(directory: directory)
      #expect(checkpoint.files.map(\.name) == ["one.safetensors", "two.safetensors"])
      #expect(checkpoint.tensorNames == ["a", "b", "c"])
      #expect(checkpoint.totalByteCount == 10)
      #expect(checkpoint.tensor(named: "c")?.file.name == "two.safetensors")
      #expect(checkpoint.tensor(named: "b")?.entry.byteRange.count == 3)
      #expect(checkpoint.tensor(named: "d") == nil)
    }
  }

  @Test(
    "an index that says something else is refused",
    arguments: [
      ("[]", SafetensorsRule.indexMalformed), ("{}", .indexMalformed), (#"{"weight_map":[]}"#, .indexMalformed),
      (#"{"weight_map":{}}"#, .indexMalformed), (#"{"weight_map":{"a":null}}"#, .indexMalformed), ("", .indexNotJSON),
      (#"{"weight_map":{"a":"x","a":"x"}}"#, .indexNotJSON), (#"{"weight_map":{"a":""}}"#, .shardName),
      (#"{"weight_map":{"a":".."}}"#, .shardName), (#"{"weight_map":{"a":"/etc/passwd"}}"#, .shardName),
      (#"{"weight_map":{"a":"d/one.safetensors"}}"#, .shardName), (#"{"weight_map":{"a":"one\u0000"}}"#, .shardName),
      (#"{"weight_map":{"a":"three.safetensors"}}"#, .shardMissing),
      (#"{"weight_map":{"a":"one.safetensors"}}"#, .tensorNotInIndex),
      (#"{"weight_map":{"a":"two.safetensors","b":"one.safetensors"}}"#, .tensorNotInShard),
      ("{\"weight_map\":{\(map),\"d\":\"two.safetensors\"}}", .tensorNotInShard),
    ])
  func indexErrors(index: String, rule: SafetensorsRule) throws {
    let error = try #require(try refusal(index: index))
    #expect(error.rule == rule)
  }

  @Test func aWrongSumIsToldWhereverTheConfigurationLies() throws {
    try withTemporaryDirectory { directory in
      try writeShards(in: directory, index: "{\"metadata\":{\"total_size\":1},\"weight_map\":{\(Self.map)}}")
      #expect(try Checkpoint(path: directory, companions: "/elsewhere").wrongTotalSize?.stated == "1")
    }
  }

  @Test func aTensorInTheWrongShardIsFound() throws {
    let error = try refusal(index: #"{"weight_map":{"a":"two.safetensors","b":"one.safetensors"}}"#)
    #expect(error?.reason == .tensorNotInShard(shard: "two.safetensors", foundIn: "one.safetensors"))
    #expect(error?.tensor == "a")
  }

  @Test func aDirectoryNeedsExactlyOneKindOfCheckpoint() throws {
    try withTemporaryDirectory { directory in
      #expect(refusal(directory)?.rule == .noCheckpoint)
      #expect(refusal(directory + "/none")?.reason == .system(FileError("open", directory + "/none", code: ENOENT)))
      try writeShards(in: directory, index: nil)
      #expect(refusal(directory)?.rule == .noCheckpoint)
      try writeShard([("a", 4)], to: directory + "/model.safetensors")
      #expect(try Checkpoint(directory: directory).tensorNames == ["a"])
      try writeShards(in: directory, index: "{\"weight_map\":{\(Self.map)}}")
      #expect(refusal(directory)?.rule == .twoCheckpoints)
      try writeShards(in: directory, index: #"{"weight_map":{"a":"model.safetensors"}}"#)
      #expect(try Checkpoint(directory: directory).files.map(\.name) == ["model.safetensors"])
    }
  }

  @Test func oneFileIsACheckpoint() throws {
    try withTemporaryDirectory { directory in
      try writeShards(in: directory, index: nil)
      let checkpoint = try Checkpoint(path: directory + "/two.safetensors")
      #expect(checkpoint.directory == directory)
      #expect(checkpoint.tensorNames == ["c"])
      #expect(checkpoint.totalByteCount == 6)
    }
  }

  @Test func smallFilesAreReadAndLargeOnesRefused() throws {
    try withTemporaryDirectory { directory in
      try writeShard([("a", 4)], to: directory + "/model.safetensors")
      try write([1, 2, 3], to: directory + "/config.json")
      let checkpoint = try Checkpoint(directory: directory)
      #expect(try checkpoint.readSmallFile(name: "config.json") == [1, 2, 3])
      #expect(readError(checkpoint, "config.json", limit: 2)?.reason == .fileTooLarge(byteCount: 3, limit: 2))
      #expect(readError(checkpoint, "../config.json")?.rule == .shardName)
      #expect(readError(checkpoint, "none")?.reason == .system(FileError("open", directory + "/none", code: ENOENT)))
    }
  }

  private func readError(_ checkpoint: Checkpoint, _ name: String, limit: Int = 100) -> SafetensorsError? {
    do throws(SafetensorsError) {
      _ = try checkpoint.readSmallFile(name: name, limit: limit)
      return nil
    } catch {
      return error
    }
  }

  private static let shared = ["pico", "nano"].map { "\(sharedDirectory)/checkpoints/\($0)" }

  @Test(
    "checkpoints made elsewhere open, and our writer gives the same headers",
    .enabled(if: shared.allSatisfy { exists($0) }), arguments: shared)
  func madeElsewhere(directory: String) throws {
    let checkpoint = try Checkpoint(directory: directory)
    #expect(checkpoint.tensor(named: "lm_head.weight")?.entry.shape.dimensions.count == 2)
    #expect(try !checkpoint.readSmallFile(name: "config.json").isEmpty)
    for file in checkpoint.files {
      let tensors = file.tensors.map { TensorDescription(name: $0.name, dtype: $0.dtype, shape: $0.shape) }
      #expect(file.header.array == SafetensorsHeader.build(tensors: tensors))
    }
  }
}
