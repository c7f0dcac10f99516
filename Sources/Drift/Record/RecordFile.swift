package import JSON
import Pack
package import Safetensors
import Storage
import Tensors

/// Keys of the metadata (`Formats/drift-record.md` §1).
enum RecordKey {
  static let version = "ingot.drift_record"
  static let documentHash = "ingot.document_xxh3"
  static let dataHash = "ingot.data_xxh3"

  /// The hash of all tensors in the order of their data: names and contents.
  static func hash(_ tensors: [(name: String, contents: UInt64)]) -> UInt64 {
    var writer = ByteWriter(capacity: 16 * tensors.count)
    for tensor in tensors {
      let name = Array(tensor.name.utf8)
      writer.append(XXH3.hash(name.bytes))
      writer.append(tensor.contents)
    }
    let hashes = writer.bytes
    return XXH3.hash(hashes.bytes)
  }
}

extension DriftRecord {
  package static let version = 2
  /// The versions that are read.
  package static let versions = 1...2

  /// Where the key of the metadata is looked for.
  private static let sniffedByteCount = 4096

  /// Whether a file says that it is a record; also one that is damaged or cut short behind that.
  package static func isRecord(_ path: String) -> Bool {
    guard let file = try? MappedFile(path: path) else { return false }
    let bytes = file.bytes
    let start = bytes.extracting(0..<min(bytes.byteCount, sniffedByteCount)).array
    guard start.count > SafetensorsHeader.lengthByteCount,
      start[SafetensorsHeader.lengthByteCount] == UInt8(ascii: "{")
    else { return false }
    return start.contains(Array("\"\(RecordKey.version)\"".utf8))
  }

  /// Writes the file; it appears under its name only when whole.
  ///
  /// - Parameters:
  ///   - replaces: whether a file that has the name may be replaced.
  ///   - tool: version of what writes it.
  package func write(to path: String, replaces: Bool, tool: String) throws(SafetensorsError) {
    try Self.write(document(tool: tool), tensors, to: path, replaces: replaces)
  }

  /// A record with these hashes right, whatever it holds.
  package static func write(
    _ document: JSONValue, _ tensors: [SafetensorsWriter.Tensor], version: Int = version, to path: String,
    replaces: Bool
  ) throws(SafetensorsError) {
    let text = Array(document.text(indented: false).utf8)
    let limit = RecordReader.limits.byteCount
    guard text.count <= limit else {
      throw SafetensorsError(.fileTooLarge(byteCount: text.count, limit: limit), path: path)
    }
    let all = (tensors + [tensor(documentName, .u8, text.count) { text }])
      .sorted { SafetensorsHeader.inFileOrder($0.description, $1.description) }
    let hashes = all.map { tensor in
      let bytes = tensor.bytes()
      return (name: tensor.description.name, contents: XXH3.hash(bytes.bytes))
    }
    let metadata = [
      (key: RecordKey.version, value: "\(version)"), (RecordKey.documentHash, XXH3.text(XXH3.hash(text.bytes))),
      (RecordKey.dataHash, XXH3.text(RecordKey.hash(hashes))),
    ]
    try SafetensorsWriter.write(all, metadata: metadata, to: path, replaces: replaces)
  }

  /// Reads a record and checks every rule of its format.
  package init(path: String) throws(RecordError) {
    var reader = try RecordReader(path: path)
    var (record, holds) = try Self.read(try reader.document(), version: reader.version, path: path)
    let vocabulary = record.model.sizes.vocabulary
    if holds.masked {
      let scoring = record.scoring
      let (places, rows) = try reader.rows("masked.", count: scoring.positionCount, vocabulary: vocabulary)
      guard places == scoring.places else {
        throw .broken("the masks drawn from its seed are not at `masked.places`", path: path)
      }
      let routes = try reader.routes(count: rows.count, sizes: record.model.sizes)
      record.scores = ReferenceScores(rows: rows, routes: routes)
    }
    if holds.trajectories {
      let (places, rows) = try reader.rows("along.", count: nil, vocabulary: vocabulary)
      record.trajectories?.places = places
      record.trajectories?.rows = rows
    }
    try reader.finish()
    self = record
  }
}
