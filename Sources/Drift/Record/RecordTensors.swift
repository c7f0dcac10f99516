import Models
import Safetensors
import Storage
import Tensors

// The tensors of a record (`Formats/drift-record.md` §2) on their way out.

extension DriftRecord {
  static let documentName = "document"

  /// All but the document.
  var tensors: [SafetensorsWriter.Tensor] {
    var tensors: [SafetensorsWriter.Tensor] = []
    if let scores {
      tensors += rowTensors("masked.", scoring.places, scores.rows)
      for (layer, routes) in scores.routes.sorted(by: { $0.key < $1.key }) {
        tensors += routeTensors(layer, routes)
      }
    }
    if let trajectories { tensors += rowTensors("along.", trajectories.places, trajectories.rows) }
    return tensors
  }

  private func rowTensors(
    _ prefix: String, _ places: [[Int32]], _ rows: [ReferenceRow]
  ) -> [SafetensorsWriter.Tensor] {
    let vocabulary = model.sizes.vocabulary
    let width = ReferenceRow.width(vocabulary: vocabulary)
    var tensors = [
      Self.tensor(prefix + "places", .i32, places.count, 3) { places.flatMap(\.self).littleEndian },
      Self.tensor(prefix + "logits", .f32, rows.count, width) { rows.flatMap(\.logits).littleEndian },
      Self.tensor(prefix + "log_normalizer", .f64, rows.count) {
        var writer = ByteWriter(capacity: 8 * rows.count)
        for row in rows { writer.append((row.logNormalizer ?? 0).bitPattern) }
        return writer.bytes
      },
      Self.tensor(prefix + "best", .i32, rows.count) { rows.map { Int32($0.best) }.littleEndian },
      Self.tensor(prefix + "best_log_probability", .f32, rows.count) { rows.map(\.bestLogProbability).littleEndian },
      Self.tensor(prefix + "truth_log_probability", .f32, rows.count) { rows.map(\.truthLogProbability).littleEndian },
    ]
    if vocabulary > ReferenceRow.wholeVocabulary {
      tensors.append(Self.tensor(prefix + "tokens", .i32, rows.count, width) { rows.flatMap(\.tokens).littleEndian })
    }
    return tensors
  }

  private func routeTensors(_ layer: Int, _ routes: [Router.Route]) -> [SafetensorsWriter.Tensor] {
    let count = routes.first?.experts.count ?? 0
    let prefix = "masked.routes.\(layer)."
    let isSmall = model.sizes.experts <= 256
    return [
      Self.tensor(prefix + "experts", isSmall ? .u8 : .i32, routes.count, count) {
        let experts = routes.flatMap(\.experts)
        return isSmall ? experts.map { UInt8($0) } : experts.map { Int32($0) }.littleEndian
      },
      Self.tensor(prefix + "weights", .f32, routes.count, count) { routes.flatMap(\.weights).littleEndian },
    ]
  }

  static func tensor(
    _ name: String, _ dtype: DType, _ dimensions: Int..., bytes: @escaping () -> [UInt8]
  ) -> SafetensorsWriter.Tensor {
    guard let shape = Shape(dimensions) else { preconditionFailure("counts of arrays") }
    return SafetensorsWriter.Tensor(name: name, dtype: dtype, shape: shape, bytes: bytes)
  }
}

extension [Int32] {
  fileprivate var littleEndian: [UInt8] {
    var writer = ByteWriter(capacity: 4 * count)
    for value in self { writer.append(value) }
    return writer.bytes
  }
}

extension [Float] {
  fileprivate var littleEndian: [UInt8] {
    var writer = ByteWriter(capacity: 4 * count)
    for value in self { writer.append(value) }
    return writer.bytes
  }
}
