package import Tensors

/// What a pass over all the tables knows of the chunks: the basis for checking contents and for naming damage.
package struct PackStructure: Sendable {
  /// A plane within a chunk's content.
  package struct Plane: Sendable {
    package let tensor: Int
    package let isScale: Bool
    package let encoding: Encoding
    package let range: Range<Int>
  }

  /// By chunk; nil where the record is broken.
  package fileprivate(set) var chunks: [ChunkRecord?]
  /// By chunk, in the order of the content.
  package fileprivate(set) var planes: [[Plane]]
  /// By chunk: for people, e.g. ``layer 7, expert 31`` or ``rows 0 to 511 of `lm_head.weight` ``.
  package fileprivate(set) var subjects: [String]
  /// By chunk: whether all its tensors have encodings this version knows, so that planes are complete.
  package fileprivate(set) var isUnderstood: [Bool]

  init(chunkCount: Int) {
    chunks = Array(repeating: nil, count: chunkCount)
    planes = Array(repeating: [], count: chunkCount)
    subjects = (0..<chunkCount).map { "chunk \($0)" }
    isUnderstood = Array(repeating: true, count: chunkCount)
  }
}

extension PackTables {
  /// Reads every record and reports each broken rule among 11–13, 15, 16, 20–27, 29, 30, 32, 33 (but for the files' content).
  package func verifyStructure(_ report: (PackViolation) -> Void) -> PackStructure {
    var structure = PackStructure(chunkCount: header.chunkCount)
    verifyChunks(&structure, report)
    verifyTensors(&structure, report)
    verifyFiles(&structure, report)
    verifyCover(structure, report)
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
      report(PackViolation(.chunkOrder, "the tables start at \(header.tablesOffset), the last chunk ends at \(end)"))
    }
    if !structure.chunks.contains(where: { $0 == nil }),
      usesZstd != (header.requiredFeatures & PackHeader.zstdFeature != 0)
    {
      report(PackViolation(.chunkFields, "required feature 0 and the codecs of the chunks disagree"))
    }
  }

  private func verifyTensors(_ structure: inout PackStructure, _ report: (PackViolation) -> Void) {
    var owners: [[Int]] = Array(repeating: [], count: header.chunkCount)
    var previous: String?
    var nameEnd = 0
    var isWhole = true
    for index in 0..<header.tensorCount {
      nameEnd = checkName(of: .tensor(index), startsAt: nameEnd, report)
      do throws(PackViolation) {
        let tensor = try tensor(index)
        if let previous, !previous.utf8Precedes(tensor.name) {
          report(PackViolation(.tensorOrder, "does not come after `\(previous)`", in: "tensor `\(tensor.name)`"))
        }
        previous = tensor.name
        if tensor.encoding == nil, header.writeVersion == PackHeader.version {
          report(
            PackViolation(
              .tensorEncoding, "encoding \(tensor.encodingID) is not in the list", in: "tensor `\(tensor.name)`"))
        }
        for (position, chunkIndex) in tensor.chunks.enumerated() {
          owners[chunkIndex].append(index)
          guard let chunk = structure.chunks[chunkIndex] else { continue }
          guard chunk.kind != .file, chunk.kind == .rows || tensor.chunkCount == 1 else {
            report(
              PackViolation(.owner, "chunk \(chunkIndex) is of kind \(chunk.kind)", in: "tensor `\(tensor.name)`"))
            continue
          }
          if chunk.kind == .rows {
            let rows = tensor.rows(inChunk: position)
            structure.subjects[chunkIndex] = "rows \(rows.lowerBound) to \(rows.upperBound - 1) of `\(tensor.name)`"
          } else {
            verifyExpertName(tensor, chunk, chunkIndex, report)
          }
          guard let encoding = tensor.encoding else {
            structure.isUnderstood[chunkIndex] = false
            continue
          }
          let planes = try planes(of: tensor, encoding: encoding, position: position, in: chunk)
          for (plane, range) in planes.enumerated() where plane == 0 || encoding.isGrouped {
            structure.planes[chunkIndex].append(
              .init(tensor: index, isScale: plane == 1, encoding: encoding, range: range))
          }
        }
      } catch {
        report(error)
        // What the broken tensor covers is unknown, so no chunk can be blamed for holes or a missing owner.
        structure.isUnderstood = structure.isUnderstood.map { _ in false }
        isWhole = false
      }
    }
    if isWhole { verifyOwners(owners, structure, report) }
    var fileEnd = nameEnd
    for index in 0..<header.fileCount { fileEnd = checkName(of: .file(index), startsAt: fileEnd, report) }
    checkStringsEnd(fileEnd, report)
  }

  private func verifyExpertName(
    _ tensor: TensorRecord, _ chunk: ChunkRecord, _ index: Int, _ report: (PackViolation) -> Void
  ) {
    let stem = "model.layers.\(chunk.layer).mlp.experts.\(chunk.expert)."
    if !["gate_proj", "up_proj", "down_proj"].contains(where: { tensor.name == "\(stem)\($0).weight" }) {
      report(
        PackViolation(
          .owner, "chunk \(index) is layer \(chunk.layer), expert \(chunk.expert)", in: "tensor `\(tensor.name)`"))
    }
  }

  private func verifyOwners(_ owners: [[Int]], _ structure: PackStructure, _ report: (PackViolation) -> Void) {
    for (index, chunk) in structure.chunks.enumerated() {
      guard let chunk, chunk.kind != .file else { continue }
      let expected = chunk.kind == .expert ? 3 : 1
      if owners[index].count != expected || owners[index].min() != chunk.owner {
        report(
          PackViolation(
            .owner, "owner \(chunk.owner) is recorded; \(owners[index].count) of \(expected) tensors name it",
            at: chunk.byteRange, in: "chunk \(index)"))
      }
      if chunk.kind == .rows, chunk.layer != 0 || chunk.expert != 0 {
        report(PackViolation(.owner, "rows with a layer or expert number", at: chunk.byteRange, in: "chunk \(index)"))
      }
    }
  }

  private func verifyFiles(_ structure: inout PackStructure, _ report: (PackViolation) -> Void) {
    var previous: String?
    var missing: Set<String> = ["provenance.json", "source/config.json"]
    var owners: [Int: Int] = [:]
    for index in 0..<header.fileCount {
      do throws(PackViolation) {
        let file = try file(index)
        if let previous, !previous.utf8Precedes(file.name) {
          report(PackViolation(.fileRecord, "does not come after `\(previous)`", in: "file `\(file.name)`"))
        }
        previous = file.name
        missing.remove(file.name)
        owners[file.chunk, default: 0] += 1
        structure.subjects[file.chunk] = "file `\(file.name)`"
        guard let chunk = structure.chunks[file.chunk] else { continue }
        if chunk.kind != .file || chunk.tailOffset != chunk.contentLength {
          report(PackViolation(.fileRecord, "chunk \(file.chunk) holds no file", in: "file `\(file.name)`"))
        } else if chunk.owner != index || chunk.layer != 0 || chunk.expert != 0 {
          report(PackViolation(.owner, "chunk \(file.chunk) names another owner", in: "file `\(file.name)`"))
        }
      } catch { report(error) }
    }
    for name in missing.sorted() { report(PackViolation(.requiredFiles, "`\(name)` is missing")) }
    for (index, chunk) in structure.chunks.enumerated() where chunk?.kind == .file && owners[index] != 1 {
      report(PackViolation(.owner, "\(owners[index] ?? 0) files name this chunk", in: "chunk \(index)"))
    }
  }

  /// Rule 27: planes, tail and end are where the layout of the format puts them.
  private func verifyCover(_ structure: PackStructure, _ report: (PackViolation) -> Void) {
    for (index, chunk) in structure.chunks.enumerated() {
      guard let chunk, chunk.kind != .file, structure.isUnderstood[index] else { continue }
      let planes = structure.planes[index].sorted {
        ($0.tensor, $0.range.lowerBound) < ($1.tensor, $1.range.lowerBound)
      }
      var codes = planes.filter { !$0.isScale }
      // By name down comes before gate and up; in the content it comes last.
      if chunk.kind == .expert, codes.count == 3 { codes.append(codes.removeFirst()) }
      let layout = ContentLayout(
        codes.map { .init(encoding: $0.encoding, elementCount: $0.range.count * 8 / $0.encoding.codeBits) })
      let found = codes.map { code in
        [code.range, planes.first { $0.isScale && $0.tensor == code.tensor }?.range ?? 0..<0]
      }
      if found != layout.planes || chunk.tailOffset != layout.tailOffset || chunk.contentLength != layout.byteCount {
        report(
          PackViolation(
            .planeCover, "its planes are not where they belong", at: chunk.byteRange, in: structure.subjects[index]))
      }
    }
  }
}
