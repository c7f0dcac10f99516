package import JSON
package import Storage
package import Tensors

/// An open pack. Opening maps the file and reads its 256-byte header; everything else is looked up in place when asked.
package final class PackFile: Sendable {
  package let header: PackHeader
  package let mapping: MappedFile
  package var path: String { mapping.path }

  /// - Throws: ``PackError/system(_:)``, or ``PackError/broken(_:path:)`` with a rule among 1–9.
  package init(path: String) throws(PackError) {
    let mapping: MappedFile
    do { mapping = try MappedFile(path: path) } catch { throw .system(error) }
    self.mapping = mapping
    do throws(PackViolation) {
      header = try PackHeader(reading: mapping.bytes, actualLength: mapping.byteCount)
    } catch { throw .broken(error, path: path) }
  }

  package var tables: PackTables {
    @_lifetime(borrow self)
    get {
      let mapping = mapping  // a view may outlive the access to a property, not the object
      let bytes = mapping.bytes.extracting(header.tablesOffset..<header.fileLength)
      return unsafe _overrideLifetime(PackTables(header: header, bytes: bytes, path: path), borrowing: self)
    }
  }

  /// Reads all the tables: their hash and every rule that needs no content.
  ///
  /// - Throws: the first broken rule.
  package func verifyTables() throws(PackError) {
    let mapping = mapping
    let computed = XXH3.hash(mapping.bytes.extracting(header.tablesOffset..<header.fileLength))
    var first: PackViolation?
    if computed != header.tablesHash { first = tablesViolation(header, computed: computed) }
    _ = tables.verifyStructure { first = first ?? $0 }
    if let first { throw .broken(first, path: path) }
  }

  package func chunk(_ index: Int) throws(PackError) -> ChunkRecord {
    do throws(PackViolation) { return try tables.chunk(index) } catch { throw .broken(error, path: path) }
  }

  /// All chunks, in the order of the file.
  package func chunks() throws(PackError) -> [ChunkRecord] {
    var chunks: [ChunkRecord] = []
    chunks.reserveCapacity(header.chunkCount)
    for index in 0..<header.chunkCount { chunks.append(try chunk(index)) }
    return chunks
  }

  package func tensor(_ index: Int) throws(PackError) -> TensorRecord {
    do throws(PackViolation) { return try tables.tensor(index) } catch { throw .broken(error, path: path) }
  }

  /// - Throws: ``PackError/notFound(_:path:)``.
  package func tensor(named name: String) throws(PackError) -> TensorRecord {
    do throws(PackViolation) {
      if let index = try tables.tensorIndex(named: name) { return try tables.tensor(index) }
    } catch { throw .broken(error, path: path) }
    throw .notFound(name, path: path)
  }

  package var files: [FileRecord] {
    get throws(PackError) {
      var files: [FileRecord] = []
      for index in 0..<header.fileCount {
        do throws(PackViolation) { files.append(try tables.file(index)) } catch { throw .broken(error, path: path) }
      }
      return files
    }
  }

  /// The bytes of an embedded file, its hash checked.
  ///
  /// - Throws: ``PackError/notFound(_:path:)``; rules 17–19 if the bytes were changed, 32 if they are too many.
  package func file(named name: String) throws(PackError) -> [UInt8] {
    guard let file = try files.first(where: { $0.name == name }) else { throw .notFound(name, path: path) }
    // Before anything is unpacked: a few kilobytes may say that they are a gigabyte.
    let record = try chunk(file.chunk)
    if let violation = file.sizeViolation(record, in: file.chunk) { throw .broken(violation, path: path) }
    let content = try content(ofChunk: file.chunk, codec: ChunkCodec(), verified: true)
    return content.bytes.array
  }

  /// An embedded file that must be a JSON object.
  ///
  /// - Throws: what ``file(named:)`` throws; rule 33.
  package func object(named name: String) throws(PackError) -> JSONObject {
    let bytes = try file(named: name)
    do throws(PackViolation) { return try requiredObject(bytes.bytes) } catch {
      throw .broken(PackViolation(error.rule, error.detail, in: "file `\(name)`"), path: path)
    }
  }

  /// The bytes of a chunk as they lie in the file.
  @_lifetime(borrow self)
  package func stored(_ chunk: ChunkRecord) -> RawSpan {
    let mapping = mapping
    return unsafe _overrideLifetime(mapping.bytes.extracting(chunk.byteRange), borrowing: self)
  }

  /// The content of a chunk: the mapping itself where it is raw, else decompressed.
  ///
  /// - Parameter verified: whether stored bytes and content are compared with their hashes.
  /// - Throws: rules 17 to 19, and what a broken record throws.
  package func content(
    ofChunk index: Int, codec: ChunkCodec, verified: Bool = false
  ) throws(PackError) -> SharedBytes {
    let record = try chunk(index)
    do throws(PackViolation) {
      let stored = stored(record)
      if verified { try checkStoredHash(stored, record) }
      if record.codec == .raw { return SharedBytes(mapping, record.byteRange) }
      try ChunkCodec.checkFrame(stored, record)
      var buffer = AlignedBuffer(byteCount: record.contentLength)
      var content = buffer.mutableBytes
      try codec.decode(stored, record, into: &content)
      if verified { try checkContentHash(buffer.bytes, record) }
      return SharedBytes(buffer)
    } catch { throw broken(error, record, index) }
  }

  /// The content of a chunk that is used once, compared with its hashes: read past the page cache, unless that holds it.
  ///
  /// - Parameters:
  ///   - file: of this pack.
  ///   - buffers: for stored bytes: of at least `ReadOnlyFile.bufferByteCount` of those.
  /// - Returns: bytes, and where among them the content is.
  /// - Throws: rules 17 to 19, and what reading throws.
  package func contentOnce(
    ofChunk index: Int, codec: ChunkCodec, through file: ReadOnlyFile, _ buffers: BufferPool
  ) throws(PackError) -> (bytes: SharedBytes, place: Range<Int>) {
    let record = try chunk(index)
    let (held, place): (SharedBytes, Range<Int>)
    do throws(FileError) { (held, place) = try file.held(record.byteRange, buffers) } catch { throw .system(error) }
    do throws(PackViolation) {
      let stored = held.bytes.extracting(place)
      try checkStoredHash(stored, record)
      if record.codec == .raw { return (held, place) }
      var content = AlignedBuffer(byteCount: record.contentLength)
      var target = content.mutableBytes
      try codec.decode(stored, record, into: &target)
      try checkContentHash(content.bytes, record)
      return (SharedBytes(content), 0..<record.contentLength)
    } catch { throw broken(error, record, index) }
  }

  /// Compares the stored bytes of a chunk with their hash.
  ///
  /// - Throws: rule 17, and what a broken record throws.
  package func verifyStored(chunk index: Int) throws(PackError) {
    let record = try chunk(index)
    do throws(PackViolation) { try checkStoredHash(stored(record), record) } catch {
      throw broken(error, record, index)
    }
  }

  private func broken(_ violation: PackViolation, _ record: ChunkRecord, _ index: Int) -> PackError {
    var subject = "chunk \(index)"
    if record.kind == .expert { subject += ", layer \(record.layer), expert \(record.expert)" }
    return .broken(PackViolation(violation.rule, violation.detail, at: record.byteRange, in: subject), path: path)
  }

  /// The planes of a tensor in the content of its chunk `position`.
  ///
  /// - Throws: ``PackError/unknownEncoding(id:groupSize:tensor:path:)``; rule 26.
  package func planes(of tensor: TensorRecord, chunk position: Int) throws(PackError) -> (Encoding, [Range<Int>]) {
    guard let encoding = tensor.encoding else {
      throw .unknownEncoding(id: tensor.encodingID, groupSize: tensor.groupSize, tensor: tensor.name, path: path)
    }
    let record = try chunk(tensor.firstChunk + position)
    do throws(PackViolation) {
      return (encoding, try tables.planes(of: tensor, encoding: encoding, position: position, in: record))
    } catch { throw .broken(error, path: path) }
  }
}

