import Storage

/// Header and tables of a pack with another drift report, or without one. Every other chunk keeps its place, so nothing
/// else of the file changes.
struct AmendedTables {
  let header: PackHeader
  let bytes: [UInt8]
  /// Where the chunks end that stay.
  let keptEnd: Int
  /// The record of the new report.
  let report: ChunkRecord?

  /// - Parameter report: nil for the pack as it was before one was attached.
  /// - Throws: the first rule that the tables break; ``PackError/limit(_:)``.
  init(_ pack: PackFile, report: [UInt8]?) throws(PackError) {
    try pack.verifyTables()
    var chunks = try pack.chunks()
    var files = try pack.files
    let tables = pack.tables
    let names = tables.tensorNames(before: files)
    if let old = files.firstIndex(where: { $0.name == FileRecord.driftReport }) {
      files.remove(at: old)
      chunks.removeLast()  // rule 32
    }
    keptEnd = chunks.last?.byteRange.upperBound ?? PackHeader.byteCount
    if let report {
      files.append(FileRecord(name: FileRecord.driftReport, chunk: chunks.count))
      files.sort { $0.name.utf8Precedes($1.name) }
      chunks.append(Self.record(of: report, after: keptEnd))
    }
    // Files are sorted by name, so that one more moves the others along.
    for (index, file) in files.enumerated() { chunks[file.chunk].owner = index }
    self.report = report == nil ? nil : chunks.last

    var out = ByteWriter(capacity: pack.header.tablesLength + 192)
    for chunk in chunks { chunk.encode(to: &out) }
    out.append(tables.tensorRecords.array)
    var stringsLength = names.byteCount
    for file in files {
      file.encode(to: &out, nameOffset: stringsLength)
      stringsLength += file.name.utf8.count
    }
    out.append(names.array)
    for file in files { out.append(file.name) }
    out.align(PackLimits.alignment)
    guard chunks.count <= PackLimits.maximumChunks, files.count <= PackLimits.maximumFiles,
      stringsLength <= PackLimits.maximumStrings
    else { throw .limit("\(chunks.count) chunks, \(files.count) files, \(stringsLength) bytes of names are too many") }
    let bytes = out.bytes

    // Versions and optional features are the writer's and stay.
    var header = pack.header
    header.requiredFeatures = chunks.contains { $0.codec == .zstd } ? PackHeader.zstdFeature : 0
    header.tablesOffset = (chunks.last?.byteRange.upperBound ?? keptEnd).roundedUp(to: PackLimits.alignment)
    header.tablesHash = XXH3.hash(bytes.bytes)
    (header.chunkCount, header.fileCount, header.stringsLength) = (chunks.count, files.count, stringsLength)
    header.seal()
    (self.header, self.bytes) = (header, bytes)
  }

  /// Never compressed: the same report gives the same bytes whatever the version of the zstd library, and a pack that
  /// needs no zstd goes on needing none.
  private static func record(of report: [UInt8], after end: Int) -> ChunkRecord {
    let hash = XXH3.hash(report.bytes)
    return ChunkRecord(
      offset: end.roundedUp(to: PackLimits.alignment), storedLength: report.count, contentLength: report.count,
      tailOffset: report.count, storedHash: hash, contentHash: hash, owner: 0, kind: .file, codec: .raw, layer: 0,
      expert: 0)
  }
}

extension PackFile {
  /// The header that the pack has without its drift report: the root hash in it is what the report calls the pack. Its own
  /// header where there is no report.
  ///
  /// - Throws: with a report the first rule that the tables break, else what ``files`` throws.
  package var headerWithoutReport: PackHeader {
    get throws(PackError) {
      let hasReport = try files.contains { $0.name == FileRecord.driftReport }
      return hasReport ? try AmendedTables(self, report: nil).header : header
    }
  }
}
