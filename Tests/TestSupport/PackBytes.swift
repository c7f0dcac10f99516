import Pack
import Storage

/// The bytes of a pack, to be changed and sealed again: after `seal` every hash is right, so that a broken rule is met
/// alone and not behind a broken hash.
package struct PackBytes {
  package var bytes: [UInt8]

  package init(_ bytes: [UInt8]) { self.bytes = bytes }

  package func integer<T: FixedWidthInteger & BitwiseCopyable>(at position: Int, as type: T.Type = T.self) -> T {
    let span = bytes.bytes
    return span.integer(at: position)
  }

  package mutating func set<T: FixedWidthInteger>(_ value: T, at position: Int) {
    var writer = ByteWriter()
    writer.append(value)
    bytes.replaceSubrange(position..<position + writer.bytes.count, with: writer.bytes)
  }

  /// Adds to the integer at a position.
  package mutating func add<T: FixedWidthInteger & BitwiseCopyable>(_ value: T, at position: Int) {
    set(integer(at: position, as: T.self) &+ value, at: position)
  }

  package var tablesOffset: Int { Int(integer(at: 40, as: UInt64.self)) }
  package var chunkCount: Int { Int(integer(at: 64, as: UInt32.self)) }
  package var tensorCount: Int { Int(integer(at: 68, as: UInt32.self)) }
  package var fileCount: Int { Int(integer(at: 72, as: UInt32.self)) }
  package var stringsLength: Int { Int(integer(at: 76, as: UInt32.self)) }

  /// Where record `index` stands in the file.
  package func chunkRecord(_ index: Int) -> Int { tablesOffset + ChunkRecord.byteCount * index }
  package func tensorRecord(_ index: Int) -> Int { chunkRecord(chunkCount) + TensorRecord.byteCount * index }
  package func fileRecord(_ index: Int) -> Int { tensorRecord(tensorCount) + FileRecord.byteCount * index }
  package var strings: Int { fileRecord(fileCount) }

  /// The stored bytes of a chunk.
  package func chunkRange(_ index: Int) -> Range<Int> {
    let start = Int(integer(at: chunkRecord(index), as: UInt64.self))
    return start..<start + Int(integer(at: chunkRecord(index) + 8, as: UInt64.self))
  }

  package func hash(_ range: Range<Int>) -> UInt64 {
    let span = bytes.bytes
    return XXH3.hash(span.extracting(range))
  }

  /// Stored hashes of all chunks, and content hashes of the raw ones.
  package mutating func sealChunks() {
    for index in 0..<chunkCount {
      let computed = hash(chunkRange(index))
      set(computed, at: chunkRecord(index) + 32)
      if bytes[chunkRecord(index) + 53] == 0 { set(computed, at: chunkRecord(index) + 40) }
    }
  }

  package mutating func sealTables() {
    set(hash(tablesOffset..<bytes.count), at: 56)
    sealHeader()
  }

  package mutating func sealHeader() { set(hash(0..<248), at: 248) }

  package mutating func seal() {
    sealChunks()
    sealTables()
  }
}
