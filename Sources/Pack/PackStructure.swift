import Storage
package import Tensors

/// What a pass over all the tables knows of the chunks: the basis for checking contents and for naming damage.
package struct PackStructure: Sendable {
  /// A plane within a chunk's content.
  package struct Plane: Sendable {
    package let tensor: Int
    package let encoding: Encoding
    package let description: Encoding.Plane
    /// Columns of a row of the tensor.
    package let columns: Int
    package let range: Range<Int>

    package var isScale: Bool { description.isScale }
    /// Bytes of one row.
    package var rowByteCount: Int { description.byteCount(elements: columns, columns: columns) }
  }

  /// By chunk; nil where the record is broken.
  package fileprivate(set) var chunks: [ChunkRecord?]
  /// By chunk, in the order of the content.
  package fileprivate(set) var planes: [[Plane]]
  /// By chunk: for people, e.g. ``layer 7, expert 31`` or ``rows 0 to 511 of `lm_head.weight` ``.
  package fileprivate(set) var subjects: [String]
  /// By chunk: whether its content is to be looked at. What overlaps is not read again and again, and what is too large for
  /// what it is not unpacked.
  package fileprivate(set) var isRead: [Bool]
  /// By chunk: whether all its tensors have encodings this version knows, so that planes are complete.
  package fileprivate(set) var isUnderstood: [Bool]

  init(chunkCount: Int) {
    chunks = Array(repeating: nil, count: chunkCount)
    planes = Array(repeating: [], count: chunkCount)
    subjects = (0..<chunkCount).map { "chunk \($0)" }
    isUnderstood = Array(repeating: true, count: chunkCount)
    isRead = isUnderstood
  }
}

extension PackTables {
  /// Reads every record and reports each broken rule among 11–13, 15, 16, 20–27, 29, 30, 32, 33 (but for the files'
  /// content), 34.
  package func verifyStructure(_ report: (PackViolation) -> Void) -> PackStructure {
    var structure = PackStructure(chunkCount: header.chunkCount)
    verifyChunks(&structure, report)
    verifyTensors(&structure, report)
    verifyFiles(&structure, report)
    verifyCover(&structure, report)
    return structure
  }

  private func verifyChunks(_ structure: inout PackStructure, _ report: (PackViolation) -> Void) {
    var end: Int? = PackHeader.byteCount  // nil after a broken record: nothing can be said of the next place
    var usesZstd = false
    for index in 0..<header.chunkCount {
      do throws(PackViolation) {
        let record = try chunk(index)
        structure.chunks[index] = record
        usesZstd = usesZstd || record.codec == .zstd
        if record.kind == .expert { structure.subjects[index] = "layer \(record.layer), expert \(record.expert)" }
        if let end, record.offset != end.roundedUp(to: record.alignment) {
          structure.isRead[index] = false
          let place = end.roundedUp(to: record.alignment)
          report(
            PackViolation(
              .chunkOrder, "starts at \(record.offset), its place is \(place)", at: record.byteRange,
              in: "chunk \(index)"))
        }
        end = record.byteRange.upperBound
      } catch {
        report(error)
        end = nil
      }
    }
    if let end, header.tablesOffset != end.roundedUp(to: PackLimits.alignment) {
      report(
        PackViolation(
          .chunkOrder, "the tables start at \(header.tablesOffset), the last chunk ends at \(end)", at: 40..<48))
    }
    if !structure.chunks.contains(where: { $0 == nil }),
      usesZstd != (header.requiredFeatures & PackHeader.zstdFeature != 0)
    {
      report(PackViolation(.chunkFields, "required feature 0 and the codecs of the chunks disagree", at: 16..<24))
    }
  }

