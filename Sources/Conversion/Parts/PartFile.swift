import JSON
import Pack
import Storage

/// Where things are in a file of a part (`Formats/plan.md`, section 3).
enum PartLayout {
  static let magic: [UInt8] = Array("INGOTPRT".utf8)
  static let version: UInt32 = 1
  static let headerByteCount = 64
  /// Chunks begin on pages, so that they are read and written past the page cache.
  static let alignment = DirectAccess.alignment

  /// Where the chunks end that hold so many bytes each.
  static func byteCount(contentLengths: [Int]) -> Int {
    contentLengths.reduce(alignment) { $0.roundedUp(to: alignment) + $1 }
  }

  static func header(receiptOffset: Int, receipt: [UInt8]) -> [UInt8] {
    var out = ByteWriter(capacity: headerByteCount)
    out.append(magic)
    out.append(version)
    out.append(UInt32(0))
    for value in [UInt64(receiptOffset), UInt64(receipt.count), XXH3.hash(receipt.bytes)] { out.append(value) }
    out.zeros(headerByteCount - 8 - out.bytes.count)
    out.append(XXH3.hash(out.bytes.bytes))
    return out.bytes
  }
}

/// What a part says of itself.
struct PartReceipt: Codable, Equatable {
  static let schema = "ingot.part/1"

  let schema: String
  /// The hash of the plan.
  let plan: String
  let part: Int
  let parts: Int
  let versions: PartPlan.Versions
  let chunks: [ChunkReceipt]
}

/// Writes the file of a part, which appears when it is whole.
struct PartWriter: ~Copyable {
  private var output: SequentialOutput
  private var receipts: [ChunkReceipt] = []

  /// - Parameters:
  ///   - depth: chunks that may still be on their way to the disk when `append` returns.
  ///   - byteCount: of all chunks, where it is known before: room for it is taken at once.
  init(path: String, depth: Int, byteCount: Int?) throws(FileError) {
    let page = [UInt8](repeating: 0, count: PartLayout.alignment)
    var output = try SequentialOutput(OutputFile(path: path), depth: depth, byteCount: byteCount)
    try output.append(page.bytes, at: 0)
    self.output = output
  }

  mutating func append(_ result: Converter.EncodedResult) throws(FileError) {
    let offset = output.end.roundedUp(to: PartLayout.alignment)
    try output.append(result.chunk.stored, byteCount: result.chunk.storedLength, at: offset)
    receipts.append(ChunkReceipt(result, offset: offset))
  }

  /// Writes the receipt and the header, and gives the file its name.
  consuming func finish(_ plan: PartPlan, _ part: Int) throws(FileError) {
    let receipt = PartReceipt(
      schema: PartReceipt.schema, plan: XXH3.text(plan.hash), part: part, parts: plan.parts.count,
      versions: plan.versions, chunks: receipts)
    let text = Array(JSONValue(encoding: receipt).text(indented: false).utf8)
    let offset = output.end
    try output.append(text.bytes, at: offset)
    let file = try output.finish()
    try file.write(PartLayout.header(receiptOffset: offset, receipt: text).bytes, at: 0)
    try file.commit()
  }
}

