import Storage
import Tensors

/// Places the chunks of a plan one after the other and makes header and tables from them. Pure arithmetic: what a writer
/// writes and what a dry run counts come from here.
package struct PackAssembler: Sendable {
  /// Error of one tensor against its source (`Formats/encodings.md` §10).
  package struct TensorErrors: Sendable {
    package var relativeRMSE: Float = 0
    package var saturatedShare: Float = 0
    package init(relativeRMSE: Float = 0, saturatedShare: Float = 0) {
      self.relativeRMSE = relativeRMSE
      self.saturatedShare = saturatedShare
    }
  }

  package let plan: PackPlan
  /// Chunks of tensors in the plan's order, then one for each file.
  package private(set) var records: [ChunkRecord] = []
  /// By tensor of the plan: its place in the sorted table.
  private let sortedPosition: [Int]
  private let sortedTensors: [Int]
  private let sortedFiles: [Int]

  package init(plan: PackPlan) {
    self.plan = plan
    sortedTensors = plan.tensors.indices.sorted { plan.tensors[$0].name.utf8Precedes(plan.tensors[$1].name) }
    sortedFiles = plan.files.indices.sorted { plan.files[$0].name.utf8Precedes(plan.files[$1].name) }
    var positions = [Int](repeating: 0, count: plan.tensors.count)
    for (position, tensor) in sortedTensors.enumerated() { positions[tensor] = position }
    sortedPosition = positions
  }

  /// All chunks there will be, files included.
  package var chunkTotal: Int { plan.chunks.count + plan.files.count }

  /// Gives the next chunk its place; returns it.
  @discardableResult
  package mutating func place(_ chunk: EncodedChunk) -> ChunkRecord {
    place(
      storedLength: chunk.storedLength, contentLength: chunk.contentLength, tailOffset: chunk.tailOffset,
      codec: chunk.codec, storedHash: chunk.storedHash, contentHash: chunk.contentHash)
  }

  /// The same of a chunk whose bytes are elsewhere.
  @discardableResult
  package mutating func place(
    storedLength: Int, contentLength: Int, tailOffset: Int, codec: ChunkRecord.Codec, storedHash: UInt64,
    contentHash: UInt64
  ) -> ChunkRecord {
    let index = records.count
    var record = ChunkRecord(
      offset: 0, storedLength: storedLength, contentLength: contentLength, tailOffset: tailOffset,
      storedHash: storedHash, contentHash: contentHash, owner: 0, kind: .file, codec: codec, layer: 0, expert: 0)
    if index < plan.chunks.count {
      let chunk = plan.chunks[index]
      (record.kind, record.layer, record.expert) = (chunk.kind, chunk.layer, chunk.expert)
      record.owner = chunk.tensors.map { sortedPosition[$0] }.min() ?? 0
    } else {
      record.owner = sortedFiles.firstIndex(of: index - plan.chunks.count) ?? 0
    }
    record.offset = end.roundedUp(to: record.alignment)
    records.append(record)
    return record
  }

  /// Places the next chunk as if stored raw; for dry runs, its hashes are 0.
  package mutating func placeRaw() {
    let index = records.count
    let isFile = index >= plan.chunks.count
    let length = isFile ? plan.files[index - plan.chunks.count].bytes.count : plan.chunks[index].layout.byteCount
    let tail = isFile ? length : plan.chunks[index].layout.tailOffset
    place(storedLength: length, contentLength: length, tailOffset: tail, codec: .raw, storedHash: 0, contentHash: 0)
  }

  /// Where the last chunk ends that has a place.
  package var end: Int { records.last?.byteRange.upperBound ?? PackHeader.byteCount }

  package var tablesOffset: Int { end.roundedUp(to: PackLimits.alignment) }

  /// Bytes of the whole file.
  ///
  /// - Precondition: all chunks are placed.
  package var byteCount: Int {
    header(
      tablesHash: 0,
      stringsLength: (plan.tensors.map(\.name) + plan.files.map(\.name)).reduce(0) { $0 + $1.utf8.count }
    ).fileLength
  }

  private func header(tablesHash: UInt64, stringsLength: Int) -> PackHeader {
    precondition(records.count == chunkTotal)
    return PackHeader(
      writeVersion: plan.tensors.map(\.encoding.kind.version).max() ?? PackHeader.version,
      requiredFeatures: records.contains { $0.codec == .zstd } ? PackHeader.zstdFeature : 0,
      tablesOffset: tablesOffset, tablesHash: tablesHash, chunkCount: records.count, tensorCount: plan.tensors.count,
      fileCount: plan.files.count, stringsLength: stringsLength)
  }

  /// Header and tables.
  ///
  /// - Parameter errors: by tensor of the plan.
  /// - Precondition: all chunks are placed.
  package func assemble(errors: [TensorErrors]) -> (header: PackHeader, tables: [UInt8]) {
    precondition(errors.count == plan.tensors.count)
    var strings = ByteWriter()
    var out = ByteWriter(capacity: 64 * records.count + 192 * plan.tensors.count)
    for record in records { record.encode(to: &out) }
    for index in sortedTensors {
      let tensor = plan.tensors[index]
      let placement = plan.placements[index]
      TensorRecord(
        name: tensor.name, encoding: tensor.encoding, shape: tensor.shape, firstChunk: placement.firstChunk,
        chunkCount: placement.chunkCount, relativeRMSE: errors[index].relativeRMSE,
        saturatedShare: errors[index].saturatedShare, sourceEncoding: tensor.sourceEncoding,
        rowsPerChunk: placement.rowsPerChunk, planeOffsets: placement.planeOffsets
      ).encode(to: &out, nameOffset: strings.bytes.count)
      strings.append(tensor.name)
    }
    for index in sortedFiles {
      FileRecord(name: plan.files[index].name, chunk: plan.chunks.count + index)
        .encode(to: &out, nameOffset: strings.bytes.count)
      strings.append(plan.files[index].name)
    }
    let stringsLength = strings.bytes.count
    out.append(strings.bytes)
    out.align(PackLimits.alignment)
    return (header(tablesHash: XXH3.hash(out.bytes.bytes), stringsLength: stringsLength), out.bytes)
  }
}

extension String {
  /// Order by UTF-8 bytes, which is the order of the tables.
  package func utf8Precedes(_ other: String) -> Bool { utf8.lexicographicallyPrecedes(other.utf8) }
}
