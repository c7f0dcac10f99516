package import Storage
package import Tensors

/// A weight matrix (rows, columns) = (out features, in features) in its encoding, wherever its bytes are.
package struct Matrix: Sendable {
  /// A run of rows whose planes are in one piece.
  package struct Block: Sendable {
    package let rows: Range<Int>
    package let content: SharedBytes
    /// Codes, or the elements of a plain encoding, in the content.
    package let codes: Range<Int>
    /// Scales in the content; empty for a plain encoding.
    package let scales: Range<Int>

    package init(rows: Range<Int>, content: SharedBytes, codes: Range<Int>, scales: Range<Int>) {
      self.rows = rows
      self.content = content
      self.codes = codes
      self.scales = scales
    }
  }

  package let name: String
  package let encoding: Encoding
  package let rows: Int
  package let columns: Int
  /// Together all rows, in order.
  package let blocks: [Block]

  package init(name: String, encoding: Encoding, shape: Shape, blocks: [Block]) {
    self.name = name
    self.encoding = encoding
    rows = shape.rows
    columns = shape.columns
    self.blocks = blocks
  }

  /// Bytes that a product reads.
  package var byteCount: Int { blocks.reduce(0) { $0 + $1.codes.count + $1.scales.count } }

  /// Whether its bytes are pages of a file and no memory of our own.
  var isInPlace: Bool { blocks.allSatisfy { !$0.content.isOwned } }
}

/// One routed expert: `down(silu(gate(x)) * up(x))`.
package struct ExpertWeights: Sendable {
  package let gate: Matrix
  package let up: Matrix
  package let down: Matrix
  /// Bytes that products with all three read.
  package let byteCount: Int
  /// Whether their bytes are pages of a file and no memory of our own.
  let isInPlace: Bool

  init(gate: Matrix, up: Matrix, down: Matrix) {
    self.gate = gate
    self.up = up
    self.down = down
    byteCount = gate.byteCount + up.byteCount + down.byteCount
    isInPlace = gate.isInPlace && up.isInPlace && down.isInPlace
  }
}
