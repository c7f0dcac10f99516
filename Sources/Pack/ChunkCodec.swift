import CZstd
import Kernels
package import Storage

/// How a writer stores chunks.
package enum Compression: String, Sendable, CaseIterable {
  case none, zstd
}

extension Compression {
  /// The version of what decides the stored bytes: of the zstd library, or nil.
  package var libraryVersion: String? {
    self == .none ? nil : unsafe String(cString: ZSTD_versionString())
  }
}

/// A chunk ready to be written: its stored bytes and what its record says of them.
package final class EncodedChunk: Sendable {
  package let stored: SharedBuffer
  package let storedLength: Int
  package let contentLength: Int
  package let tailOffset: Int
  package let codec: ChunkRecord.Codec
  package let storedHash: UInt64
  package let contentHash: UInt64

  package init(
    stored: consuming AlignedBuffer, storedLength: Int, contentLength: Int, tailOffset: Int, codec: ChunkRecord.Codec,
    storedHash: UInt64, contentHash: UInt64
  ) {
    self.stored = stored.share()
    self.storedLength = storedLength
    self.contentLength = contentLength
    self.tailOffset = tailOffset
    self.codec = codec
    self.storedHash = storedHash
    self.contentHash = contentHash
  }
}

/// Turns contents into stored bytes and back (`Formats/pack.md` §6). Owns the zstd contexts, so each
/// thread has its own.
@safe package final class ChunkCodec {
  /// Higher levels gain nothing on codes: zstd finds their order-0 entropy at any level.
  private static let level: Int32 = 1

  private let compression: Compression
  // Made when first needed: contents of raw chunks pass through without.
  private var madeCompressor: OpaquePointer?
  private var madeDecompressor: OpaquePointer?

  /// What buffers are taken from, if they go round.
  private let buffers: BufferPool?

  /// - Parameter buffers: of at least ``bufferByteCount(contentLength:_:)``; without, each use takes fresh memory.
  package init(_ compression: Compression = .none, buffers: BufferPool? = nil) {
    self.compression = compression
    self.buffers = buffers
  }

  deinit {
    unsafe ZSTD_freeCCtx(madeCompressor)
    unsafe ZSTD_freeDCtx(madeDecompressor)
  }

  private var compressor: OpaquePointer {
    if let made = unsafe madeCompressor { return unsafe made }
    guard let made = unsafe ZSTD_createCCtx() else { fatalError("out of memory: zstd context") }
    unsafe ZSTD_CCtx_setParameter(made, ZSTD_c_compressionLevel, Self.level)
    unsafe madeCompressor = made
    return unsafe made
  }

  private var decompressor: OpaquePointer {
    if let made = unsafe madeDecompressor { return unsafe made }
    guard let made = unsafe ZSTD_createDCtx() else { fatalError("out of memory: zstd context") }
    unsafe madeDecompressor = made
    return unsafe made
  }

  /// Bytes of anonymous memory that encoding one content of this size takes beside the content: the split copy, the
  /// frame and the context.
  package static func workingBytes(contentLength: Int, _ compression: Compression) -> Int {
    compression == .none ? 0 : contentLength + ZSTD_compressBound(contentLength) + (4 << 20)
  }

  /// The capacity of a buffer that does for a content of this size, its split copy and its frame.
  package static func bufferByteCount(contentLength: Int, _ compression: Compression) -> Int {
    compression == .none ? contentLength : ZSTD_compressBound(contentLength)
  }

  private func take(byteCount: Int) -> AlignedBuffer {
    buffers?.take(byteCount: byteCount) ?? AlignedBuffer(byteCount: byteCount)
  }

  /// Compresses where that pays, else keeps the content as it is.
  package func encode(_ content: consuming AlignedBuffer, tailOffset: Int) -> EncodedChunk {
    let length = content.byteCount
    let contentHash = XXH3.hash(content.bytes)
    if compression == .zstd {
      var frame = take(byteCount: ZSTD_compressBound(length))
      let frameLength = compress(content.bytes, tailOffset: tailOffset, into: &frame)
      if (length - frameLength) * 32 >= length {
        let hash = XXH3.hash(frame.bytes.extracting(first: frameLength))
        return EncodedChunk(
          stored: frame, storedLength: frameLength, contentLength: length, tailOffset: tailOffset, codec: .zstd,
          storedHash: hash, contentHash: contentHash)
      }
    }
    return EncodedChunk(
      stored: content, storedLength: length, contentLength: length, tailOffset: tailOffset, codec: .raw,
      storedHash: contentHash, contentHash: contentHash)
  }

  /// An embedded file as a chunk.
  package func encode(_ file: PackPlan.File) -> EncodedChunk {
    var content = AlignedBuffer(byteCount: file.bytes.count)
    var bytes = content.mutableBytes
    bytes.write(file.bytes.bytes, at: 0)
    return encode(content, tailOffset: file.bytes.count)
  }

  private func compress(_ content: RawSpan, tailOffset: Int, into frame: inout AlignedBuffer) -> Int {
    var scratch = take(byteCount: content.byteCount)
    var split = scratch.mutableBytes
    splitTail(content, tailOffset: tailOffset, into: &split)
    var target = frame.mutableBytes
    let length = unsafe target.withUnsafeMutableBytes { target in
      unsafe scratch.bytes.withUnsafeBytes { source in
        unsafe ZSTD_compress2(compressor, target.baseAddress!, target.count, source.baseAddress!, content.byteCount)
      }
    }
    // The target holds ZSTD_compressBound bytes, so the only failure left is memory.
    guard ZSTD_isError(length) == 0 else { fatalError("zstd: \(unsafe String(cString: ZSTD_getErrorName(length)))") }
    return length
  }

  /// Looks at the start of a zstd frame before any memory is taken for what it holds.
  ///
  /// - Throws: rule 18 when it is no frame, or says that it holds something else than `record.contentLength` bytes.
  static func checkFrame(_ stored: RawSpan, _ record: ChunkRecord) throws(PackViolation) {
    guard record.codec == .zstd else { return }
    // The library would also take skippable and older frames, which other readers need not know.
    guard stored.byteCount >= 4, stored.integer(at: 0) == UInt32(0xFD2F_B528) else {
      throw PackViolation(.frame, "the stored bytes do not start with a zstd frame")
    }
    let said = unsafe stored.withUnsafeBytes { source in
      unsafe ZSTD_getFrameContentSize(source.baseAddress!, source.count)
    }
    // A frame need not say it. `ZSTD_CONTENTSIZE_ERROR` and `…_UNKNOWN`, which Swift does not see, are the two largest numbers.
    guard said == UInt64.max || said == UInt64(record.contentLength) else {
      let found = said == UInt64.max - 1 ? "no bytes" : "\(said) bytes"
      throw PackViolation(.frame, "the zstd frame gives \(found) instead of \(record.contentLength) bytes")
    }
  }

  /// Writes the content of a chunk into `content`, whose length must be `record.contentLength`.
  ///
  /// - Throws: rule 18 when the stored bytes are not one frame of that length.
  package func decode(
    _ stored: RawSpan, _ record: ChunkRecord, into content: inout MutableRawSpan
  ) throws(PackViolation) {
    precondition(content.byteCount == record.contentLength && stored.byteCount == record.storedLength)
    guard record.codec == .zstd else { return content.write(stored, at: 0) }
    try Self.checkFrame(stored, record)
    var scratch = take(byteCount: record.contentLength)
    var split = scratch.mutableBytes
    let (frameLength, length) = unsafe stored.withUnsafeBytes { source in
      unsafe split.withUnsafeMutableBytes { target in
        unsafe (
          ZSTD_findFrameCompressedSize(source.baseAddress!, source.count),
          ZSTD_decompressDCtx(
            decompressor, target.baseAddress!, record.contentLength, source.baseAddress!, source.count)
        )
      }
    }
    guard ZSTD_isError(length) == 0, length == record.contentLength, frameLength == record.storedLength else {
      let found = ZSTD_isError(length) == 0 ? "\(length) bytes" : unsafe String(cString: ZSTD_getErrorName(length))
      throw PackViolation(.frame, "the zstd frame gives \(found) instead of \(record.contentLength) bytes")
    }
    joinTail(scratch.bytes, tailOffset: record.tailOffset, into: &content)
  }
}