  private func verifyTensors(_ structure: inout PackStructure, _ report: (PackViolation) -> Void) {
    var owners: [[Int]] = Array(repeating: [], count: header.chunkCount)
    var previous: String?
    var nameEnd: Int? = 0
    var hasBroken = false
    for index in 0..<header.tensorCount {
      var isNameBroken = false
      do throws(PackViolation) {
        var tensor = try tensor(index)
        if let previous, !previous.utf8Precedes(tensor.name) {
          report(
            PackViolation(
              .tensorOrder, "does not come after `\(previous)`", at: tensorPlace(index), in: "tensor `\(tensor.name)`"))
        }
        previous = tensor.name
        // A newer writer may use what this version does not know, an older one nothing newer than itself.
        if header.writeVersion < tensor.encoding?.kind.version ?? (PackHeader.writerVersion + 1) {
          report(
            PackViolation(
              .tensorEncoding, "encoding \(tensor.encodingID) is not in the list of version \(header.writeVersion)",
              at: tensorPlace(index),
              in: "tensor `\(tensor.name)`"))
          tensor.encoding = nil
        }
        try verifyChunks(of: tensor, index, &structure, &owners, report)
      } catch {
        report(error)
        hasBroken = true
        isNameBroken = error.rule == .tensorName
      }
      nameEnd = checkName(of: .tensor(index), startsAt: nameEnd, isBroken: isNameBroken, report)
    }
    // What a broken tensor covers is unknown, so chunks cannot be blamed for holes or missing tensors.
    if hasBroken { structure.isUnderstood = structure.isUnderstood.map { _ in false } }
    verifyOwners(owners, structure, mayMiss: hasBroken, report)
    for index in 0..<header.fileCount {
      var isBroken = false
      do throws(PackViolation) { _ = try file(index) } catch { isBroken = true }
      nameEnd = checkName(of: .file(index), startsAt: nameEnd, isBroken: isBroken, report)
    }
    checkStringsEnd(nameEnd, report)
  }

  /// Rules 26 and 29 for one tensor.
  private func verifyChunks(
    of tensor: TensorRecord, _ index: Int, _ structure: inout PackStructure, _ owners: inout [[Int]],
    _ report: (PackViolation) -> Void
  ) throws(PackViolation) {
    func broken(_ rule: PackRule, _ detail: String) -> PackViolation {
      PackViolation(rule, detail, at: tensorPlace(index), in: "tensor `\(tensor.name)`")
    }
    for (position, chunkIndex) in tensor.chunks.enumerated() {
      // Stopping here keeps the work proportional to the tables, whatever chunks the tensors claim.
      guard owners[chunkIndex].count < 3 else {
        return report(broken(.owner, "chunk \(chunkIndex) belongs to three others already"))
      }
      owners[chunkIndex].append(index)
      guard let chunk = structure.chunks[chunkIndex] else { continue }
      guard chunk.kind != .file, chunk.kind == .rows || tensor.chunkCount == 1 else {
        report(broken(.owner, "chunk \(chunkIndex) is of kind \(chunk.kind)"))
        continue
      }
      if chunk.kind == .rows {
        let rows = tensor.rows(inChunk: position)
        structure.subjects[chunkIndex] = "rows \(rows.lowerBound) to \(rows.upperBound - 1) of `\(tensor.name)`"
      } else {
        if !name(tensor.name, hasNumbers: chunk.layer, chunk.expert) {
          report(broken(.owner, "chunk \(chunkIndex) is layer \(chunk.layer), expert \(chunk.expert)"))
        }
      }
      guard let encoding = tensor.encoding else {
        structure.isUnderstood[chunkIndex] = false
        continue
      }
      let planes: [Range<Int>]
      do throws(PackViolation) {
        planes = try self.planes(of: tensor, encoding: encoding, position: position, in: chunk)
      } catch { throw broken(error.rule, error.detail) }
      for (description, range) in zip(encoding.planes, planes) {
        structure.planes[chunkIndex].append(
          .init(
            tensor: index, encoding: encoding, description: description, columns: tensor.shape.columns, range: range))
      }
    }
  }

  /// - Parameter mayMiss: whether a tensor that could not be read may be the one that a chunk lacks.
  private func verifyOwners(
    _ owners: [[Int]], _ structure: PackStructure, mayMiss: Bool, _ report: (PackViolation) -> Void
  ) {
    for (index, chunk) in structure.chunks.enumerated() {
      guard let chunk, chunk.kind != .file else { continue }
      let expected = chunk.kind == .expert ? 3 : 1
      let isComplete = owners[index].count == expected && owners[index].min() == chunk.owner
      if !isComplete, owners[index].count >= expected || !mayMiss {
        report(
          PackViolation(
            .owner, "owner \(chunk.owner) is recorded; \(owners[index].count) of \(expected) tensors name it",
            at: chunkPlace(index), in: "chunk \(index)"))
      }
      if chunk.kind == .rows, chunk.layer != 0 || chunk.expert != 0 {
        report(PackViolation(.owner, "rows with a layer or expert number", at: chunkPlace(index), in: "chunk \(index)"))
      }
    }
  }

