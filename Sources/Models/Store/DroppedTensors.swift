import Safetensors
import Storage
import Tensors

/// A wish to leave out tensors of a checkpoint.
package struct TensorDrop: Sendable {
  /// As a person wrote it.
  package let pattern: String
  let matches: @Sendable (String) -> Bool

  package init(pattern: String, matches: @escaping @Sendable (String) -> Bool) {
    self.pattern = pattern
    self.matches = matches
  }
}

/// Tensors of a checkpoint that a model does without.
package struct DroppedTensors: Sendable, Equatable {
  /// The pattern that named them; nil for rotary frequencies, which `config.json` gives already.
  package let pattern: String?
  /// Sorted; of several patterns that match a tensor, the first has it.
  package let names: [String]

  /// What the patterns match.
  ///
  /// - Parameter names: of all tensors.
  /// - Throws: ``ModelError/dropsNothing(pattern:directory:)``.
  static func named(
    by drops: [TensorDrop], among names: [String], in directory: String
  ) throws(ModelError) -> [DroppedTensors] {
    guard !drops.isEmpty else { return [] }
    var found = drops.map { _ in [String]() }
    var isUsed = drops.map { _ in false }
    for name in names.sorted() {
      let matching = drops.indices.filter { drops[$0].matches(name) }
      for index in matching { isUsed[index] = true }
      if let first = matching.first { found[first].append(name) }
    }
    if let idle = isUsed.firstIndex(of: false) {
      throw .dropsNothing(pattern: drops[idle].pattern, directory: directory)
    }
    return zip(drops, found).map { DroppedTensors(pattern: $0.pattern, names: $1) }
  }

  /// Rotary frequencies that older tools saved among the weights; they follow from `config.json`.
  ///
  /// - Throws: ``ModelError/badTensor(name:detail:path:byteOffset:)`` for those that do not.
  static func rotaryBuffers(
    among names: [String], of checkpoint: Checkpoint, _ configuration: ModelConfiguration
  ) throws(ModelError) -> DroppedTensors? {
    let buffers = names.filter { $0.hasSuffix(TensorNames.rotaryBuffer) }.sorted()
    for name in buffers {
      guard let (file, entry) = checkpoint.tensor(named: name) else { continue }
      guard holdsFrequencies(file, entry, configuration) else {
        throw .badTensor(
          name: name,
          detail:
            "holds other rotary frequencies than rope_theta \(configuration.ropeTheta) gives; if config.json is right, "
            + "leave it out with `ingot quantize --drop`",
          path: file.path, byteOffset: entry.headerOffset)
      }
    }
    return buffers.isEmpty ? nil : DroppedTensors(pattern: nil, names: buffers)
  }

  private static func holdsFrequencies(_ file: SafetensorsFile, _ entry: TensorEntry, _ c: ModelConfiguration) -> Bool {
    let count = c.rotaryDimension / 2
    guard entry.shape.elementCount == count, let encoding = Encoding(keeping: entry.dtype) else { return false }
    let bytes = file.bytes(of: entry)
    // Rounded to the type that they are stored in.
    let (relative, absolute) = encoding == .f32 ? (0x1p-16, 0.0) : (0x1p-7, 0x1p-24)
    return (0..<count).allSatisfy { index in
      let found: Float =
        switch encoding {
        case .f32: Float(bitPattern: bytes.integer(at: 4 * index, as: UInt32.self))
        case .f16: Float(Float16(bitPattern: bytes.integer(at: 2 * index, as: UInt16.self)))
        default: Float(bitPattern: UInt32(bytes.integer(at: 2 * index, as: UInt16.self)) << 16)
        }
      let expected = c.rotaryFrequency(index)
      return abs(Double(found) - expected) <= relative * expected + absolute
    }
  }
}
