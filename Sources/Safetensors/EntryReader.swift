import JSON
import Storage
import Tensors

/// Reads one entry of the header and checks all that can be checked without the others.
struct EntryReader {
  let member: JSONObject.Member
  /// Where the data begins in the file; offsets in the header count from here.
  let dataStart: Int
  let fileByteCount: Int
  let path: String

  private static var longestDTypeName: Int { 32 }
  private static var fields: [String] { ["dtype", "shape", "data_offsets"] }

  func entry() throws(SafetensorsError) -> TensorEntry {
    guard let object = member.value.object else { throw error(.entryNotObject(found: member.value.kind)) }
    for field in object.members where !Self.fields.contains(field.key) {
      throw error(.unknownField(field.key), at: field)
    }
    let dtype = try readDType(try field("dtype", of: object))
    let shape = try readShape(try field("shape", of: object), dtype: dtype)
    let expected = dtype.byteCount(elements: shape.elementCount)
    let range = try readRange(try field("data_offsets", of: object), expected: expected)
    return TensorEntry(
      name: member.key, dtype: dtype, shape: shape, byteRange: range,
      headerOffset: SafetensorsHeader.lengthByteCount + member.byteOffset)
  }

  /// An error about this entry, at one of its fields or at its name.
  private func error(_ reason: SafetensorsError.Reason, at field: JSONObject.Member? = nil) -> SafetensorsError {
    let position = SafetensorsHeader.lengthByteCount + (field ?? member).byteOffset
    return SafetensorsError(reason, path: path, tensor: member.key, byteOffset: position)
  }

  private func field(_ name: String, of object: JSONObject) throws(SafetensorsError) -> JSONObject.Member {
    guard let field = object.member(name) else { throw error(.missingField(name)) }
    return field
  }

  private func readDType(_ field: JSONObject.Member) throws(SafetensorsError) -> DType {
    // A type that we do not know is listed by its name, so that the name must be one.
    guard let name = field.value.string, (1...Self.longestDTypeName).contains(name.utf8.count),
      name.utf8.allSatisfy({ ($0 | 0x20 >= 0x61 && $0 | 0x20 <= 0x7A) || (0x30...0x39).contains($0) || $0 == 0x5F })
    else { throw error(.fieldKind(field: field.key, expected: "the name of a type"), at: field) }
    return DType(name: name)
  }

  /// The shape; its size in bytes is known not to overflow.
  private func readShape(_ field: JSONObject.Member, dtype: DType) throws(SafetensorsError) -> Shape {
    let dimensions = try wholeNumbers(field, expected: "a list of whole numbers")
    guard dimensions.count <= SafetensorsHeader.maximumRank else {
      throw error(.rankTooHigh(rank: dimensions.count, limit: SafetensorsHeader.maximumRank), at: field)
    }
    guard let shape = Shape(dimensions),
      dtype.bitCount == nil || dtype.byteCount(elements: shape.elementCount) != nil
    else {
      throw error(.shapeOverflow(dimensions: dimensions), at: field)
    }
    return shape
  }

  /// The tensor's bytes, counted from the start of the file.
  ///
  /// - Parameter expected: how many they are; nil where the type does not tell.
  private func readRange(_ field: JSONObject.Member, expected: Int?) throws(SafetensorsError) -> Range<Int> {
    let kind = "a list of two whole numbers"
    let offsets = try wholeNumbers(field, expected: kind)
    guard offsets.count == 2 else { throw error(.fieldKind(field: field.key, expected: kind), at: field) }
    let (begin, end) = (offsets[0], offsets[1])
    guard begin <= end else { throw error(.offsetsReversed(begin: begin, end: end), at: field) }
    guard end <= fileByteCount - dataStart else {
      // Saturated: a number this large only goes into the message.
      let (position, overflow) = dataStart.addingReportingOverflow(end)
      throw error(.dataOutsideFile(end: overflow ? Int.max : position, fileByteCount: fileByteCount))
    }
    if let expected, end - begin != expected {
      throw error(.lengthMismatch(byteCount: end - begin, expected: expected), at: field)
    }
    return dataStart + begin..<dataStart + end
  }

  private func wholeNumbers(_ field: JSONObject.Member, expected: String) throws(SafetensorsError) -> [Int] {
    guard let elements = field.value.array else {
      throw error(.fieldKind(field: field.key, expected: expected), at: field)
    }
    var numbers: [Int] = []
    numbers.reserveCapacity(elements.count)
    for element in elements {
      guard let number = element.int, number >= 0 else {
        throw error(.fieldKind(field: field.key, expected: expected), at: field)
      }
      numbers.append(number)
    }
    return numbers
  }
}