  private func verifyFiles(_ structure: inout PackStructure, _ report: (PackViolation) -> Void) {
    var previous: String?
    var missing: Set<String> = ["provenance.json", "source/config.json"]
    var owners: [Int: Int] = [:]
    var hasBroken = false
    for index in 0..<header.fileCount {
      do throws(PackViolation) {
        let file = try file(index)
        func broken(_ rule: PackRule, _ detail: String, at place: Range<Int>) -> PackViolation {
          PackViolation(rule, detail, at: place, in: "file `\(file.name)`")
        }
        if let previous, !previous.utf8Precedes(file.name) {
          report(broken(.fileRecord, "does not come after `\(previous)`", at: filePlace(index)))
        }
        previous = file.name
        missing.remove(file.name)
        owners[file.chunk, default: 0] += 1
        structure.subjects[file.chunk] = "file `\(file.name)`"
        if file.name == FileRecord.driftReport, file.chunk != header.chunkCount - 1 {
          report(broken(.fileRecord, "its chunk \(file.chunk) is not the last", at: filePlace(index)))
        }
        guard let chunk = structure.chunks[file.chunk] else { continue }
        if chunk.kind != .file || chunk.tailOffset != chunk.contentLength {
          report(broken(.fileRecord, "chunk \(file.chunk) holds no file", at: filePlace(index)))
        } else if chunk.owner != index || chunk.layer != 0 || chunk.expert != 0 {
          report(broken(.owner, "chunk \(file.chunk) names another owner", at: chunkPlace(file.chunk)))
        }
        if let violation = file.sizeViolation(chunk, in: file.chunk) {
          structure.isRead[file.chunk] = false
          report(violation)
        }
      } catch {
        report(error)
        hasBroken = true
      }
    }
    // A file that could not be read may be the one that is missed.
    for name in missing.sorted() where !hasBroken {
      report(PackViolation(.requiredFiles, "`\(name)` is missing", at: filesPlace))
    }
    for (index, chunk) in structure.chunks.enumerated() {
      guard chunk?.kind == .file, owners[index] != 1, owners[index] != nil || !hasBroken else { continue }
      report(
        PackViolation(
          .owner, "\(owners[index] ?? 0) files name this chunk", at: chunkPlace(index), in: "chunk \(index)"))
    }
  }

  /// Rule 27: planes, tail and end are where the layout of the format puts them.
  private func verifyCover(_ structure: inout PackStructure, _ report: (PackViolation) -> Void) {
    for (index, chunk) in structure.chunks.enumerated() {
      guard let chunk, chunk.kind != .file, structure.isUnderstood[index] else { continue }
      let planes = structure.planes[index].sorted {
        ($0.tensor, $0.range.lowerBound) < ($1.tensor, $1.range.lowerBound)
      }
      var codes = planes.filter { !$0.isScale }
      // By name down comes before gate and up; in the content it comes last.
      if chunk.kind == .expert, codes.count == 3 { codes.append(codes.removeFirst()) }
      let layout = ContentLayout(
        codes.map {
          .init(
            encoding: $0.encoding, elementCount: $0.range.count * 8 / $0.encoding.codeBits, columns: $0.columns)
        })
      let found = codes.map { code in planes.filter { $0.tensor == code.tensor }.map(\.range) }
      // A gigabyte that no tensor fills need not be unpacked to be wrong.
      if chunk.contentLength > layout.byteCount { structure.isRead[index] = false }
      if found != layout.planes || chunk.tailOffset != layout.tailOffset || chunk.contentLength != layout.byteCount {
        report(
          PackViolation(
            .planeCover, "its planes are not where they belong", at: chunk.byteRange, in: structure.subjects[index]))
      }
    }
  }
}

/// Whether the words between the dots of a name hold these numbers, in this order and without leading zeros, and no others.
private func name(_ name: String, hasNumbers first: Int, _ second: Int) -> Bool {
  var found = 0
  var (value, length, isNumber) = (0, 0, true)
  func ends() -> Bool {
    guard isNumber, length > 0 else { return true }
    found += 1
    return found == 1 ? value == first : found == 2 && value == second
  }
  for byte in name.utf8 {
    if byte == UInt8(ascii: ".") {
      guard ends() else { return false }
      (value, length, isNumber) = (0, 0, true)
    } else {
      isNumber = isNumber && (0x30...0x39).contains(byte) && length < 9 && (length == 0 || value > 0)
      if isNumber { value = 10 * value + Int(byte - 0x30) }
      length += 1
    }
  }
  return ends() && found == 2
}
