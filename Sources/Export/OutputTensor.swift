import Kernels
import Models
import Tensors

/// A tensor of an export.
///
/// - Parameter Kind: how its format names types of elements.
struct OutputTensor<Kind: Sendable>: Sendable {
  let name: String
  let kind: Kind
  /// As the format's readers count them, slowest dimension first.
  let dimensions: [Int]
  let byteCount: Int
  /// Together all bytes.
  let pieces: [Piece]
}

/// What one tensor of the pack contributes.
struct Piece: Sendable {
  /// Place among the tensors of the source.
  let source: Int
  let encoder: any TensorEncoder
  /// Where it begins: in its tensor, or in the file where that is laid out.
  let offset: Int

  func moved(by distance: Int) -> Piece { Piece(source: source, encoder: encoder, offset: offset + distance) }
}

extension OutputTensor {
  /// From one tensor of the pack.
  init(_ name: String, _ kind: Kind, _ dimensions: [Int], _ source: Int, _ encoder: any TensorEncoder, of tensor: Shape)
  {
    self.init(name, kind, dimensions, stacking: [source], encoder, of: tensor)
  }

  /// From several of one shape, one after the other.
  init(
    _ name: String, _ kind: Kind, _ dimensions: [Int], stacking sources: [Int], _ encoder: any TensorEncoder,
    of tensor: Shape
  ) {
    let each = encoder.byteCount(rows: tensor.rows, columns: tensor.columns)
    self.init(
      name: name, kind: kind, dimensions: dimensions, byteCount: each * sources.count,
      pieces: sources.enumerated().map { Piece(source: $1, encoder: encoder, offset: $0 * each) })
  }
}

/// A file of an export, laid out to the byte.
package struct PlannedFile: Sendable {
  /// What is known only when all pieces are written.
  struct Findings: Sendable {
    /// Of the pieces of the file, in their order.
    var digests: [BLAKE3.Digest]
    /// The root hash of the pack, without a report.
    var rootHash: UInt64
  }

  /// What follows from ``Findings``.
  struct Seal: Sendable {
    /// Whether the digests of pieces are wanted.
    let hashesPieces: Bool
    /// Of what is written.
    let byteCount: Int
    /// Bytes to be written, and where they go; as long whatever was found.
    let make: @Sendable (Findings) -> [(offset: Int, bytes: [UInt8])]
  }

  /// Its path in the directory of the export; of an export that is one file, unused.
  package let name: String
  package let byteCount: Int
  /// What is known before any weight is read, and where it goes.
  let known: [(offset: Int, bytes: [UInt8])]
  /// What is made of weights, at places in the file. All other bytes are zero.
  let pieces: [Piece]
  /// What is written last.
  let seal: Seal?
  /// Bytes of tensors.
  package let tensorByteCount: Int

  /// A file whose bytes are known.
  init(name: String, bytes: [UInt8]) {
    self.init(name: name, byteCount: bytes.count, known: [(0, bytes)], pieces: [], tensorByteCount: 0)
  }

  init(
    name: String, byteCount: Int, known: [(offset: Int, bytes: [UInt8])], pieces: [Piece], tensorByteCount: Int,
    seal: Seal? = nil
  ) {
    self.name = name
    self.byteCount = byteCount
    self.known = known
    self.pieces = pieces
    self.tensorByteCount = tensorByteCount
    self.seal = seal
  }
}
