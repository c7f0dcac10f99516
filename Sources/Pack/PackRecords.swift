import Storage
package import Tensors

/// Where a chunk lies, what it holds and its hashes (`Formats/pack.md` §4.1).
package struct ChunkRecord: Sendable, Equatable {
  package static let byteCount = 64

  package enum Kind: UInt8, Sendable { case rows = 0, expert, file }
  package enum Codec: UInt8, Sendable { case raw = 0, zstd }

  package var offset: Int
  package var storedLength: Int
  package var contentLength: Int
  /// Where the 16-bit planes of the content start.
  package var tailOffset: Int
  package var storedHash: UInt64
  package var contentHash: UInt64
  /// The tensor (of an expert: its first) or file the chunk belongs to.
  package var owner: Int
  package var kind: Kind
  package var codec: Codec
  package var layer: Int
  package var expert: Int

  /// The multiple of which `offset` is the first free one.
  package var alignment: Int {
    kind == .expert && codec == .raw ? PackLimits.expertAlignment : PackLimits.alignment
  }

  package var byteRange: Range<Int> { offset..<offset + storedLength }

  func encode(to out: inout ByteWriter) {
    for value in [offset, storedLength, contentLength, tailOffset] { out.append(UInt64(value)) }
    out.append(storedHash)
    out.append(contentHash)
    out.append(UInt32(owner))
    out.append(kind.rawValue)
    out.append(codec.rawValue)
    out.append(UInt16(layer))
    out.append(UInt16(expert))
    out.zeros(6)
  }

  /// Reads the record and checks what can be seen in it alone: rules 11, 12, 15, 16, 34 and that it ends before `limit`.
  init(reading bytes: RawSpan, limit: Int) throws(PackViolation) {
    guard let kind = Kind(rawValue: bytes.integer(at: 52)), let codec = Codec(rawValue: bytes.integer(at: 53)),
      bytes.extracting(58..<64).isZero
    else { throw PackViolation(.chunkFields, "a field of the chunk record has a value it must not have") }
    self.kind = kind
    self.codec = codec
    storedHash = bytes.integer(at: 32)
    contentHash = bytes.integer(at: 40)
    owner = Int(bytes.integer(at: 48, as: UInt32.self))
    layer = Int(bytes.integer(at: 54, as: UInt16.self))
    expert = Int(bytes.integer(at: 56, as: UInt16.self))
    (offset, storedLength, contentLength, tailOffset) = (0, 0, 0, 0)

    let lengths: [UInt64] = [bytes.integer(at: 8), bytes.integer(at: 16)]
    let maximum = UInt64(PackLimits.maximumContent)
    guard lengths.allSatisfy({ (1...maximum).contains($0) }),
      codec == .raw
        ? lengths[0] == lengths[1] : lengths[0] <= lengths[1] && (lengths[1] - lengths[0]) * 32 >= lengths[1]
    else {
      throw PackViolation(.chunkLengths, "stored length \(lengths[0]), content length \(lengths[1]), codec \(codec)")
    }
    storedLength = Int(lengths[0])
    contentLength = Int(lengths[1])

    let tail: UInt64 = bytes.integer(at: 24)
    guard
      tail == lengths[1]
        || tail < lengths[1] && tail % UInt64(PackLimits.alignment) == 0 && (lengths[1] - tail) % 2 == 0
    else { throw PackViolation(.chunkTail, "16-bit planes at \(tail) of a content of \(lengths[1]) bytes") }
    tailOffset = Int(tail)

    let start: UInt64 = bytes.integer(at: 0)
    guard start % UInt64(alignment) == 0 else {
      throw PackViolation(.chunkAlignment, "starts at \(start), no multiple of \(alignment)")
    }
    guard start >= UInt64(PackHeader.byteCount), start <= UInt64(limit), UInt64(limit) - start >= lengths[0] else {
      throw PackViolation(.chunkOrder, "\(lengths[0]) bytes at \(start) lie outside the chunks of the file")
    }
    offset = Int(start)
    guard codec == .zstd || storedHash == contentHash else {
      throw PackViolation(
        .rawHashes,
        "a raw chunk has one hash, but its record has stored hash \(XXH3.text(storedHash)) and content hash "
          + XXH3.text(contentHash))
    }
  }

  init(
    offset: Int, storedLength: Int, contentLength: Int, tailOffset: Int, storedHash: UInt64, contentHash: UInt64,
    owner: Int, kind: Kind, codec: Codec, layer: Int, expert: Int
  ) {
    self.offset = offset
    self.storedLength = storedLength
    self.contentLength = contentLength
    self.tailOffset = tailOffset
    self.storedHash = storedHash
    self.contentHash = contentHash
    self.owner = owner
    self.kind = kind
    self.codec = codec
    self.layer = layer
    self.expert = expert
  }
}

