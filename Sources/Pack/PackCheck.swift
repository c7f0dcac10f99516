import JSON
import Tensors

/// Reads every byte of a pack and lists every broken rule.
///
/// Reads with `pread` into its own buffers, not through a mapping: a file on failing hardware, or one that shrinks
/// meanwhile, gives an error and no signal.
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
    let first = try read(0..<min(PackHeader.byteCount, file.byteCount))
    let header: PackHeader
    do throws(PackViolation) {
      header = try PackHeader(reading: first.bytes, actualLength: file.byteCount)
    } catch {
      report.violations.append(error)  // without a header nothing else can be found
      return report
    }
    report.chunkCount = header.chunkCount

    let tables = try read(header.tablesOffset..<header.fileLength)
    let computed = XXH3.hash(tables.bytes)
    if computed != header.tablesHash { report.violations.append(tablesViolation(header, computed: computed)) }
    let structure = PackTables(header: header, bytes: tables.bytes, path: path)
      .verifyStructure { report.violations.append($0) }
    try checkChunks(structure, tablesOffset: header.tablesOffset, threads: threads, progress, &report)
    return report
  }

  /// Room for the chunks under way; one chunk may take more.
  private static let memoryByteCount = 1 << 30

  private func checkChunks(
    _ structure: PackStructure, tablesOffset: Int, threads: Int, _ progress: (Int) -> Void, _ report: inout Report
  ) throws(PackError) {
    var done = 0
    // A thread holds a chunk's stored bytes, its content and a copy in planes: fewer threads for larger chunks.
    let largest = structure.chunks.reduce(1) { max($0, ($1?.storedLength ?? 0) + 2 * ($1?.contentLength ?? 0)) }
    let threads = max(1, min(threads, Self.memoryByteCount / largest))
    // Each chunk is read with the gap before it; the last gap, before the tables, is an item of its own.
    try inOrder(
      count: structure.chunks.count + 1, threads: threads, window: 2 * threads,
      makeWorkspace: { ChunkCodec() },
      work: { codec, index in
        do throws(PackError) {
          return .success(try checkItem(index, structure, tablesOffset: tablesOffset, codec))
        } catch { return .failure(error) }
      },
      consume: { (index, violations: [PackViolation]) throws(PackError) in
        report.violations += violations
        done += index < structure.chunks.count ? structure.chunks[index]?.storedLength ?? 0 : 0
        progress(done)
      })
  }

  private func checkItem(
    _ index: Int, _ structure: PackStructure, tablesOffset: Int, _ codec: ChunkCodec
  ) throws(PackError) -> [PackViolation] {
    var violations: [PackViolation] = []
    let start = index < structure.chunks.count ? structure.chunks[index]?.offset : tablesOffset
    let previousEnd = index == 0 ? PackHeader.byteCount : structure.chunks[index - 1]?.byteRange.upperBound
    // A wider or negative gap is rule 13's business.
    if let start, let previousEnd, start > previousEnd, start - previousEnd < PackLimits.expertAlignment {
      let gap = try read(previousEnd..<start)
      if !gap.bytes.isZero {
        violations.append(PackViolation(.chunkGap, "bytes between chunks are not zero", at: previousEnd..<start))
      }
    }
    if index < structure.chunks.count, structure.isPlaced[index], let record = structure.chunks[index] {
      let stored = try read(record.byteRange)
      do throws(PackViolation) {
        try checkStoredHash(stored.bytes, record)
        if record.codec == .raw {
          try checkContent(stored.bytes, record, structure, index)
        } else {
          var content = AlignedBuffer(byteCount: record.contentLength)
          var bytes = content.mutableBytes
          try codec.decode(stored.bytes, record, into: &bytes)
          try checkContent(content.bytes, record, structure, index)
        }
      } catch {
        let subject = "chunk \(index), \(structure.subjects[index])"
        violations.append(PackViolation(error.rule, error.detail, at: record.byteRange, in: subject))
      }
    }
    return violations
  }

  /// Rules 19, 28, 31 and, for files, 33.
  private func checkContent(
    _ content: RawSpan, _ record: ChunkRecord, _ structure: PackStructure, _ index: Int
  ) throws(PackViolation) {
    let computed = record.codec == .raw ? record.storedHash : XXH3.hash(content)
    guard computed == record.contentHash else {
      throw PackViolation(
        .contentHash, "content hash \(XXH3.text(record.contentHash)), computed \(XXH3.text(computed))")
    }
    var end = 0
    for plane in structure.planes[index].sorted(by: { $0.range.lowerBound < $1.range.lowerBound }) {
      if structure.isUnderstood[index], end < plane.range.lowerBound,
        !content.extracting(end..<plane.range.lowerBound).isZero
      {
        throw PackViolation(.planeGap, "bytes between planes are not zero")
      }
      end = plane.range.upperBound
    }
    try checkScales(content, structure.planes[index])
    if record.kind == .file,
      ["file `provenance.json`", "file `source/config.json`"].contains(structure.subjects[index])
    {
      guard (try? JSONParser.parse(content))?.object != nil else {
        throw PackViolation(.requiredFiles, "is no JSON object")
      }
    }
  }

  private func checkScales(_ content: RawSpan, _ planes: [PackStructure.Plane]) throws(PackViolation) {
    for scales in planes where scales.isScale {
      guard let codes = planes.first(where: { $0.tensor == scales.tensor && !$0.isScale }) else { continue }
      let groupByteCount = codes.encoding.codeByteCount(elements: codes.encoding.groupSize)
      for group in 0..<scales.range.count / 2 {
        let scale: UInt16 = content.integer(at: scales.range.lowerBound + 2 * group)
        let isPortable = scale == 0 || (0x3700...0x477F).contains(scale & 0x7FFF)
        guard isPortable else {
          throw PackViolation(
            .scales, "the scale of group \(group) has bits 0x\(String(scale, radix: 16)): not portable")
        }
        guard scale == 0 else { continue }
        let zero: UInt8 = codes.encoding.kind == .int4 ? 0x88 : 0
        let start = codes.range.lowerBound + group * groupByteCount
        for byte in start..<start + groupByteCount where content.integer(at: byte, as: UInt8.self) != zero {
          throw PackViolation(.scales, "group \(group) has scale 0 and a code that is not 0")
        }
      }
      if codes.encoding.kind == .int8 {
        let hasMinimum = unsafe content.extracting(codes.range).withUnsafeBytes { unsafe $0.contains(0x80) }
        if hasMinimum { throw PackViolation(.scales, "an int8 code is -128") }
      }
    }
  }

  private func read(_ range: Range<Int>) throws(PackError) -> AlignedBuffer {
    do { return try file.read(range) } catch { throw .system(error) }
  }
}
