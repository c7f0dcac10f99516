package import Pack
import Safetensors
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

/// One tensor as a model's files store it: what it is called there and where its bytes are. A stack of experts is one tensor to
/// ``ModelFiles`` and one for each of its matrices to ``ModelStore``.
package struct StoredTensor: Sendable {
  package enum Place: Sendable {
    /// A range of bytes of one of the checkpoint's files.
    case bytes(file: Int, Range<Int>)
    /// The same of FP8, whose codes and scales are read as bf16.
    indirect case fp8(file: Int, Range<Int>, FP8Scales)
    /// Codes with scales of another tool, whose codes are in this file: as an encoding, or as the numbers they stand for where the
    /// type is one of elements.
    indirect case packed(file: Int, PackedCodes)
    /// Chunks of the pack.
    case chunks(TensorRecord)
  }

  package let name: String
  package let shape: Shape
  package private(set) var type: StoredType
  /// Which tensor of a model it is; nil where nobody asked what its name means, and for a name that no family gives, as in a layout
  /// that stacks the experts.
  package private(set) var id: TensorID?
  /// What it is for; nil likewise, for a name of no known kind, and for what belongs to another part than the language model.
  package var role: TensorRole?
  /// Bytes of elements, or of codes and scales, without padding and before compression; nil where an unknown encoding
  /// shares its chunk with others.
  package private(set) var byteCount: Int?
  package private(set) var place: Place

  /// Where a checkpoint has the elements, and the scales of FP8.
  package var bytes: (file: Int, range: Range<Int>, scales: FP8Scales?)? {
    switch place {
    case .bytes(let file, let range): (file, range, nil)
    case .fp8(let file, let range, let scales): (file, range, scales)
    case .packed, .chunks: nil
    }
  }

  /// The codes of which the numbers are taken; nil for all else.
  package var codesAsNumbers: PackedCodes? {
    if case .packed(_, let codes) = place, let encoding = type.encoding, !encoding.isGrouped { codes } else { nil }
  }

  package var record: TensorRecord? { if case .chunks(let record) = place { record } else { nil } }
  /// Error against the source, where one was recorded.
  package var relativeRMSE: Float? { type.isGrouped ? record?.relativeRMSE : nil }
  package var saturatedShare: Float? { type.isGrouped ? record?.saturatedShare : nil }

  /// - Parameter chunks: of the pack.
  init(_ record: TensorRecord, _ chunks: [ChunkRecord]) {
    name = record.name
    shape = record.shape
    place = .chunks(record)
    if let encoding = record.encoding {
      type = .encoding(encoding)
      byteCount = encoding.byteCount(elements: record.shape.elementCount, columns: record.shape.columns)
    } else {
      type = .unknown(id: record.encodingID, groupSize: record.groupSize)
      let own = chunks[record.chunks]
      byteCount = own.contains { $0.kind == .expert } ? nil : own.reduce(0) { $0 + $1.contentLength }
    }
  }

  init(_ entry: TensorEntry, file: Int) {
    name = entry.name
    shape = entry.shape
    type = StoredType(entry.dtype)
    byteCount = entry.byteRange.count
    place = .bytes(file: file, entry.byteRange)
  }

  /// A matrix that is packed in a checkpoint.
  init(_ codes: PackedCodes, file: Int) {
    name = codes.name
    shape = codes.shape
    type = codes.encoding.map { .encoding($0) } ?? .dtype(.other(codes.description))
    byteCount = codes.byteCount
    place = .packed(file: file, codes)
  }

  /// Tells by matrix of a stack of blocks how many elements share a scale.
  mutating func takeGroups(_ sizes: [Int]) {
    guard case .packed(let file, var codes) = place else { return }
    codes.groupSizes = sizes
    place = .packed(file: file, codes)
  }

  /// Takes packed codes for the numbers that they stand for: of routed experts as f32, which holds them, of all else as bf16.
  mutating func takeAsNumbers() {
    if case .packed = place { type = .encoding(role == .expert ? .f32 : .bf16) }
  }

  /// FP8 as what it is read as.
  init(_ codes: StoredTensor, _ scales: FP8Scales) {
    self = codes
    guard case .bytes(let file, let range) = codes.place else { preconditionFailure("packs have no FP8") }
    type = .encoding(.bf16)
    place = .fp8(file: file, range, scales)
  }

  /// Finds out what the name means.
  ///
  /// - Parameters:
  ///   - family: of the model; nil where it is not known, then in the first that has the name.
  ///   - further: the numbers of layers after the model's own.
  package mutating func identify(in family: (any Architecture.Type)?, further: Range<Int>) {
    // What belongs to another part may be called as the tensors of a model are.
    if let family, family.passesThrough(name, further: further) {
      id = family.identifyForeign(name)
      role = id?.role
      return
    }
    id = family.map { $0.identify(name) } ?? Architectures.identify(name)
    role = id?.role ?? TensorRole(guessedFrom: name)
  }

  /// The tensor of a model that is, or is a part of, a stored one.
  ///
  /// - Parameters:
  ///   - tensor: which it is, and its shape.
  ///   - firstRow: where it begins among the rows of `whole`; 0 in a pack.
  init(_ tensor: ModelTensor, in whole: StoredTensor, firstRow: Int) {
    name = tensor.name
    shape = tensor.shape
    type = whole.type
    id = tensor.id
    role = tensor.role
    func part(of range: Range<Int>) -> Range<Int> {
      let rowByteCount = range.count / max(whole.shape.rows, 1)
      let start = range.lowerBound + firstRow * rowByteCount
      return start..<start + tensor.shape.rows * rowByteCount
    }
    switch whole.place {
    case .chunks:
      place = whole.place
      byteCount = whole.byteCount
    case .packed(let file, let all):
      let codes = all.part(tensor.name, tensor.shape, firstRow: firstRow)
      if let encoding = codes.encoding { type = .encoding(encoding) }
      place = .packed(file: file, codes)
      byteCount = codes.byteCount
    case .bytes(let file, let range):
      place = .bytes(file: file, part(of: range))
      byteCount = part(of: range).count
    case .fp8(let file, let range, let scales):
      place = .fp8(file: file, part(of: range), scales.from(row: firstRow))
      byteCount = part(of: range).count
    }
  }
}
