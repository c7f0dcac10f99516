import Inspection
import JSON
import Models
import Pack
import Safetensors
import Storage
import Tensors

extension InspectReport {
  /// Schema `ingot.inspect/1`: `Formats/inspect.md`.
  var json: JSONDocument {
    let files = model.files.map { file -> JSONValue in
      [
        "name": .string(file.name), "bytes": JSONValue(file.byteCount), "chunk": JSONValue(file.chunk),
        "hash": .string(XXH3.text(file.contentHash)),
      ]
    }
    let shards = model.shards.map { shard -> JSONValue in
      [
        "name": .string(shard.name), "bytes": JSONValue(shard.file.byteCount),
        "header_bytes": JSONValue(shard.headerByteCount), "tensors": JSONValue(shard.tensors.count),
      ]
    }
    return JSONDocument([
      ("schema", .value("ingot.inspect/1")), ("file", .value(fileJSON)), ("model", .value(modelJSON)),
      ("quant", .value(quantJSON)), ("classes", .value(.array(sizes.classes.map(json)))),
      ("tensors", .elements(count: model.tensors.count) { json(model.tensors[$0]) }),
      ("chunks", .elements(count: model.chunks.count) { json(model.chunks[$0]) }),
      ("files", .value(.array(files))), ("shards", .value(.array(shards))),
      ("notes", .value(.array(model.notes.map { .string($0.text) }))),
      ("provenance", .value(model.provenance ?? .null)),
      ("drift_report", .value(model.report?.document.map { .object($0) } ?? .null)),
      ("drift_report_problem", .value(model.report?.reading.problem.map { .string($0) } ?? .null)),
    ])
  }

  private var fileJSON: JSONValue {
    [
      "path": .string(model.path),
      "bytes": JSONValue(sizes.fileByteCount),
      "format": .string(model.kind.rawValue),
      "version": model.header.map { JSONValue(Int($0.writeVersion)) } ?? .null,
      "root_hash": model.header.map { .string(XXH3.text($0.rootHash)) } ?? .null,
      "root_hash_without_report": model.headerWithoutReport.map { .string(XXH3.text($0.rootHash)) } ?? .null,
    ]
  }

  private var modelJSON: JSONValue {
    let description = model.description
    func number(_ value: Int?) -> JSONValue { value.map { JSONValue($0) } ?? .null }
    return [
      "architecture": description.modelType.map { .string($0) } ?? .null,
      "supported": .bool(description.isSupported),
      "layout": (model.published?.layout?.name).map { .string($0) } ?? .null,
      "layers": number(description.layerCount),
      "dense_layers": number(description.denseLayerCount),
      "hidden_size": number(description.hiddenSize),
      "vocabulary_size": number(description.vocabularySize),
      "experts": number(description.expertCount),
      "experts_per_token": number(description.expertsPerToken),
      "parameters": JSONValue(sizes.parameterCount),
      "expert_parameters": JSONValue(sizes.experts?.parameterCount ?? 0),
    ]
  }

  private var quantJSON: JSONValue {
    let types = sizes.experts?.types ?? []
    let only = types.count == 1 ? types[0] : nil
    return [
      "scheme": only.map { .string("\($0)") } ?? .null,
      "group": only.map { JSONValue($0.encoding?.groupSize ?? 0) } ?? .null,
      "bpw_total": sizes.bitsPerWeight.map { JSONValue($0) } ?? .null,
      "bpw_experts": sizes.expertBitsPerWeight.map { JSONValue($0) } ?? .null,
    ]
  }

  private func json(_ part: SizeClass) -> JSONValue {
    [
      "class": .string(part.name),
      "tensors": JSONValue(part.tensorCount),
      "parameters": JSONValue(part.parameterCount),
      "encodings": .array(part.types.map { .string("\($0)") }),
      "bytes": JSONValue(part.byteCount),
      "bpw": part.bitsPerWeight.map { JSONValue($0) } ?? .null,
    ]
  }

  private func json(_ tensor: StoredTensor) -> JSONValue {
    var offset: JSONValue = .null
    var file: JSONValue = .null
    var chunks: [JSONValue] = []
    var hash: JSONValue = .null
    switch tensor.place {
    case .bytes(let index, let range), .fp8(let index, let range, _):
      offset = JSONValue(range.lowerBound)
      file = .string(model.shards[index].name)
    case .packed(let index, let codes):
      offset = JSONValue(codes.codes.entry.byteRange.lowerBound)
      file = .string(model.shards[index].name)
    case .chunks(let record):
      let own = model.chunks[record.chunks]
      if own[record.firstChunk].codec == .raw, tensor.type.encoding != nil {
        offset = JSONValue(own[record.firstChunk].offset + record.planeOffsets[0])
      }
      chunks = [JSONValue(record.firstChunk), JSONValue(record.chunkCount)]
      hash = .string(XXH3.text(Self.hash(own)))
    }
    return [
      "name": .string(tensor.name),
      "class": (tensor.role?.rawValue).map { .string($0) } ?? "other",
      "encoding": .string("\(tensor.type)"),
      "group": JSONValue(tensor.type.encoding?.groupSize ?? 0),
      "shape": .array(tensor.shape.dimensions.map { JSONValue($0) }),
      "file": file,
      "data_offset": offset,
      "bytes": tensor.byteCount.map { JSONValue($0) } ?? .null,
      "chunks": .array(chunks),
      "hash": hash,
      "relative_rmse": tensor.relativeRMSE.map { JSONValue($0) } ?? .null,
      "saturated_share": tensor.saturatedShare.map { JSONValue($0) } ?? .null,
      "solution": solutions?.json(tensor) ?? .null,
    ]
  }

  /// Names the contents of all chunks a tensor lies in.
  private static func hash(_ chunks: ArraySlice<ChunkRecord>) -> UInt64 {
    if chunks.count == 1, let only = chunks.first { return only.contentHash }
    var hashes = ByteWriter(capacity: 8 * chunks.count)
    for chunk in chunks { hashes.append(chunk.contentHash) }
    let bytes = hashes.bytes
    return XXH3.hash(unsafe bytes.span.bytes)
  }

  private func json(_ chunk: ChunkRecord) -> JSONValue {
    let isExpert = chunk.kind == .expert
    return [
      "offset": JSONValue(chunk.offset),
      "bytes": JSONValue(chunk.storedLength),
      "content_bytes": JSONValue(chunk.contentLength),
      "kind": .string("\(chunk.kind)"),
      "codec": .string("\(chunk.codec)"),
      "layer": isExpert ? JSONValue(chunk.layer) : .null,
      "expert": isExpert ? JSONValue(chunk.expert) : .null,
      "owner": .string(ownerName(chunk)),
      "stored_hash": .string(XXH3.text(chunk.storedHash)),
      "hash": .string(XXH3.text(chunk.contentHash)),
    ]
  }

  private func ownerName(_ chunk: ChunkRecord) -> String {
    if chunk.kind == .file { return model.files[chunk.owner].name }
    return model.tensors[chunk.owner].name
  }
}
