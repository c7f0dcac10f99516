import JSON
import Tensors

/// Reads one entry of the header and checks all that can be checked without the others.
struct EntryReader {
  let member: JSONObject.Member
  /// Where the data begins in the file; offsets in the header count from here.
  let dataStart: Int
  let fileByteCount: Int
  let path: String

  private static var fields: [String] { ["dtype", "shape", "data_offsets"] }

  func entry() throws(SafetensorsError) -> TensorEntry {
    guard let object = member.value.object else { throw error(.entryNotObject(found: member.value.kind)) }
    for field in object.members where !Self.fields.contains(field.key) {
      throw error(.unknownField(field.key), at: field)
    }
    let dtype = try readDType(try field("dtype", of: object))
    let shape = try readShape(try field("shape", of: object), dtype: dtype)
    let range = try readRange(try field("data_offsets", of: object), expected: shape.elementCount * dtype.byteCount)
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
    guard let name = field.value.string else {
      throw error(.fieldKind(field: field.key, expected: "a text"), at: field)
    }
    guard let dtype = DType(rawValue: name) else { throw error(.unknownDType(name), at: field) }
    return dtype
  }

  /// The shape; its size in bytes is known not to overflow.
  private func readShape(_ field: JSONObject.Member, dtype: DType) throws(SafetensorsError) -> Shape {
    let dimensions = try wholeNumbers(field, expected: "a list of whole numbers")
    guard dimensions.count <= SafetensorsHeader.maximumRank else {
      throw error(.rankTooHigh(rank: dimensions.count, limit: SafetensorsHeader.maximumRank), at: field)
    }
    guard let shape = Shape(dimensions),
      !shape.elementCount.multipliedReportingOverflow(by: dtype.byteCount).overflow
    else {
      throw error(.shapeOverflow(dimensions: dimensions), at: field)
    }
    return shape
  }

  /// The tensor's bytes, counted from the start of the file.
  private func readRange(_ field: JSONObject.Member, expected: Int) throws(SafetensorsError) -> Range<Int> {
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
    guard end - begin == expected else {
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
