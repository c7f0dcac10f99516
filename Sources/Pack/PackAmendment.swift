import Glibc
import Storage

/// Attaches a drift report to a pack, or replaces the one it has (`Formats/pack.md` §7.1).
///
/// The amended pack is a new file that takes the old one's name when it is whole, so that a reader never sees half of it
/// and an attempt that fails leaves the pack as it was.
package struct PackAmendment: Sendable {
  /// Where the pack lies, links followed: they go on leading to it.
  package let path: String
  /// The root hash that the pack has without a report: what a report must call it.
  package let rootHash: UInt64
  private let pack: PackFile

  /// What is copied between two looks at whether to go on.
  private static let pieceByteCount = 16 << 20

  /// Opens the pack and verifies its tables.
  ///
  /// - Parameter rootHash: what the pack must be without a report; nil for any.
  /// - Throws: ``PackError``: a broken rule, or ``PackError/replaced(path:)`` where it is another pack.
  package init(path: String, rootHash: UInt64? = nil) throws(PackError) {
    self.path = Self.followed(path)
    pack = try PackFile(path: self.path)
    try pack.verifyTables()
    self.rootHash = try pack.headerWithoutReport.rootHash
    guard rootHash == nil || rootHash == self.rootHash else { throw .replaced(path: path) }
  }

  /// Bytes before the tables: what the calls of `progress` count to, but for a report that is replaced.
  package var byteCount: Int { pack.header.tablesOffset }

  /// Writes the pack anew with this report, in the place of the one it may have. The same report gives the same bytes.
  ///
  /// - Parameters:
  ///   - report: the document; it is not looked at.
  ///   - progress: called with the bytes copied so far.
  ///   - isInterrupted: asked after each piece; true stops with ``PackError/interrupted``.
  /// - Returns: the new header.
  /// - Throws: ``PackError``; the pack is then as it was, and nothing is left beside it.
  @discardableResult
  package func attach(
    _ report: [UInt8], progress: (Int) -> Void = { _ in }, isInterrupted: () -> Bool = { false }
  ) throws(PackError) -> PackHeader {
    try PackLimits.check(file: FileRecord.driftReport, byteCount: report.count)
    let tables = try AmendedTables(pack, report: report)
    if let free = OutputFile.freeBytes(beside: path), free < tables.header.fileLength {
      throw .diskSpace(needed: tables.header.fileLength, free: free, path: path)
    }
    let file = try makeFile()
    try copyChunks(before: tables.keptEnd, to: file, progress, isInterrupted)
    do throws(FileError) {
      // The gap before the report is never written: the file system reads it as zeros.
      try file.write(report.bytes, at: tables.report?.offset ?? tables.keptEnd)
      try file.write(tables.bytes.bytes, at: tables.header.tablesOffset)
      let header = tables.header.encoded()
      try file.write(header.bytes, at: 0)
      try file.commit(inPlaceOf: pack.mapping)
    } catch { throw error.code == FileError.changed ? .replaced(path: path) : .system(error) }
    return tables.header
  }

  private func makeFile() throws(PackError) -> OutputFile {
    do throws(FileError) {
      let file = try OutputFile(path: path)
      try file.takePermissions(of: pack.mapping)
      return file
    } catch { throw .system(error) }
  }

  /// Everything between the header and `end`, gaps included.
  private func copyChunks(
    before end: Int, to file: borrowing OutputFile, _ progress: (Int) -> Void, _ isInterrupted: () -> Bool
  ) throws(PackError) {
    let source = pack.mapping
    let pieces = stride(from: PackHeader.byteCount, to: end, by: Self.pieceByteCount).map { start in
      start..<min(start + Self.pieceByteCount, end)
    }
    // Asked before the first byte is read: what the system reads ahead would look as if it had been there.
    let wasResident = pieces.map { source.isResident($0) }
    for (piece, wasResident) in zip(pieces, wasResident) {
      if isInterrupted() { throw .interrupted }
      do { try file.copy(piece, of: source, to: piece.lowerBound) } catch { throw .system(error) }
      if !wasResident { source.release(piece) }
      progress(piece.upperBound)
    }
    if isInterrupted() { throw .interrupted }
  }

  /// The path that links lead to; the path itself where nothing is there.
  private static func followed(_ path: String) -> String { SystemCall.realPath(path) ?? path }
}
