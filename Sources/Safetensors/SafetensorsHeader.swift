import JSON
import Tensors

/// The validated header of one safetensors file: 8 bytes of length, then JSON, padded with spaces.
///
/// This is the only place that distrusts the bytes of a file. What it returns is known to lie within the file, to fit
/// dtype and shape, and to cover the data without overlap or hole.
package struct SafetensorsHeader: Sendable {
  /// Bytes of the little-endian length in front of the JSON.
  package static var lengthByteCount: Int { 8 }
  /// Longest JSON that is read, the limit of the reference implementation; LLaDA2 needs 2.6 MB for 24,161 tensors.
  package static var maximumByteCount: Int { 100_000_000 }
  /// Checkpoints have matrices and, when experts are stacked, rank 3.
  package static var maximumRank: Int { 8 }
  /// The key that is no tensor.
  package static var metadataKey: String { "__metadata__" }

  /// Bytes of length and JSON together; the data begins here.
  package let byteCount: Int
  /// `__metadata__`, empty when there is none.
  package let metadata: [String: String]
  /// All tensors in the order of their bytes.
  package let tensors: [TensorEntry]
  private let positions: [String: Int]

  /// The entry of a name, or nil.
  package subscript(name: String) -> TensorEntry? { positions[name].map { tensors[$0] } }

  /// Reads and checks the header.
  ///
  /// - Parameters:
  ///   - header: the first bytes of the file, the whole header among them; more is not looked at.
  ///   - fileByteCount: size of the whole file.
  ///   - path: named in errors.
  /// - Throws: one error per rule of ``SafetensorsRule``, from `fileTooShort` to `trailingBytes`.
  package static func parse(
    header: RawSpan, fileByteCount: Int, path: String
  ) throws(SafetensorsError) -> SafetensorsHeader {
    let end = try headerEnd(header, fileByteCount: fileByteCount, path: path)
    let text = header.extracting(lengthByteCount..<end)
    // The format wants `{` at once, so that no other kind of file can hide in front of it.
    guard text.byteCount > 0, text.integer(at: 0, as: UInt8.self) == UInt8(ascii: "{") else {
      throw SafetensorsError(.headerNotObject, path: path, byteOffset: lengthByteCount)
    }
    let members: [JSONObject.Member]
    do throws(JSONError) {
      members = try JSONParser.parse(text).object?.members ?? []
    } catch {
      let byteOffset = lengthByteCount + error.byteOffset
      throw SafetensorsError(.headerNotJSON(problem: error.reason), path: path, byteOffset: byteOffset)
    }

    var metadata: [String: String] = [:]
    var tensors: [TensorEntry] = []
    tensors.reserveCapacity(members.count)
    for member in members {
      if member.key == metadataKey {
        metadata = try readMetadata(member, path: path)
      } else {
        let reader = EntryReader(member: member, dataStart: end, fileByteCount: fileByteCount, path: path)
        tensors.append(try reader.entry())
      }
    }
    // Tensors without elements may share a position; the header's order decides then.
    tensors.sort {
      ($0.byteRange.lowerBound, $0.byteRange.upperBound, $0.headerOffset)
        < ($1.byteRange.lowerBound, $1.byteRange.upperBound, $1.headerOffset)
    }
    try requireCoverage(of: end..<fileByteCount, by: tensors, path: path)
    let positions = try index(tensors, path: path)
    return SafetensorsHeader(byteCount: end, metadata: metadata, tensors: tensors, positions: positions)
  }

  /// Where the header ends, known to lie within the file, before anything is parsed or allocated.
  private static func headerEnd(
    _ header: RawSpan, fileByteCount: Int, path: String
  ) throws(SafetensorsError) -> Int {
    guard min(header.byteCount, fileByteCount) >= lengthByteCount else {
      throw SafetensorsError(.fileTooShort(byteCount: fileByteCount), path: path, byteOffset: 0)
    }
    let stated = header.integer(at: 0, as: UInt64.self)
    guard stated <= UInt64(maximumByteCount) else {
      throw SafetensorsError(.headerTooLong(byteCount: stated, limit: maximumByteCount), path: path, byteOffset: 0)
    }
    let end = lengthByteCount + Int(stated)
    guard end <= min(header.byteCount, fileByteCount) else {
      throw SafetensorsError(
        .headerOutsideFile(headerEnd: end, fileByteCount: fileByteCount), path: path, byteOffset: 0)
    }
    return end
  }

  private static func readMetadata(
    _ member: JSONObject.Member, path: String
  ) throws(SafetensorsError) -> [String: String] {
    // Some writers put a null where there is none; all readers take it for that.
    if member.value.isNull { return [:] }
    guard let object = member.value.object else {
      throw SafetensorsError(
        .metadataNotText(key: nil, found: member.value.kind), path: path,
        byteOffset: lengthByteCount + member.byteOffset)
    }
    var metadata: [String: String] = [:]
    for item in object.members {
      let byteOffset = lengthByteCount + item.byteOffset
      guard let text = item.value.string else {
        throw SafetensorsError(
          .metadataNotText(key: item.key, found: item.value.kind), path: path, byteOffset: byteOffset)
      }
      guard metadata.updateValue(text, forKey: item.key) == nil else {
        throw SafetensorsError(.ambiguousName(item.key), path: path, byteOffset: byteOffset)
      }
    }
    return metadata
  }

  /// Where each name stands in `tensors`.
  private static func index(_ tensors: [TensorEntry], path: String) throws(SafetensorsError) -> [String: Int] {
    var positions: [String: Int] = [:]
    positions.reserveCapacity(tensors.count)
    for (position, tensor) in tensors.enumerated() {
      // JSON keys differ by bytes, Swift's strings by letters: both spellings of an accent are one name here.
      guard positions.updateValue(position, forKey: tensor.name) == nil else {
        throw SafetensorsError(
          .ambiguousName(tensor.name), path: path, tensor: tensor.name, byteOffset: tensor.headerOffset)
      }
    }
    return positions
  }

  /// Every byte of `data` belongs to exactly one of `tensors`, which are sorted by position.
  ///
  /// A file with a hole could carry something else inside, one with an overlap could grow without end when converted.
  private static func requireCoverage(
    of data: Range<Int>, by tensors: [TensorEntry], path: String
  ) throws(SafetensorsError) {
    var end = data.lowerBound
    var previous = ""
    for tensor in tensors {
      let begin = tensor.byteRange.lowerBound
      guard begin >= end else {
        throw SafetensorsError(
          .overlap(with: previous, byteCount: end - begin), path: path, tensor: tensor.name,
          byteOffset: tensor.headerOffset)
      }
      guard begin == end else {
        throw SafetensorsError(.hole(end..<begin), path: path, tensor: tensor.name, byteOffset: tensor.headerOffset)
      }
      end = tensor.byteRange.upperBound
      previous = tensor.name
    }
    guard end == data.upperBound else {
      throw SafetensorsError(.trailingBytes(end..<data.upperBound), path: path, byteOffset: end)
    }
  }
}