func checkStoredHash(_ stored: RawSpan, _ record: ChunkRecord) throws(PackViolation) {
  let computed = XXH3.hash(stored)
  guard computed == record.storedHash else {
    throw PackViolation(
      .storedHash, "stored hash \(XXH3.text(record.storedHash)), computed \(XXH3.text(computed))", at: record.byteRange)
  }
}

/// Rule 33 for the content of a file.
func requiredObject(_ content: RawSpan) throws(PackViolation) -> JSONObject {
  do throws(JSONError) {
    if let object = try JSONParser.parse(content, .settings).object { return object }
  } catch {
    throw PackViolation(.requiredFiles, "it is no JSON object: \(error.reason) at byte \(error.byteOffset) of it")
  }
  throw PackViolation(.requiredFiles, "it is no JSON object")
}

/// Rule 19; of a raw chunk rules 17 and 34 have said it.
func checkContentHash(_ content: RawSpan, _ record: ChunkRecord) throws(PackViolation) {
  guard record.codec == .zstd else { return }
  let computed = XXH3.hash(content)
  guard computed == record.contentHash else {
    throw PackViolation(
      .contentHash, "content hash \(XXH3.text(record.contentHash)), computed \(XXH3.text(computed))",
      at: record.byteRange)
  }
}

func tablesViolation(_ header: PackHeader, computed: UInt64) -> PackViolation {
  PackViolation(
    .tablesHash, "stored hash of the tables \(XXH3.text(header.tablesHash)), computed \(XXH3.text(computed))",
    at: header.tablesOffset..<header.fileLength)
}
