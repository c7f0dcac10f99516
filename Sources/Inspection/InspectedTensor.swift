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
    case .dtype(let dtype): dtype.description
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
  /// Which tensor of a model it is; nil for a name that no family gives, as in a layout that stacks the experts.
  package let id: TensorID?
  /// Bytes of elements, or of codes and scales, without padding and before compression; nil where an unknown encoding
  /// shares its chunk with others.
  package let byteCount: Int?
  package let place: Place

  /// What it is for; nil for a name of no known kind.
  package var role: TensorRole? { id?.role ?? TensorRole(guessedFrom: name) }
  package var record: TensorRecord? { if case .chunks(let record) = place { record } else { nil } }
  /// Error against the source, where one was recorded.
  package var relativeRMSE: Float? { type.isGrouped ? record?.relativeRMSE : nil }
  package var saturatedShare: Float? { type.isGrouped ? record?.saturatedShare : nil }
}