/// The file of a part, opened: its receipt is sound, and chunks are checked when they are read.
package final class PartFile: Sendable {
  package let path: String
  package let receipts: [ChunkReceipt]
  package let byteCount: Int
  private let part: Int
  private let file: ReadOnlyFile

  /// The file in a directory.
  package static func path(of part: Int, in directory: String) -> String { "\(directory)/part-\(part)" }

  /// Opens the file of a part; nil where there is none.
  ///
  /// - Throws: ``PartError/foreignPart(path:)``, ``PartError/damagedPart(_:what:path:byteRange:)``, ``PartError/system(_:)``.
  package init?(_ part: Int, of plan: PartPlan, in directory: String) throws(PartError) {
    let path = Self.path(of: part, in: directory)
    let mapping: MappedFile
    do throws(FileError) { mapping = try MappedFile(path: path) } catch {
      guard error.isMissing else { throw .system(error) }
      return nil
    }
    func damaged(_ what: String, _ range: Range<Int>? = nil) -> PartError {
      .damagedPart(part, what: what, path: path, byteRange: range)
    }
    let bytes = mapping.bytes
    let headerRange = 0..<PartLayout.headerByteCount
    // What does not begin as a part does is a stranger's, and is left alone.
    guard bytes.byteCount >= PartLayout.magic.count,
      bytes.extracting(first: PartLayout.magic.count).array == PartLayout.magic
    else { throw .foreignPart(path: path) }
    guard bytes.byteCount >= PartLayout.alignment else { throw damaged("it ends within its header") }
    let header = bytes.extracting(headerRange)
    guard header.integer(at: 56, as: UInt64.self) == XXH3.hash(header.extracting(first: 56)) else {
      throw damaged("its header has another hash", headerRange)
    }
    guard header.integer(at: 8, as: UInt32.self) == PartLayout.version else { throw .foreignPart(path: path) }
    let (offset, length) = (header.integer(at: 16, as: UInt64.self), header.integer(at: 24, as: UInt64.self))
    guard offset <= UInt64(bytes.byteCount), length == UInt64(bytes.byteCount) - offset else {
      throw damaged("it does not have the length that its header says")
    }
    let place = Int(offset)..<bytes.byteCount
    let text = bytes.extracting(place)
    guard header.integer(at: 32, as: UInt64.self) == XXH3.hash(text) else {
      throw damaged("its receipt has another hash", place)
    }
    let receipt: PartReceipt
    do { receipt = try JSONParser.parse(text).decoded() } catch { throw damaged("its receipt cannot be read", place) }
    guard receipt.schema == PartReceipt.schema, receipt.plan == XXH3.text(plan.hash), receipt.part == part else {
      throw .foreignPart(path: path)
    }
    var end = PartLayout.alignment
    for chunk in receipt.chunks {
      guard chunk.isSane, chunk.offset >= end, chunk.offset % PartLayout.alignment == 0,
        chunk.byteRange.upperBound <= place.lowerBound
      else {
        throw damaged("its receipt places a chunk where none can be", place)
      }
      end = chunk.byteRange.upperBound
    }
    guard receipt.chunks.count == plan.parts[part].chunks else { throw damaged("its receipt lacks chunks", place) }
    self.path = path
    self.part = part
    receipts = receipt.chunks
    byteCount = bytes.byteCount
    file = ReadOnlyFile(mapping)
  }

  /// The length that a buffer must have for any of its chunks.
  var bufferByteCount: Int { ReadOnlyFile.bufferByteCount(receipts.map(\.storedBytes).max() ?? 0) }

  /// Reads a chunk and compares it with its hash.
  ///
  /// - Parameters:
  ///   - index: among those of the part.
  ///   - name: of the chunk, for messages.
  /// - Throws: ``PartError/damagedPart(_:what:path:byteRange:)``, ``PartError/system(_:)``.
  func chunk(_ index: Int, _ buffers: BufferPool, name: () -> String) throws(PartError) -> EncodedChunk {
    let receipt = receipts[index]
    var buffer = buffers.take()
    do throws(FileError) {
      // A chunk begins on a page, and so does what is read of it.
      let place = try file.read(receipt.byteRange, into: &buffer)
      precondition(place.lowerBound == 0)
    } catch { throw .system(error) }
    guard XXH3.hash(buffer.bytes.extracting(first: receipt.storedBytes)) == receipt.storedHash else {
      throw .damagedPart(part, what: name(), path: path, byteRange: receipt.byteRange)
    }
    return EncodedChunk(
      stored: buffer, storedLength: receipt.storedBytes, contentLength: receipt.contentBytes,
      tailOffset: receipt.tailOffset, codec: receipt.codec, storedHash: receipt.storedHash,
      contentHash: receipt.contentHash)
  }

  /// Compares every chunk with its hash.
  ///
  /// - Parameter first: the number of the first chunk in the pack.
  package func check(first: Int) throws(PartError) {
    let buffers = BufferPool(capacity: bufferByteCount)
    for index in receipts.indices { _ = try chunk(index, buffers) { "chunk \(first + index)" } }
  }
}
