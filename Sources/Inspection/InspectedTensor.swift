package import Models
package import Pack
package import Tensors

/// What the elements of a tensor are stored as.
package enum StoredType: Sendable, Hashable, CustomStringConvertible {
  case encoding(Encoding)
  /// A type of safetensors that packs do not have.
  case dtype(DType)
  /// An encoding of a newer version: listed, never decoded.
  case unknown(id: UInt16, groupSize: UInt16)

  /// Floats that packs have too go by the name they have there.
  package init(_ dtype: DType) { self = Encoding(keeping: dtype).map { .encoding($0) } ?? .dtype(dtype) }

  package var encoding: Encoding? { if case .encoding(let encoding) = self { encoding } else { nil } }
  package var isGrouped: Bool { encoding?.isGrouped ?? false }

  package var description: String {
    switch self {
    case .encoding(let encoding): encoding.description
    case .dtype(let dtype): dtype.rawValue.lowercased()
    case .unknown(let id, let groupSize): groupSize == 0 ? "opaque-\(id)" : "opaque-\(id)-g\(groupSize)"
    }
  }
}

/// One tensor as it is stored, in a pack or in a checkpoint.
package struct InspectedTensor: Sendable {
  package enum Place: Sendable {
    /// A range of bytes of one of the checkpoint's files.
    case bytes(file: Int, Range<Int>)
    /// Chunks of the pack.
    case chunks(TensorRecord)
  }

  package let name: String
  package let shape: Shape
  package let type: StoredType
  /// What it is for, as its name tells; nil for a name of no known kind.
  package let role: TensorRole?
  /// Bytes of elements, or of codes and scales, without padding and before compression; nil where an unknown encoding
  /// shares its chunk with others.
  package let byteCount: Int?
  package let place: Place

  package var record: TensorRecord? { if case .chunks(let record) = place { record } else { nil } }
  /// Error against the source, where one was recorded.
  package var relativeRMSE: Float? { type.isGrouped ? record?.relativeRMSE : nil }
  package var saturatedShare: Float? { type.isGrouped ? record?.saturatedShare : nil }
}

extension TensorRole {
  /// The role that a tensor's name tells, in any layout of a checkpoint; nil for a name of no known kind.
  package init?(tensorName name: String) {
    func has(_ part: String) -> Bool { name.utf8.containsRun(part.utf8) }
    if has("embed") {
      self = .embedding
    } else if name.hasPrefix("lm_head.") {
      self = .head
    } else if has(".shared_experts.") {
      self = .sharedExpert
    } else if has(".experts.") || name.hasSuffix(".mlp.w1") || name.hasSuffix(".mlp.w2") {
      self = .expert
    } else if has(".mlp.gate.") {
      self = .router
    } else if has("norm.") {
      self = .norm
    } else if name.hasSuffix(".bias") {
      self = .bias
    } else if has(".attention.") || has(".self_attn.") {
      self = .attention
    } else if has(".mlp.") {
      self = .denseMLP
    } else {
      return nil
    }
  }
}

extension String.UTF8View {
  /// Whether `part` stands somewhere in these bytes.
  fileprivate func containsRun(_ part: String.UTF8View) -> Bool {
    var start = startIndex
    while let found = self[start...].firstIndex(of: part.first!) {  // parts are literals, never empty
      if self[found...].starts(with: part) { return true }
      start = index(after: found)
    }
    return false
  }
}
