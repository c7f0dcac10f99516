import Kernels
import Storage
import Tensors

/// Reads every byte of a pack and lists every broken rule.
///
/// Weights in the page cache are looked at there; all else is read with `pread` into buffers. Either way a file on failing
/// hardware, or one that has become shorter, gives an error. Only one that is cut short in the milliseconds in which a chunk
/// is looked at raises SIGBUS.
package struct PackCheck: Sendable {
  package struct Report: Sendable {
    package var violations: [PackViolation] = []
    package var byteCount = 0
    package var chunkCount = 0
  }

  private let path: String
  private let file: ReadOnlyFile

  /// - Throws: ``PackError/system(_:)`` when the file cannot be opened.
  package init(path: String) throws(PackError) {
    self.path = path
    do { file = try ReadOnlyFile(path: path) } catch { throw .system(error) }
  }

  /// Bytes of the whole file.
  package var byteCount: Int { file.byteCount }

  /// - Parameter progress: called with the bytes checked so far.
  /// - Throws: ``PackError/system(_:)`` when reading fails. Broken rules are not thrown but reported.
  package func run(threads: Int, progress: (Int) -> Void = { _ in }) throws(PackError) -> Report {
    var report = Report()
    report.byteCount = file.byteCount
    let first = try readOnce(0..<min(PackHeader.byteCount, file.byteCount))
    let header: PackHeader
    do throws(PackViolation) {
      header = try PackHeader(reading: first.bytes, actualLength: file.byteCount)
    } catch {
      report.violations.append(error)  // without a header nothing else can be found
      return report
    }
    report.chunkCount = header.chunkCount

    let tables = try readOnce(header.tablesOffset..<header.fileLength)
    let computed = XXH3.hash(tables.bytes)
    if computed != header.tablesHash { report.violations.append(tablesViolation(header, computed: computed)) }
    let structure = PackTables(header: header, bytes: tables.bytes, path: path)
      .verifyStructure { report.violations.append($0) }
    try checkChunks(structure, tablesOffset: header.tablesOffset, threads: threads, progress, &report)
    do { try file.requireUnchanged() } catch { throw .system(error) }
    return report
  }

  /// Room for the chunks under way; one chunk may take more.
  private static let memoryByteCount = 1 << 30
  private static let runByteCount = 8 << 20

  private func checkChunks(
    _ structure: PackStructure, tablesOffset: Int, threads: Int, _ progress: (Int) -> Void, _ report: inout Report
  ) throws(PackError) {
    var done = 0
    // A thread holds a chunk's stored bytes, its content and a copy in planes: fewer threads for larger chunks.
    let read = zip(structure.chunks, structure.isRead).compactMap { chunk, isRead in isRead ? chunk : nil }
    let compressed = read.reduce(0) { max($0, $1.codec == .zstd ? $1.contentLength : 0) }
    let stored = read.reduce(PackLimits.expertAlignment) { max($0, $1.storedLength) }
    let buffers = Buffers(stored: stored, content: compressed)
    let threads = max(1, min(threads, Self.memoryByteCount / (stored + 2 * compressed)))
    let runs = runs(of: structure)
    try inOrder(
      count: runs.count, threads: threads, window: 2 * threads,
      makeWorkspace: { ChunkCodec(buffers: buffers.content) },
      work: { codec, index in
        do throws(PackError) {
          var violations: [PackViolation] = []
          for item in runs[index] {
            violations += try checkItem(item, structure, tablesOffset: tablesOffset, codec, buffers)
          }
          return .success(violations)
        } catch { return .failure(error) }
      },
      consume: { (index, violations: [PackViolation]) throws(PackError) in
        report.violations += violations
        for item in runs[index] where item < structure.chunks.count {
          done += structure.chunks[item]?.storedLength ?? 0
        }
        progress(done)
      })
  }

  /// Items that a thread checks in one go: a hand-over costs as much as hashing 100 KB. Each chunk is an item, with the gap
  /// before it; the last gap, before the tables, is one of its own.
  private func runs(of structure: PackStructure) -> [Range<Int>] {
    var runs: [Range<Int>] = []
    var (start, byteCount) = (0, 0)
    for index in structure.chunks.indices {
      byteCount += structure.chunks[index]?.storedLength ?? 0
      guard byteCount >= Self.runByteCount else { continue }
      runs.append(start..<index + 1)
      (start, byteCount) = (index + 1, 0)
    }
    runs.append(start..<structure.chunks.count + 1)
    return runs
  }

  private func checkItem(
    _ index: Int, _ structure: PackStructure, tablesOffset: Int, _ codec: ChunkCodec, _ buffers: Buffers
  ) throws(PackError) -> [PackViolation] {
    var violations: [PackViolation] = []
    var buffer = buffers.stored.take()
    let start = index < structure.chunks.count ? structure.chunks[index]?.offset : tablesOffset
    let previousEnd = index == 0 ? PackHeader.byteCount : structure.chunks[index - 1]?.byteRange.upperBound
    // A wider or negative gap is rule 13's business.
    if let start, let previousEnd, start > previousEnd, start - previousEnd < PackLimits.expertAlignment {
      let gap = try read(previousEnd..<start, into: &buffer)
      if !buffer.bytes.extracting(gap).isZero {
        violations.append(PackViolation(.chunkGap, "bytes between chunks are not zero", at: previousEnd..<start))
      }
    }
    if index < structure.chunks.count, structure.isRead[index], let record = structure.chunks[index],
      try !isSound(record, structure, index, buffers)
    {
      let place = try read(record.byteRange, into: &buffer)
      do throws(PackViolation) {
        let stored = buffer.bytes.extracting(place)
        try checkStoredHash(stored, record)
        if record.codec == .raw {
          try checkContent(stored, record, structure, index)
        } else {
          try ChunkCodec.checkFrame(stored, record)
          var content = buffers.content.take(byteCount: record.contentLength)
          var bytes = content.mutableBytes
          try codec.decode(stored, record, into: &bytes)
          try checkContent(content.bytes, record, structure, index)
        }
      } catch {
        let subject = "chunk \(index), \(structure.subjects[index])"
        violations.append(PackViolation(error.rule, error.detail, at: record.byteRange, in: subject))
      }
    }
    return violations
  }

  /// Whether one look at a chunk in the page cache shows that it keeps all rules: in its place, or else piece by piece in a
  /// buffer that stays in the processor's cache.
  private func isSound(
    _ record: ChunkRecord, _ structure: PackStructure, _ index: Int, _ buffers: Buffers
  ) throws(PackError) -> Bool {
    // Parsers and decompressors want bytes that nobody writes meanwhile.
    guard record.codec == .raw, record.kind != .file, file.isCached(record.byteRange) else { return false }
    var scan = ContentScan(structure.planes[index], checksGaps: structure.isUnderstood[index])
    let hash: UInt64
    if let content = file.cached(record.byteRange) {
      hash = XXH3.hash(content)
      scan.add(content)
    } else {
      var state = HashState()
      var buffer = buffers.pieces.take()
      for start in stride(from: record.offset, to: record.byteRange.upperBound, by: buffer.byteCount) {
        let range = start..<min(start + buffer.byteCount, record.byteRange.upperBound)
        let place: Range<Int>
        do { place = try file.readThroughCache(range, into: &buffer) } catch { throw .system(error) }
        state.add(buffer.bytes.extracting(place))
        scan.add(buffer.bytes.extracting(place))
      }
      hash = state.hash
    }
    return scan.isPlain && hash == record.storedHash
  }

  /// Rules 19, 28, 31 and, for files, 33.
  private func checkContent(
    _ content: RawSpan, _ record: ChunkRecord, _ structure: PackStructure, _ index: Int
  ) throws(PackViolation) {
    try checkContentHash(content, record)
    var end = 0
    for plane in structure.planes[index].sorted(by: { $0.range.lowerBound < $1.range.lowerBound }) {
      if structure.isUnderstood[index], end < plane.range.lowerBound,
        !content.extracting(end..<plane.range.lowerBound).isZero
      {
        throw PackViolation(.planeGap, "bytes between planes are not zero")
      }
      end = plane.range.upperBound
    }
    try checkNumbers(content, structure.planes[index])
    if record.kind == .file,
      ["file `provenance.json`", "file `source/config.json`"].contains(structure.subjects[index])
    {
      _ = try requiredObject(content)
    }
  }

  /// Rule 31.
  private func checkNumbers(_ content: RawSpan, _ planes: [PackStructure.Plane]) throws(PackViolation) {
    for plane in planes {
      let bytes = content.extracting(plane.range)
      switch plane.description.content {
      case .elements:
        if plane.encoding.codes?.code == .int8, bytes.contains(0x80) {
          throw PackViolation(.scales, "an int8 code is -128")
        }
      case .scales(.bf16, let groupSize):
        guard let codes = planes.first(where: { $0.tensor == plane.tensor && !$0.isScale }) else { continue }
        try checkPortable(bytes, codes: content.extracting(codes.range), plane.encoding, groupSize)
      case .scales(.byte, _):
        if let row = plane.rowWithBadBase(bytes, at: 0) {
          let base: UInt8 = bytes.integer(at: row * plane.rowByteCount)
          throw PackViolation(.scales, "the base of row \(row) is \(base): its scales are not portable")
        }
      }
    }
  }

  private func checkPortable(
    _ scales: RawSpan, codes: RawSpan, _ encoding: Encoding, _ groupSize: Int
  ) throws(PackViolation) {
    let groupByteCount = encoding.codeByteCount(elements: groupSize)
    let zero: UInt8 = encoding.codes?.code == .int4 ? 0x88 : 0
    var group = 0
    // Nearly all scales are portable and not zero; the others are looked at one by one.
    while let found = KernelSet.firstUnusualScale(scales, from: group) {
      group = found + 1
      let scale: UInt16 = scales.integer(at: 2 * found)
      guard scale == 0 else {
        throw PackViolation(
          .scales, "the scale of group \(found) has bits 0x\(String(scale, radix: 16)): not portable")
      }
      let start = found * groupByteCount
      for byte in start..<start + groupByteCount where codes.integer(at: byte, as: UInt8.self) != zero {
        throw PackViolation(.scales, "group \(found) has scale 0 and a code that is not 0")
      }
    }
  }

  private func readOnce(_ range: Range<Int>) throws(PackError) -> [UInt8] {
    var buffer = AlignedBuffer(byteCount: ReadOnlyFile.bufferByteCount(range.count))
    let place = try read(range, into: &buffer)
    return buffer.bytes.extracting(place).array
  }

  private func read(_ range: Range<Int>, into buffer: inout AlignedBuffer) throws(PackError) -> Range<Int> {
    do { return try file.read(range, into: &buffer) } catch { throw .system(error) }
  }

  /// What the threads hold, used chunk after chunk: fresh pages would have to be zeroed first.
  private struct Buffers: Sendable {
    let stored: BufferPool
    /// A part of the second-level cache.
    let pieces = BufferPool(capacity: 256 << 10)
    /// Buffers for compressed chunks, and their copies in planes.
    let content: BufferPool

    init(stored: Int, content: Int) {
      self.stored = BufferPool(capacity: ReadOnlyFile.bufferByteCount(stored))
      self.content = BufferPool(capacity: content)
    }
  }
}
