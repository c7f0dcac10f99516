import JSON
import Storage
package import Tensors

/// What a tensor to be written is called and holds.
package struct TensorDescription: Sendable, Hashable {
  package let name: String
  package let dtype: DType
  package let shape: Shape

  package init(name: String, dtype: DType, shape: Shape) {
    self.name = name
    self.dtype = dtype
    self.shape = shape
  }

  /// Bytes of all elements. Traps where they do not fit an `Int`.
  package var byteCount: Int { shape.elementCount * dtype.byteCount }
}

extension SafetensorsHeader {
  /// The order of the reference writer: wide elements first, so that every tensor is aligned, then by name.
  package static func inFileOrder(_ a: TensorDescription, _ b: TensorDescription) -> Bool {
    a.dtype.byteCount == b.dtype.byteCount ? a.name < b.name : a.dtype.byteCount > b.dtype.byteCount
  }

  /// The header of a file with these tensors, length first: the bytes that the published LLaDA2 checkpoints have.
  ///
  /// Compact JSON, metadata first, padded with spaces to a multiple of 8 bytes.
  ///
  /// - Parameters:
  ///   - tensors: in any order; names are unique.
  ///   - metadata: in the order given; keys are unique.
  package static func build(
    tensors: [TensorDescription], metadata: [(key: String, value: String)] = [("format", "pt")]
  ) -> [UInt8] { build(inOrder: tensors.sorted(by: inFileOrder), metadata: metadata) }

  /// The same with the tensors in the order of their bytes.
  package static func build(
    inOrder tensors: [TensorDescription], metadata: [(key: String, value: String)] = [("format", "pt")]
  ) -> [UInt8] {
    precondition(Set(tensors.map(\.name)).count == tensors.count, "two tensors have one name")
    var object = JSONObject()
    for (key, value) in metadata { object.append(.init(key: key, value: .string(value))) }
    var text = ByteWriter(capacity: 64 + 128 * tensors.count)
    text.append("{\"\(metadataKey)\":\(JSONValue.object(object).text(indented: false))")
    var begin = 0
    for tensor in tensors {
      let end = begin + tensor.byteCount
      let dimensions = tensor.shape.dimensions.map(String.init).joined(separator: ",")
      text.append(",\(JSONValue.string(tensor.name).text(indented: false))")
      text.append(":{\"dtype\":\"\(tensor.dtype.name)\",\"shape\":[\(dimensions)],")
      text.append("\"data_offsets\":[\(begin),\(end)]}")
      begin = end
    }
    text.append("}")
    var header = ByteWriter(capacity: lengthByteCount + text.bytes.count + 8)
    let byteCount = text.bytes.count.roundedUp(to: 8)
    header.append(UInt64(byteCount))
    header.append(text.bytes)
    header.append(String(repeating: " ", count: byteCount - text.bytes.count))
    return header.bytes
  }
}
