import Storage

/// A type of elements, by its number in the format.
enum GGMLType: UInt32, Sendable {
  case f32 = 0
  case f16 = 1
  case q4_0 = 2
  case q8_0 = 8
  case bf16 = 30

  /// What `general.file_type` calls a file most of whose bytes are of this type.
  var fileType: UInt32 {
    switch self {
    case .f32: 0
    case .f16: 1
    case .q4_0: 2
    case .q8_0: 7
    case .bf16: 32
    }
  }
}

/// A value of the metadata.
enum GGUFValue: Sendable {
  case uint16(UInt16)
  case uint32(UInt32)
  case int32(Int32)
  case float32(Float)
  case bool(Bool)
  case string(String)
  case strings([String])
  case int32s([Int32])

  static func uint32(_ value: Int) -> GGUFValue { .uint32(UInt32(clamping: value)) }
}

/// Lays tensors out in GGUF files, version 3.
enum GGUFFile {
  typealias Metadata = [(key: String, value: GGUFValue)]
  private static let alignment = 32

  /// - Parameter names: of the files: one, or as many as there are shards.
  static func plan(_ shards: [[OutputTensor<GGMLType>]], _ metadata: Metadata, names: [String]) -> [PlannedFile] {
    let tensorCount = shards.reduce(0) { $0 + $1.count }
    return shards.enumerated().map { number, tensors in
      // The first file of several describes the model, all tell which they are.
      var own = number == 0 ? metadata : []
      if shards.count > 1 {
        own += [
          ("split.no", .uint16(UInt16(clamping: number))), ("split.count", .uint16(UInt16(clamping: shards.count))),
          ("split.tensors.count", .int32(Int32(clamping: tensorCount))),
        ]
      }
      return file(named: names[number], tensors, own)
    }
  }

  private static func file(named name: String, _ tensors: [OutputTensor<GGMLType>], _ metadata: Metadata) -> PlannedFile
  {
    var header = ByteWriter(capacity: 1 << 16)
    header.append("GGUF")
    header.append(UInt32(3))
    header.append(UInt64(tensors.count))
    header.append(UInt64(metadata.count))
    for (key, value) in metadata {
      append(key, to: &header)
      append(value, to: &header)
    }
    var end = 0
    var pieces: [Piece] = []
    for tensor in tensors {
      append(tensor.name, to: &header)
      header.append(UInt32(tensor.dimensions.count))
      for dimension in tensor.dimensions.reversed() { header.append(UInt64(dimension)) }
      header.append(tensor.kind.rawValue)
      header.append(UInt64(end))
      pieces += tensor.pieces.map { $0.moved(by: end) }
      end = (end + tensor.byteCount).roundedUp(to: alignment)
    }
    header.align(alignment)
    let start = header.bytes.count
    return PlannedFile(
      name: name, byteCount: start + end, known: [(0, header.bytes)], pieces: pieces.map { $0.moved(by: start) },
      tensorByteCount: tensors.reduce(0) { $0 + $1.byteCount })
  }

  private static func append(_ text: String, to header: inout ByteWriter) {
    header.append(UInt64(text.utf8.count))
    header.append(text)
  }

  private static func append(_ value: GGUFValue, to header: inout ByteWriter) {
    switch value {
    case .uint16(let value):
      header.append(UInt32(2))
      header.append(value)
    case .uint32(let value):
      header.append(UInt32(4))
      header.append(value)
    case .int32(let value):
      header.append(UInt32(5))
      header.append(value)
    case .float32(let value):
      header.append(UInt32(6))
      header.append(value)
    case .bool(let value):
      header.append(UInt32(7))
      header.append(UInt8(value ? 1 : 0))
    case .string(let text):
      header.append(UInt32(8))
      append(text, to: &header)
    case .strings(let texts):
      header.append(UInt32(9))
      header.append(UInt32(8))
      header.append(UInt64(texts.count))
      for text in texts { append(text, to: &header) }
    case .int32s(let numbers):
      header.append(UInt32(9))
      header.append(UInt32(5))
      header.append(UInt64(numbers.count))
      for number in numbers { header.append(number) }
    }
  }
}
