import JSON
import Storage

/// `model.safetensors.index.json`: which tensor is in which shard, as its writer says.
struct CheckpointIndex {
  private let path: String
  /// Tensor name, shard and where the line stands, in the order of the index.
  private let lines: [(tensor: String, shard: String, byteOffset: Int)]
  /// What `total_size` says, as it is written; nil where there is none.
  private let totalSize: (value: JSONValue, byteOffset: Int)?
  /// The shards, sorted.
  let shardNames: [String]

  init(path: String) throws(SafetensorsError) {
    let file = try Checkpoint.mapSmallFile(path, limit: Checkpoint.maximumSmallFileByteCount)
    let document: JSONValue
    do throws(JSONError) {
      document = try JSONParser.parse(file.bytes)
    } catch {
      throw SafetensorsError(.indexNotJSON(problem: error.reason), path: path, byteOffset: error.byteOffset)
    }
    guard let weightMap = document.object?.member("weight_map"), let map = weightMap.value.object else {
      throw SafetensorsError(.indexMalformed(problem: "the index has no object `weight_map`"), path: path)
    }
    guard !map.members.isEmpty else {
      throw SafetensorsError(
        .indexMalformed(problem: "`weight_map` is empty"), path: path, byteOffset: weightMap.byteOffset)
    }
    var lines: [(tensor: String, shard: String, byteOffset: Int)] = []
    lines.reserveCapacity(map.members.count)
    for member in map.members {
      guard let shard = member.value.string else {
        throw SafetensorsError(
          .indexMalformed(problem: "`weight_map` gives \(member.value.kind), not a file name"), path: path,
          tensor: member.key, byteOffset: member.byteOffset)
      }
      guard Checkpoint.isPlainFileName(shard), !shard.hasSuffix(Checkpoint.ggufSuffix) else {
        throw SafetensorsError(.shardName(shard), path: path, tensor: member.key, byteOffset: member.byteOffset)
      }
      lines.append((member.key, shard, member.byteOffset))
    }
    self.path = path
    self.lines = lines
    totalSize = document.object?["metadata"]?.object?.member("total_size").map { ($0.value, $0.byteOffset) }
    shardNames = Set(lines.map(\.shard)).sorted()
  }

  /// What `total_size` says where that is not the sum of the tensors. Nobody goes by the number, and scripts that repair an
  /// index write the sizes of the files, 0 or null.
  func wrongTotalSize(found: Int) -> Checkpoint.WrongTotalSize? {
    // Some writers add up floats and write `32511296512.0`.
    guard let (value, byteOffset) = totalSize, (value.int ?? value.double.flatMap { Int(exactly: $0) }) != found else {
      return nil
    }
    return .init(stated: value.text(indented: false), found: found, path: path, byteOffset: byteOffset)
  }

  func openShards(in directory: String) throws(SafetensorsError) -> [SafetensorsFile] {
    var files: [SafetensorsFile] = []
    for name in shardNames {
      do throws(SafetensorsError) {
        files.append(try SafetensorsFile(path: "\(directory)/\(name)"))
      } catch {
        guard case .system(let cause) = error.reason else { throw error }
        if cause.isTooManyOpen {
          throw SafetensorsError(.descriptors(cause, needed: 2 * shardNames.count + 64), path: error.path)
        }
        guard cause.isMissing else { throw error }
        let line = lines.first { $0.shard == name }
        throw SafetensorsError(.shardMissing(name), path: path, tensor: line?.tensor, byteOffset: line?.byteOffset)
      }
    }
    return files
  }

  /// Index and shards say the same, in both directions.
  func requireAgreement(with checkpoint: Checkpoint) throws(SafetensorsError) {
    var named: Set<String> = []
    named.reserveCapacity(lines.count)
    for line in lines {
      // Two spellings of an accent are one name to Swift; the second could hide a tensor of the first.
      guard named.insert(line.tensor).inserted else {
        throw SafetensorsError(
          .ambiguousName(line.tensor), path: path, tensor: line.tensor, byteOffset: line.byteOffset)
      }
      let found = checkpoint.tensor(named: line.tensor)?.file.name
      guard found == line.shard else {
        throw SafetensorsError(
          .tensorNotInShard(shard: line.shard, foundIn: found), path: path, tensor: line.tensor,
          byteOffset: line.byteOffset)
      }
    }
    for file in checkpoint.files {
      for tensor in file.tensors where !named.contains(tensor.name) {
        throw SafetensorsError(
          .tensorNotInIndex, path: file.path, tensor: tensor.name, byteOffset: tensor.headerOffset)
      }
    }
  }
}
