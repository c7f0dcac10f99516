import JSON
import Pack
import Storage
import Tensors
import TestSupport
import Testing

/// What `Tools/reference/read_pack.py list` printed of a pack, compared with what our reader says field by field.
struct GoldenListing {
  private let object: JSONObject

  init(_ object: JSONObject) { self.object = object }

  func compare(with pack: PackFile) throws {
    let header = try #require(object["header"]?.object)
    expect(
      header,
      [
        "required_features": JSONValue(pack.header.requiredFeatures), "file_length": JSONValue(pack.header.fileLength),
        "tables_offset": JSONValue(pack.header.tablesOffset), "tables_length": JSONValue(pack.header.tablesLength),
        "tables_hash": hash(pack.header.tablesHash), "chunk_count": JSONValue(pack.header.chunkCount),
        "tensor_count": JSONValue(pack.header.tensorCount), "file_count": JSONValue(pack.header.fileCount),
        "strings_length": JSONValue(pack.header.stringsLength), "root_hash": hash(pack.header.rootHash),
      ])
    for (index, record) in try records("chunks", pack.header.chunkCount).enumerated() {
      expect(record, fields(of: try pack.chunk(index)))
    }
    for (index, record) in try records("tensors", pack.header.tensorCount).enumerated() {
      let tensor = try pack.tensor(index)
      expect(record, fields(of: tensor))
      let errors = [record["relative_rmse"]?.double, record["saturated_share"]?.double]
      #expect(errors.map { $0.map(Float.init) } == [tensor.relativeRMSE, tensor.saturatedShare])
    }
    let files = try pack.files
    for (file, record) in zip(files, try records("files", files.count)) {
      expect(record, ["name": .string(file.name), "chunk": JSONValue(file.chunk)])
    }
  }

  private func fields(of chunk: ChunkRecord) -> [String: JSONValue] {
    [
      "offset": JSONValue(chunk.offset), "stored_length": JSONValue(chunk.storedLength),
      "content_length": JSONValue(chunk.contentLength), "tail_offset": JSONValue(chunk.tailOffset),
      "stored_hash": hash(chunk.storedHash), "content_hash": hash(chunk.contentHash), "owner": JSONValue(chunk.owner),
      "kind": JSONValue(Int(chunk.kind.rawValue)), "codec": JSONValue(Int(chunk.codec.rawValue)),
      "layer": JSONValue(chunk.layer), "expert": JSONValue(chunk.expert),
    ]
  }

  private func fields(of tensor: TensorRecord) -> [String: JSONValue] {
    [
      "name": .string(tensor.name), "encoding_name": .string(tensor.encoding?.description ?? ""),
      "group_size": JSONValue(Int(tensor.groupSize)),
      "dimensions": .array(tensor.shape.dimensions.map { JSONValue($0) }),
      "first_chunk": JSONValue(tensor.firstChunk), "chunk_count": JSONValue(tensor.chunkCount),
      "source_encoding": JSONValue(Int(tensor.sourceEncoding.kind.id)),
      "rows_per_chunk": JSONValue(tensor.rowsPerChunk), "plane_0_offset": JSONValue(tensor.planeOffsets[0]),
      "plane_1_offset": JSONValue(tensor.planeOffsets[1]),
    ]
  }

  private func records(_ key: String, _ count: Int) throws -> [JSONObject] {
    let records = try #require(object[key]?.array).compactMap(\.object)
    #expect(records.count == count)
    return records
  }

  private func hash(_ value: UInt64) -> JSONValue { .string(XXH3.text(value)) }

  private func expect(_ record: JSONObject, _ fields: [String: JSONValue]) {
    for (key, value) in fields { #expect(record[key] == value, "\(key) of \(record["name"]?.string ?? "a record")") }
  }
}
