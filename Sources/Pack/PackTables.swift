import Storage
package import Tensors

/// The tables of a pack, looked up in place. Every record is checked when it is read, so nothing has to be parsed first.
package struct PackTables: ~Escapable {
  package let header: PackHeader
  private let bytes: RawSpan
  private let path: String

  /// - Parameter bytes: `header.tablesLength` bytes.
  @_lifetime(copy bytes)
  init(header: PackHeader, bytes: RawSpan, path: String) {
    precondition(bytes.byteCount == header.tablesLength)
    self.header = header
    self.bytes = bytes
    self.path = path
  }

  private var tensorsOffset: Int { ChunkRecord.byteCount * header.chunkCount }
  private var filesOffset: Int { tensorsOffset + TensorRecord.byteCount * header.tensorCount }
  private var stringsOffset: Int { filesOffset + FileRecord.byteCount * header.fileCount }

  private var strings: RawSpan {
    @_lifetime(copy self) get { bytes.extracting(stringsOffset..<stringsOffset + header.stringsLength) }
  }
  private var padding: RawSpan {
    @_lifetime(copy self) get { bytes.extracting(stringsOffset + header.stringsLength..<bytes.byteCount) }
  }

  /// The tensor table and the names of tensors, as they lie in the file.
  ///
  /// - Precondition: the names of the files keep rule 21.
  var tensorRecords: RawSpan { @_lifetime(copy self) get { bytes.extracting(tensorsOffset..<filesOffset) } }
  @_lifetime(copy self)
  func tensorNames(before files: [FileRecord]) -> RawSpan {
    strings.extracting(first: header.stringsLength - files.reduce(0) { $0 + $1.name.utf8.count })
  }

  /// Where records and names stand in the file.
  func chunkPlace(_ index: Int) -> Range<Int> { place(ChunkRecord.byteCount * index, ChunkRecord.byteCount) }
  func tensorPlace(_ index: Int) -> Range<Int> {
    place(tensorsOffset + TensorRecord.byteCount * index, TensorRecord.byteCount)
  }
  func filePlace(_ index: Int) -> Range<Int> { place(filesOffset + FileRecord.byteCount * index, FileRecord.byteCount) }
  var filesPlace: Range<Int> { place(filesOffset, FileRecord.byteCount * header.fileCount) }
  private func place(_ offset: Int, _ count: Int) -> Range<Int> {
    header.tablesOffset + offset..<header.tablesOffset + offset + count
  }

  @_lifetime(copy self)
  private func chunkBytes(_ index: Int) -> RawSpan {
    let start = ChunkRecord.byteCount * index
    return bytes.extracting(start..<start + ChunkRecord.byteCount)
  }
  @_lifetime(copy self)
  private func tensorBytes(_ index: Int) -> RawSpan {
    let start = tensorsOffset + TensorRecord.byteCount * index
    return bytes.extracting(start..<start + TensorRecord.byteCount)
  }
  @_lifetime(copy self)
  private func fileBytes(_ index: Int) -> RawSpan {
    let start = filesOffset + FileRecord.byteCount * index
    return bytes.extracting(start..<start + FileRecord.byteCount)
  }

  /// - Throws: a broken rule among 11, 12, 13, 15, 16, 34.
  package func chunk(_ index: Int) throws(PackViolation) -> ChunkRecord {
    do throws(PackViolation) {
      return try ChunkRecord(reading: chunkBytes(index), limit: header.tablesOffset)
    } catch {
      throw PackViolation(error.rule, error.detail, at: chunkPlace(index), in: "chunk \(index)")
    }
  }

  /// - Throws: a broken rule among 20, 23, 24, 25, 30.
  package func tensor(_ index: Int) throws(PackViolation) -> TensorRecord {
    do throws(PackViolation) {
      return try TensorRecord(reading: tensorBytes(index), strings: strings, chunkTotal: header.chunkCount)
    } catch {
      throw PackViolation(error.rule, error.detail, at: tensorPlace(index), in: error.subject ?? "tensor \(index)")
    }
  }

  /// - Throws: rule 32.
  package func file(_ index: Int) throws(PackViolation) -> FileRecord {
    do throws(PackViolation) {
      return try FileRecord(reading: fileBytes(index), strings: strings, chunkTotal: header.chunkCount)
    } catch {
      throw PackViolation(error.rule, error.detail, at: filePlace(index), in: error.subject ?? "file \(index)")
    }
  }

  /// The place of a tensor in the table, by bisection; nil when there is none of this name.
  package func tensorIndex(named name: String) throws(PackViolation) -> Int? {
    var range = 0..<header.tensorCount
    while !range.isEmpty {
      let middle = range.lowerBound + range.count / 2
      let found = try tensor(middle).name
      if found.utf8.elementsEqual(name.utf8) { return middle }
      range = found.utf8Precedes(name) ? middle + 1..<range.upperBound : range.lowerBound..<middle
    }
    return nil
  }

  /// Byte ranges of a tensor's planes in the content of its chunk `position`.
  ///
  /// - Throws: rule 26; nil encoding must be handled by the caller.
  package func planes(
    of tensor: TensorRecord, encoding: Encoding, position: Int, in chunk: ChunkRecord
  ) throws(PackViolation) -> [Range<Int>] {
    let elements =
      chunk.kind == .expert ? tensor.shape.elementCount : tensor.rows(inChunk: position).count * tensor.shape.columns
    let isShort = chunk.kind == .rows && tensor.rows(inChunk: position).count < tensor.rowsPerChunk
    func misplaced(_ plane: Int, _ offset: Int, _ length: Int) -> PackViolation {
      PackViolation(
        .planePlace, "plane \(plane) of \(length) bytes at \(offset) of a content of \(chunk.contentLength)",
        in: "tensor `\(tensor.name)`")
    }
    var planes: [Range<Int>] = []
    for (index, plane) in encoding.planes.enumerated() {
      let length = plane.byteCount(elements: elements, columns: tensor.shape.columns)
      let next = (planes.last?.upperBound ?? 0).roundedUp(to: PackLimits.alignment)
      let offset = isShort && encoding.isGrouped ? next : tensor.planeOffsets[index]
      let allowed = plane.is16Bit ? chunk.tailOffset..<chunk.contentLength : 0..<chunk.tailOffset
      let fits =
        offset % PackLimits.alignment == 0 && offset >= allowed.lowerBound && offset <= allowed.upperBound
        && length <= allowed.upperBound - offset
      guard fits else { throw misplaced(index, offset, length) }
      planes.append(offset..<offset + length)
    }
    for index in planes.count..<tensor.planeOffsets.count where tensor.planeOffsets[index] != 0 {
      throw misplaced(index, tensor.planeOffsets[index], 0)
    }
    return planes
  }

  enum RecordPlace { case tensor(Int), file(Int) }

  /// Rule 21 for one record: that its name starts where the one before ended. Returns where it ends; nil where that cannot
  /// be said.
  ///
  /// - Parameters:
  ///   - expected: nil after a name without a known end.
  ///   - isBroken: whether the name itself breaks a rule, which is reported elsewhere.
  func checkName(
    of record: RecordPlace, startsAt expected: Int?, isBroken: Bool, _ report: (PackViolation) -> Void
  ) -> Int? {
    let (bytes, place, subject) =
      switch record {
      case .tensor(let index): (tensorBytes(index), tensorPlace(index), "tensor \(index)")
      case .file(let index): (fileBytes(index), filePlace(index), "file \(index)")
      }
    let offset = Int(bytes.integer(at: 0, as: UInt32.self))
    if let expected, offset != expected {
      guard !isBroken else { return nil }
      report(
        PackViolation(.strings, "its name is at \(offset) of the strings, not at \(expected)", at: place, in: subject))
    }
    return offset + Int(bytes.integer(at: 4, as: UInt16.self))
  }

  /// Rule 21 for the end of the strings.
  func checkStringsEnd(_ end: Int?, _ report: (PackViolation) -> Void) {
    if end ?? header.stringsLength != header.stringsLength || !padding.isZero {
      let found = end.map { "names end at \($0) of \(header.stringsLength) bytes" } ?? "names end"
      report(
        PackViolation(
          .strings, "\(found), zeros must follow", at: header.tablesOffset + stringsOffset..<header.fileLength))
    }
  }
}
