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
    /// Of a part, in place of ``version``.
    static let part = "ingot.calibration_part"
    static let data = "ingot.data_xxh3"
  }

  static func name(_ layer: Int, _ part: String) -> String { "layers.\(layer).\(part)" }

  /// In the order of the file.
  let tensors: [TensorDescription]
  /// By name, where its bytes begin behind the header.
  let offsets: [String: Int]
  let byteCount: Int

  /// - Parameter rows: those that a part holds; nil for all.
  init(_ document: CalibrationDocument, documentByteCount: Int, rows: Int? = nil) {
    let (rows, sizes) = (rows ?? document.rows, document.sizes)
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

  /// - Parameters:
  ///   - layers: of each layer, the hash of its tensors.
  ///   - part: what a part says of itself, and the hash of its tokens, places and classes; nil for the whole.
  func header(documentHash: UInt64, layers: [UInt64], part: (facts: String, dataHash: UInt64)? = nil) -> [UInt8] {
    let kind = part.map { [(Key.part, $0.facts), (Key.data, XXH3.text($0.dataHash))] }
    return SafetensorsHeader.build(
      tensors: tensors,
      metadata: (kind ?? [(Key.version, "\(Self.version)")]) + [
        (Key.document, XXH3.text(documentHash)), (Key.layers, layers.map(XXH3.text).joined()),
      ])
  }

  /// XXH3 of the XXH3 of each part.
  static func hash(of parts: [UInt64]) -> UInt64 {
    var writer = ByteWriter(capacity: 8 * parts.count)
    for part in parts { writer.append(part) }
    let bytes = writer.bytes
    return XXH3.hash(bytes.bytes)
  }

  static func dataHash(_ copies: NoisyCopies) -> UInt64 { CalibrationRows(copies, 0..<copies.rowCount).hash }
}

/// What stands for each row beside its states, as a file has it.
struct CalibrationRows {
  var tokens: [UInt8] = []
  var places: [UInt8] = []
  var classes: [UInt8] = []

  init() {}

  init(_ copies: NoisyCopies, _ rows: Range<Int>) {
    tokens = Array(copies.tokens[rows]).littleEndian
    places = Array(copies.places[3 * rows.lowerBound..<3 * rows.upperBound]).littleEndian
    classes = Array(copies.classes[rows])
  }

  var hash: UInt64 {
    let parts = [tokens, places, classes].map { XXH3.hash($0.bytes) }
    return CalibrationLayout.hash(of: parts)
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
