import Storage

/// The first 256 bytes of a pack (`Formats/pack.md` §3).
package struct PackHeader: Sendable, Equatable {
  package static let byteCount = 256
  package static let magic: [UInt8] = [0x49, 0x4E, 0x47, 0x4F, 0x54, 0x0D, 0x0A, 0x1A]
  /// What a reader must know.
  package static let version: UInt16 = 1
  /// The newest that a writer of this version follows, where it needs to.
  package static let writerVersion: UInt16 = 2
  /// Bit of `requiredFeatures`: some chunk is a zstd frame.
  package static let zstdFeature: UInt64 = 1
  private static let rootHashOffset = 248

  package var writeVersion = Self.version
  package var requiredFeatures: UInt64 = 0
  package var optionalFeatures: UInt64 = 0
  package var fileLength: Int
  package var tablesOffset: Int
  package var tablesHash: UInt64
  package var chunkCount: Int
  package var tensorCount: Int
  package var fileCount: Int
  package var stringsLength: Int
  /// XXH3 of the header's other bytes, and through the tables of the whole file.
  package private(set) var rootHash: UInt64 = 0

  package var tablesLength: Int {
    (ChunkRecord.byteCount * chunkCount + TensorRecord.byteCount * tensorCount + FileRecord.byteCount * fileCount
      + stringsLength).roundedUp(to: PackLimits.alignment)
  }

  package init(
    writeVersion: UInt16 = Self.version, requiredFeatures: UInt64, tablesOffset: Int, tablesHash: UInt64,
    chunkCount: Int, tensorCount: Int, fileCount: Int,
    stringsLength: Int
  ) {
    self.writeVersion = writeVersion
    self.requiredFeatures = requiredFeatures
    self.tablesOffset = tablesOffset
    self.tablesHash = tablesHash
    self.chunkCount = chunkCount
    self.tensorCount = tensorCount
    self.fileCount = fileCount
    self.stringsLength = stringsLength
    fileLength = 0
    seal()
  }

  /// Length and root hash that follow from the other fields.
  mutating func seal() {
    fileLength = tablesOffset + tablesLength
    let bytes = encoded()
    rootHash = bytes.bytes.integer(at: Self.rootHashOffset)
  }

  package func encoded() -> [UInt8] {
    var out = ByteWriter(capacity: Self.byteCount)
    out.append(Self.magic)
    out.append(Self.version)
    out.append(writeVersion)
    out.append(UInt32(Self.byteCount))
    out.append(requiredFeatures)
    out.append(optionalFeatures)
    for value in [fileLength, tablesOffset, tablesLength] { out.append(UInt64(value)) }
    out.append(tablesHash)
    for value in [chunkCount, tensorCount, fileCount, stringsLength] { out.append(UInt32(value)) }
    out.zeros(Self.rootHashOffset - out.bytes.count)
    let hash = XXH3.hash(out.bytes.bytes)
    out.append(hash)
    return out.bytes
  }

  /// Reads and checks the header of a file of `actualLength` bytes, of which `bytes` is at least the start: rules 1–9.
  ///
  /// The order of the rules is that of likelihood: a file cut short is told from a damaged one.
  package init(reading bytes: RawSpan, actualLength: Int) throws(PackViolation) {
    guard bytes.byteCount >= Self.byteCount else {
      throw PackViolation(.length, "\(actualLength) bytes are too few for a header of 256", at: 0..<actualLength)
    }
    guard bytes.extracting(first: 8).array == Self.magic else {
      throw PackViolation(.magic, "this is no pack", at: 0..<8)
    }
    let readVersion: UInt16 = bytes.integer(at: 8)
    guard readVersion == Self.version else {
      throw PackViolation(.readVersion, "format version \(readVersion); this reader knows \(Self.version)", at: 8..<10)
    }
    rootHash = bytes.integer(at: Self.rootHashOffset)
    let computed = XXH3.hash(bytes.extracting(first: Self.rootHashOffset))
    guard computed == rootHash else {
      throw PackViolation(
        .rootHash, "stored root hash \(XXH3.text(rootHash)), computed \(XXH3.text(computed))", at: 0..<Self.byteCount)
    }
    writeVersion = bytes.integer(at: 10)
    let headerLength: UInt32 = bytes.integer(at: 12)
    guard headerLength == UInt32(Self.byteCount), writeVersion >= readVersion,
      bytes.extracting(80..<Self.rootHashOffset).isZero
    else {
      throw PackViolation(.headerFields, "a header field has a value it must not have", at: 8..<Self.rootHashOffset)
    }

    requiredFeatures = bytes.integer(at: 16)
    optionalFeatures = bytes.integer(at: 24)
    guard requiredFeatures & ~Self.zstdFeature == 0 else {
      let unknown = String(requiredFeatures & ~Self.zstdFeature, radix: 2)
      throw PackViolation(.requiredFeatures, "needs features this reader lacks: bits \(unknown)", at: 16..<24)
    }

    let declared: UInt64 = bytes.integer(at: 32)
    guard declared == UInt64(actualLength) else {
      throw PackViolation(
        .fileLength, "the header declares \(declared) bytes, the file has \(actualLength)", at: 32..<40)
    }
    fileLength = actualLength

    chunkCount = Int(bytes.integer(at: 64, as: UInt32.self))
    tensorCount = Int(bytes.integer(at: 68, as: UInt32.self))
    fileCount = Int(bytes.integer(at: 72, as: UInt32.self))
    stringsLength = Int(bytes.integer(at: 76, as: UInt32.self))
    tablesHash = bytes.integer(at: 56)
    tablesOffset = 0
    guard (1...PackLimits.maximumChunks).contains(chunkCount), (1...PackLimits.maximumTensors).contains(tensorCount),
      fileCount <= PackLimits.maximumFiles, stringsLength <= PackLimits.maximumStrings
    else {
      let counts = "\(chunkCount) chunks, \(tensorCount) tensors, \(fileCount) files, \(stringsLength) bytes of names"
      throw PackViolation(.counts, "\(counts) go beyond the limits", at: 64..<80)
    }
    let offset: UInt64 = bytes.integer(at: 40)
    let length: UInt64 = bytes.integer(at: 48)
    guard length == UInt64(tablesLength), offset >= UInt64(Self.byteCount), offset % UInt64(PackLimits.alignment) == 0,
      offset <= declared, declared - offset == length
    else {
      throw PackViolation(
        .tablesPlace, "tables at \(offset) with \(length) bytes do not fit the counts and the file", at: 40..<80)
    }
    tablesOffset = Int(offset)
  }
}

extension RawSpan {
  var isZero: Bool {
    unsafe withUnsafeBytes { buffer in unsafe buffer.allSatisfy { $0 == 0 } }
  }
}
