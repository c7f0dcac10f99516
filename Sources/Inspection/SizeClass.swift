package import Models
import Pack
import Safetensors
import Storage
import Tensors

/// How much of a file one kind of tensor takes.
package struct SizeClass: Sendable, Equatable {
  /// Nil for tensors whose names tell no role.
  package let role: TensorRole?
  package fileprivate(set) var tensorCount = 0
  package fileprivate(set) var parameterCount = 0
  /// As stored: compressed, with the padding within chunks.
  package fileprivate(set) var byteCount = 0
  /// Sorted by name.
  package fileprivate(set) var types: [StoredType] = []

  package var name: String { role?.rawValue ?? "other" }

  /// The order of lists.
  package static let order: [TensorRole?] = [
    .embedding, .head, .attention, .denseMLP, .sharedExpert, .router, .norm, .bias, .expert, nil,
  ]
}

/// What a model takes, in all and by class.
package struct ModelSizes: Sendable {
  /// Only classes that have tensors.
  package let classes: [SizeClass]
  package let fileByteCount: Int

  package init(_ model: InspectedModel) {
    var classes = SizeClass.order.map { SizeClass(role: $0) }
    let fp8 = Set(model.tensors.filter { $0.type == .dtype(.f8e4m3) || $0.type == .dtype(.f8e5m2) }.map(\.name))
    for (index, tensor) in model.tensors.enumerated() {
      let place = SizeClass.order.firstIndex(of: tensor.role) ?? classes.count - 1
      classes[place].tensorCount += 1
      // As in a pack, scales are bytes and no parameters.
      if !(FP8Scales.owner(of: tensor.name).map(fp8.contains) ?? false) {
        classes[place].parameterCount = sum(classes[place].parameterCount, tensor.shape.elementCount)
      }
      if !classes[place].types.contains(tensor.type) { classes[place].types.append(tensor.type) }
      switch tensor.place {
      case .bytes(_, let range), .fp8(_, let range, _): classes[place].byteCount += range.count
      case .packed(_, let codes): classes[place].byteCount += codes.byteCount
      case .chunks(let record):
        for chunk in model.chunks[record.chunks] where chunk.owner == index {
          classes[place].byteCount += chunk.storedLength
        }
      }
    }
    for place in classes.indices { classes[place].types.sort { $0.description < $1.description } }
    self.classes = classes.filter { $0.tensorCount > 0 }
    fileByteCount = model.fileByteCount
  }

  package var parameterCount: Int { classes.reduce(0) { sum($0, $1.parameterCount) } }
  package var experts: SizeClass? { classes.first { $0.role == .expert } }
  /// Headers, tables, embedded files and the padding between chunks.
  package var overheadByteCount: Int { fileByteCount - classes.reduce(0) { $0 + $1.byteCount } }
  /// All bits of the file, for each weight; nil where there are no weights.
  package var bitsPerWeight: Double? { Self.bits(fileByteCount, parameterCount) }
  package var expertBitsPerWeight: Double? { experts?.bitsPerWeight }

  fileprivate static func bits(_ byteCount: Int, _ parameterCount: Int) -> Double? {
    parameterCount == 0 ? nil : 8 * Double(byteCount) / Double(parameterCount)
  }
}

/// Stops at the largest number: opaque tensors may claim more elements than can be counted.
private func sum(_ a: Int, _ b: Int) -> Int {
  let (sum, overflow) = a.addingReportingOverflow(b)
  return overflow ? Int.max : sum
}

extension SizeClass {
  package var bitsPerWeight: Double? { ModelSizes.bits(byteCount, parameterCount) }
}