/// One tensor: name, encoding, shape and where its planes are (`Formats/pack.md` §4.2).
package struct TensorRecord: Sendable, Equatable {
  package static let byteCount = 96

  package var name: String
  /// Nil for an encoding this version does not know: the tensor can be listed, not decoded.
  package var encoding: Encoding?
  package var encodingID: UInt16
  package var groupSize: UInt16
  package var shape: Shape
  package var firstChunk: Int
  package var chunkCount: Int
  /// Error against the source (`Formats/encodings.md` §10); 0 for plain encodings.
  package var relativeRMSE: Float
  package var saturatedShare: Float
  package var sourceEncoding: Encoding
  package var rowsPerChunk: Int
  package var planeOffsets: [Int]

  package var chunks: Range<Int> { firstChunk..<firstChunk + chunkCount }

  /// The rows that the tensor's chunk `position` (0 for its first) holds.
  package func rows(inChunk position: Int) -> Range<Int> {
    position * rowsPerChunk..<min(shape.rows, (position + 1) * rowsPerChunk)
  }

  func encode(to out: inout ByteWriter, nameOffset: Int) {
    out.append(UInt32(nameOffset))
    out.append(UInt16(name.utf8.count))
    out.append(encodingID)
    out.append(groupSize)
    out.append(UInt8(shape.dimensions.count))
    out.zeros(1)
    out.append(UInt32(firstChunk))
    out.append(UInt32(chunkCount))
    out.append(relativeRMSE)
    out.append(saturatedShare)
    out.append(sourceEncoding.kind.id)
    out.zeros(2)
    for axis in 0..<4 { out.append(axis < shape.dimensions.count ? UInt64(shape.dimensions[axis]) : 0) }
    out.append(UInt64(rowsPerChunk))
    for plane in 0..<2 { out.append(UInt64(plane < planeOffsets.count ? planeOffsets[plane] : 0)) }
    out.zeros(8)
  }

  init(
    name: String, encoding: Encoding, shape: Shape, firstChunk: Int, chunkCount: Int, relativeRMSE: Float,
    saturatedShare: Float, sourceEncoding: Encoding, rowsPerChunk: Int, planeOffsets: [Int]
  ) {
    self.name = name
    self.encoding = encoding
    encodingID = encoding.kind.id
    groupSize = UInt16(encoding.groupSize)
    self.shape = shape
    self.firstChunk = firstChunk
    self.chunkCount = chunkCount
    self.relativeRMSE = relativeRMSE
    self.saturatedShare = saturatedShare
    self.sourceEncoding = sourceEncoding
    self.rowsPerChunk = rowsPerChunk
    self.planeOffsets = planeOffsets
  }

  /// Reads the record and checks what can be seen in it alone: rules 20, 23, 24, 25 and 30.
  init(reading bytes: RawSpan, strings: RawSpan, chunkTotal: Int) throws(PackViolation) {
    let name = try packName(
      strings, offset: Int(bytes.integer(at: 0, as: UInt32.self)), length: Int(bytes.integer(at: 4, as: UInt16.self)),
      rule: .tensorName)
    self.name = name
    func broken(_ rule: PackRule, _ detail: String) -> PackViolation {
      PackViolation(rule, detail, in: "tensor `\(name)`")
    }
    let encodingID: UInt16 = bytes.integer(at: 6)
    let groupSize: UInt16 = bytes.integer(at: 8)
    let isKnown = Encoding.Kind.all.contains { $0.id == encodingID }
    let encoding = Encoding(id: encodingID, groupSize: Int(groupSize))
    (self.encodingID, self.groupSize, self.encoding) = (encodingID, groupSize, encoding)
    let source = Encoding(id: bytes.integer(at: 28), groupSize: 0)
    // An unknown kind may come from a newer writer; a known kind with a group size it cannot have is damage.
    guard !isKnown || encoding != nil, let source, encoding.map({ $0.isGrouped || $0 == source }) ?? true,
      bytes.integer(at: 11, as: UInt8.self) == 0,
      bytes.integer(at: 30, as: UInt16.self) == 0, bytes.integer(at: 88, as: UInt64.self) == 0
    else { throw broken(.tensorEncoding, "encoding \(encodingID) with group size \(groupSize), or a reserved byte") }
    sourceEncoding = source

    let rank = Int(bytes.integer(at: 10, as: UInt8.self))
    var dimensions: [Int] = []
    for axis in 0..<4 { dimensions.append(Int(clamping: bytes.integer(at: 32 + 8 * axis, as: UInt64.self))) }
    guard (1...4).contains(rank), let shape = Shape(Array(dimensions[..<rank])),
      dimensions[rank...].allSatisfy({ $0 == 0 }),
      (1...PackLimits.maximumElements).contains(shape.elementCount), encoding?.divides(columns: shape.columns) ?? true
    else { throw broken(.tensorShape, "rank \(rank), dimensions \(dimensions), group size \(groupSize)") }
    self.shape = shape

    let firstChunk = Int(bytes.integer(at: 12, as: UInt32.self))
    let chunkCount = Int(bytes.integer(at: 16, as: UInt32.self))
    let rowsPerChunk = Int(clamping: bytes.integer(at: 64, as: UInt64.self))
    (self.firstChunk, self.chunkCount, self.rowsPerChunk) = (firstChunk, chunkCount, rowsPerChunk)
    planeOffsets = [
      Int(clamping: bytes.integer(at: 72, as: UInt64.self)), Int(clamping: bytes.integer(at: 80, as: UInt64.self)),
    ]
    guard (1...shape.rows).contains(rowsPerChunk), chunkCount == (shape.rows - 1) / rowsPerChunk + 1,
      firstChunk <= chunkTotal, chunkCount <= chunkTotal - firstChunk
    else {
      throw broken(
        .tensorChunks, "\(chunkCount) chunks from \(firstChunk) with \(rowsPerChunk) of \(shape.rows) rows each")
    }

    let relativeRMSE = bytes.float(at: 20)
    let saturatedShare = bytes.float(at: 24)
    (self.relativeRMSE, self.saturatedShare) = (relativeRMSE, saturatedShare)
    guard relativeRMSE.isFinite, relativeRMSE >= 0, (0...1).contains(saturatedShare),
      encoding?.isGrouped ?? true || relativeRMSE == 0 && saturatedShare == 0
    else { throw broken(.tensorErrors, "relative RMSE \(relativeRMSE), saturated share \(saturatedShare)") }
  }
}

