import JSON
import Storage

/// The validated header of one safetensors file: 8 bytes of length, then JSON, padded with spaces.
///
/// This is the only place that distrusts the bytes of a file. What it returns is known to lie within the file, to fit
/// dtype and shape, and to cover the data without overlap or hole.
package struct SafetensorsHeader: Sendable {
  /// Bytes of the little-endian length in front of the JSON.
  package static var lengthByteCount: Int { 8 }
  /// Longest JSON that is read, the limit of the reference implementation; LLaDA2 needs 2.6 MB for 24,161 tensors.
  package static var maximumByteCount: Int { 100_000_000 }
  /// Values of one entry, at any depth: metadata may be long.
  private static var maximumMemberValues: Int { 1 << 18 }
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

  /// What was read and checked; tensors in the order of their bytes, no name twice.
  init(byteCount: Int, metadata: [String: String], tensors: [TensorEntry]) {
    self.byteCount = byteCount
    self.metadata = metadata
    self.tensors = tensors
    positions = Dictionary(uniqueKeysWithValues: tensors.enumerated().map { ($1.name, $0) })
  }

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
    let (metadata, listed) = try members(of: text, dataStart: end, fileByteCount: fileByteCount, path: path)
    var tensors = listed
    // Tensors without elements may share a position; the header's order decides then.
    tensors.sort {
      ($0.byteRange.lowerBound, $0.byteRange.upperBound, $0.headerOffset)
        < ($1.byteRange.lowerBound, $1.byteRange.upperBound, $1.headerOffset)
    }
    try requireCoverage(of: end..<fileByteCount, by: tensors, path: path)
    return SafetensorsHeader(byteCount: end, metadata: metadata, tensors: tensors)
  }

  /// Metadata and tensors in the order of the text. Each is read and let go before the next: the tree of a header takes many
  /// times its bytes.
  private static func members(
    of text: RawSpan, dataStart: Int, fileByteCount: Int, path: String
  ) throws(SafetensorsError) -> (metadata: [String: String], tensors: [TensorEntry]) {
    var metadata: [String: String] = [:]
    var tensors: [TensorEntry] = []
    var names: Set<String> = []
    var problem: SafetensorsError?
    do throws(JSONError) {
      let limits = JSONLimits(byteCount: maximumByteCount, valueCount: maximumMemberValues)
      _ = try JSONParser.parse(membersOf: text, limits) { member in
        do throws(SafetensorsError) {
          guard names.insert(member.key).inserted else { throw repeated(member, tensors, path: path) }
          if member.key == metadataKey {
            metadata = try readMetadata(member, path: path)
          } else {
            let reader = EntryReader(member: member, dataStart: dataStart, fileByteCount: fileByteCount, path: path)
            tensors.append(try reader.entry())
          }
        } catch { problem = error }
        return problem == nil
      }
    } catch {
      let byteOffset = lengthByteCount + error.byteOffset
      throw SafetensorsError(.headerNotJSON(problem: error.reason), path: path, byteOffset: byteOffset)
    }
    if let problem { throw problem }
    return (metadata, tensors)
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

  /// JSON keys differ by bytes, Swift's strings by letters: both spellings of an accent are one name here.
  private static func repeated(
    _ member: JSONObject.Member, _ tensors: [TensorEntry], path: String
  ) -> SafetensorsError {
    let byteOffset = lengthByteCount + member.byteOffset
    let isSpelledAlike =
      member.key == metadataKey || tensors.contains { $0.name.utf8.elementsEqual(member.key.utf8) }
    guard isSpelledAlike else {
      return SafetensorsError(.ambiguousName(member.key), path: path, tensor: member.key, byteOffset: byteOffset)
    }
    let problem = "key \"\(member.key)\" appears twice in one object"
    return SafetensorsError(.headerNotJSON(problem: problem), path: path, byteOffset: byteOffset)
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