/// Head as it is, then the high bytes of the tail's 16-bit values, then their low bytes.
private func splitTail(_ content: RawSpan, tailOffset: Int, into split: inout MutableRawSpan) {
  split.write(content.extracting(first: tailOffset), at: 0)
  let count = (content.byteCount - tailOffset) / 2
  var planes = split._mutatingExtracting(tailOffset..<tailOffset + 2 * count)
  unsafe planes.withUnsafeMutableBytes { planes in
    // Two spans of one buffer that do not overlap.
    guard let base = planes.baseAddress else { return }
    var high = unsafe MutableRawSpan(_unsafeStart: base, byteCount: count)
    var low = unsafe MutableRawSpan(_unsafeStart: base + count, byteCount: count)
    KernelSet.best.split16(content.extracting(tailOffset..<tailOffset + 2 * count), high: &high, low: &low)
  }
}

/// The inverse of `splitTail`.
private func joinTail(_ split: RawSpan, tailOffset: Int, into content: inout MutableRawSpan) {
  content.write(split.extracting(first: tailOffset), at: 0)
  let count = (split.byteCount - tailOffset) / 2
  var tail = content._mutatingExtracting(tailOffset..<tailOffset + 2 * count)
  KernelSet.best.join16(
    high: split.extracting(tailOffset..<tailOffset + count),
    low: split.extracting(tailOffset + count..<tailOffset + 2 * count), into: &tail)
}