/// An embedded file (`Formats/pack.md` §4.3).
package struct FileRecord: Sendable, Equatable {
  package static let byteCount = 16
  /// The one name that is not written with the pack but attached later (`Formats/pack.md` §7.1).
  package static let driftReport = "drift-report.json"
  /// What a calibrated solver says of each matrix (`Formats/pack.md` §7.2).
  package static let solutions = "quantization.safetensors"

  package var name: String
  package var chunk: Int

  package init(name: String, chunk: Int) {
    self.name = name
    self.chunk = chunk
  }

  func encode(to out: inout ByteWriter, nameOffset: Int) {
    out.append(UInt32(nameOffset))
    out.append(UInt16(name.utf8.count))
    out.zeros(2)
    out.append(UInt32(chunk))
    out.zeros(4)
  }

  /// Rule 32 for the size of the file.
  func sizeViolation(_ record: ChunkRecord, in chunk: Int) -> PackViolation? {
    let limit = PackLimits.maximumContent(ofFile: name)
    guard record.contentLength > limit else { return nil }
    return PackViolation(
      .fileRecord, "chunk \(chunk) has a content of \(record.contentLength) bytes, the limit is \(limit)",
      at: record.byteRange, in: "file `\(name)`")
  }

  /// Reads the record and checks what can be seen in it alone: rule 32.
  init(reading bytes: RawSpan, strings: RawSpan, chunkTotal: Int) throws(PackViolation) {
    name = try packName(
      strings, offset: Int(bytes.integer(at: 0, as: UInt32.self)), length: Int(bytes.integer(at: 4, as: UInt16.self)),
      rule: .fileRecord)
    chunk = Int(bytes.integer(at: 8, as: UInt32.self))
    guard chunk < chunkTotal, bytes.extracting(6..<8).isZero, bytes.extracting(12..<16).isZero else {
      throw PackViolation(.fileRecord, "chunk \(chunk) of \(chunkTotal), or a reserved byte", in: "file `\(name)`")
    }
    // By bytes, as the system sees a name: a slash with a combining accent behind it is another `Character`.
    let prefix = "source/"
    let plain = name.utf8.starts(with: prefix.utf8) ? Array(name.utf8.dropFirst(prefix.utf8.count)) : []
    guard
      ["provenance.json", Self.driftReport, Self.solutions].contains(where: { name.utf8.elementsEqual($0.utf8) })
        || !plain.isEmpty && plain != Array(".".utf8) && plain != Array("..".utf8) && !plain.contains(UInt8(ascii: "/"))
    else {
      throw PackViolation(.fileRecord, "a name that a pack does not have", in: "file `\(name)`")
    }
  }
}

/// A name out of the strings: 1 … 1,024 bytes of UTF-8 without control characters.
private func packName(_ strings: RawSpan, offset: Int, length: Int, rule: PackRule) throws(PackViolation) -> String {
  guard (1...PackLimits.maximumName).contains(length), offset <= strings.byteCount,
    length <= strings.byteCount - offset,
    let name = strings.extracting(offset..<offset + length).utf8,
    name.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7F })
  else { throw PackViolation(rule, "the \(length) bytes at \(offset) of the strings are no valid name") }
  return name
}
