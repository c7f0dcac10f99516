import Kernels
import Pack
import Safetensors
import Storage
import Tensors

/// Where things are in a file of states (`Formats/calibration.md`, section 1).
struct CalibrationLayout {
  static let version = 1

  enum Key {
    static let version = "ingot.calibration"
    static let document = "ingot.document_xxh3"
    static let layers = "ingot.layers_xxh3"
  }

  static func name(_ layer: Int, _ part: String) -> String { "layers.\(layer).\(part)" }

  /// In the order of the file.
  let tensors: [TensorDescription]
  /// By name, where its bytes begin behind the header.
  let offsets: [String: Int]
  let byteCount: Int

  init(_ document: CalibrationDocument, documentByteCount: Int) {
    let (rows, sizes) = (document.rows, document.sizes)
    func tensor(_ name: String, _ dtype: DType, _ dimensions: Int...) -> TensorDescription {
      guard let shape = Shape(dimensions) else { preconditionFailure("counts of arrays") }
      return TensorDescription(name: name, dtype: dtype, shape: shape)
    }
    var tensors = [
      tensor("document", .u8, documentByteCount), tensor("tokens", .i32, rows), tensor("places", .i32, rows, 3),
      tensor("classes", .u8, rows),
    ]
    for layer in document.layers {
      tensors.append(tensor(Self.name(layer, "states"), .bf16, rows, sizes.hidden))
      tensors.append(tensor(Self.name(layer, "experts"), .i32, rows, sizes.slots))
      tensors.append(tensor(Self.name(layer, "weights"), .f32, rows, sizes.slots))
    }
    tensors.sort(by: SafetensorsHeader.inFileOrder)
    self.tensors = tensors
    var offsets: [String: Int] = [:]
    var end = 0
    for tensor in tensors {
      offsets[tensor.name] = end
      end += tensor.byteCount
    }
    self.offsets = offsets
    byteCount = end
  }

  /// - Parameter layers: of each layer, the hash of its tensors.
  func header(documentHash: UInt64, layers: [UInt64]) -> [UInt8] {
    SafetensorsHeader.build(
      tensors: tensors,
      metadata: [
        (Key.version, "\(Self.version)"), (Key.document, XXH3.text(documentHash)),
        (Key.layers, layers.map(XXH3.text).joined()),
      ])
  }

  /// XXH3 of the XXH3 of each part.
  static func hash(of parts: [UInt64]) -> UInt64 {
    var writer = ByteWriter(capacity: 8 * parts.count)
    for part in parts { writer.append(part) }
    let bytes = writer.bytes
    return XXH3.hash(bytes.bytes)
  }

  static func dataHash(_ copies: NoisyCopies) -> UInt64 {
    let (tokens, places, classes) = (copies.tokens.littleEndian, copies.places.littleEndian, copies.classes)
    return hash(of: [XXH3.hash(tokens.bytes), XXH3.hash(places.bytes), XXH3.hash(classes.bytes)])
  }
}

extension [Int32] {
  var littleEndian: [UInt8] {
    var writer = ByteWriter(capacity: 4 * count)
    for value in self { writer.append(value) }
    return writer.bytes
  }
}

extension [Float] {
  var littleEndian: [UInt8] {
    var writer = ByteWriter(capacity: 4 * count)
    for value in self { writer.append(value) }
    return writer.bytes
  }
}
