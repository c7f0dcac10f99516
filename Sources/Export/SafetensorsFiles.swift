import JSON
import Models
import Pack
import Safetensors
import Storage
import Tensors

/// Lays tensors out in safetensors files, as checkpoints have them.
enum SafetensorsFiles {
  /// Most bytes of tensors in a file where nobody says otherwise, as in published checkpoints.
  static let standardShardByteCount = 5_000_000_000

  /// - Parameters:
  ///   - groups: tensors in their order; those of a group stay in one file.
  ///   - format: what the metadata of each file says.
  ///   - parameterCount: for an index that tells it.
  /// - Returns: the files, and an index where they are several.
  static func plan(
    _ groups: [[OutputTensor<DType>]], format: String, _ options: ExportOptions, parameterCount: Int? = nil
  ) -> [PlannedFile] {
    let shards = split(groups, atMost: options.shardByteCount ?? standardShardByteCount)
    guard shards.count > 1 else { return [file(named: Checkpoint.singleName, shards.first ?? [], format)] }
    var names: [(tensor: String, file: String)] = []
    var files: [PlannedFile] = []
    for (number, shard) in shards.enumerated() {
      let name = "model-\(padded(number + 1))-of-\(padded(shards.count)).safetensors"
      files.append(file(named: name, shard, format))
      names += shard.map { ($0.name, name) }
    }
    return files + [index(files, names, parameterCount)]
  }

  /// Written line by line: a tree of all names would take many times their bytes.
  private static func index(
    _ files: [PlannedFile], _ names: [(tensor: String, file: String)], _ parameterCount: Int?
  ) -> PlannedFile {
    var text = ByteWriter(capacity: 128 * names.count + 256)
    text.append("{\n  \"metadata\": {\n")
    text.append("    \"total_size\": \(files.reduce(0) { $0 + $1.tensorByteCount })")
    if let parameterCount { text.append(",\n    \"total_parameters\": \(parameterCount)") }
    text.append("\n  },\n  \"weight_map\": {\n")
    let sorted = names.sorted { $0.tensor.utf8Precedes($1.tensor) }
    for (number, name) in sorted.enumerated() {
      let (key, value) = (JSONValue.string(name.tensor), JSONValue.string(name.file))
      text.append("    \(key.text()): \(value.text())" + (number == sorted.count - 1 ? "\n" : ",\n"))
    }
    text.append("  }\n}\n")
    return PlannedFile(name: Checkpoint.indexName, bytes: text.bytes)
  }

  /// Fills each file until the next group would go beyond the limit.
  static func split<Kind>(_ groups: [[OutputTensor<Kind>]], atMost limit: Int) -> [[OutputTensor<Kind>]] {
    var shards: [[OutputTensor<Kind>]] = []
    var byteCount = 0
    for group in groups {
      let own = group.reduce(0) { $0 + $1.byteCount }
      if shards.isEmpty || byteCount > 0 && byteCount + own > limit {
        shards.append([])
        byteCount = 0
      }
      shards[shards.count - 1] += group
      byteCount += own
    }
    return shards
  }

  static func padded(_ number: Int) -> String {
    let digits = "\(number)"
    return String(repeating: "0", count: max(0, 5 - digits.count)) + digits
  }

  static func object(_ members: [(key: String, value: JSONValue)]) -> JSONValue {
    var object = JSONObject()
    for (key, value) in members { object.append(.init(key: key, value: value)) }
    return .object(object)
  }

  private static func file(
    named name: String, _ tensors: [OutputTensor<DType>], _ format: String
  ) -> PlannedFile {
    // Weights stay in the order in which they are made. What is no multiple of eight bytes comes after all others, wide elements
    // first, so that every tensor is aligned without a gap.
    let ordered =
      tensors.filter { $0.byteCount % 8 == 0 }
      + tensors.filter { $0.byteCount % 8 != 0 }.sorted { $0.kind.byteCount > $1.kind.byteCount }
    let header = SafetensorsHeader.build(
      inOrder: ordered.map { tensor in
        guard let shape = Shape(tensor.dimensions) else { preconditionFailure("a shape made of a tensor's") }
        return TensorDescription(name: tensor.name, dtype: tensor.kind, shape: shape)
      }, metadata: [("format", format)])
    var end = header.count
    var pieces: [Piece] = []
    for tensor in ordered {
      pieces += tensor.pieces.map { $0.moved(by: end) }
      end += tensor.byteCount
    }
    return PlannedFile(
      name: name, byteCount: end, known: [(0, header)], pieces: pieces, tensorByteCount: end - header.count)
  }
}

extension ExportSource {
  /// What a checkpoint has beside its weights: `config.json` with changes, and the files that came with the model.
  func checkpointFiles(
    _ changes: [(key: String, value: JSONValue)]
  ) throws(ExportError) -> [PlannedFile] {
    var files = [PlannedFile(name: "config.json", bytes: try configuration(setting: changes))]
    for name in SourceFile.companions {
      if let bytes = try file(named: name) { files.append(PlannedFile(name: name, bytes: bytes)) }
    }
    return files
  }

  /// Tensors as published, in the order of the forward pass; those of an expert together.
  ///
  /// - Parameter matrix: the tensors that stand for a quantized one.
  func groups(
    quantized matrix: (Int) throws(ExportError) -> [OutputTensor<DType>]
  ) throws(ExportError) -> [[OutputTensor<DType>]] {
    var groups: [[OutputTensor<DType>]] = []
    var last: Int?
    for (index, tensor) in tensors.enumerated() {
      let own = encoding(index).isGrouped ? try matrix(index) : [plain(index)]
      let chunk = tensor.role == .expert ? tensor.record?.firstChunk : nil
      if let chunk, chunk == last { groups[groups.count - 1] += own } else { groups.append(own) }
      last = chunk
    }
    return groups
  }

  /// A tensor as it is stored.
  func plain(_ index: Int, named name: String? = nil) -> OutputTensor<DType> {
    guard let dtype = encoding(index).dtype else { preconditionFailure("a tensor of codes") }
    let tensor = tensors[index]
    return OutputTensor(
      name ?? tensor.name, dtype, tensor.shape.dimensions, index, StoredElements(byteWidth: dtype.byteCount),
      of: tensor.shape)
  }
}
