package import Tensors

/// One tensor of a safetensors file: what it is and where its bytes lie. Says nothing that was not checked.
package struct TensorEntry: Sendable, Hashable {
  package let name: String
  package let dtype: DType
  /// As the file writes it, slowest dimension first; `[]` for a scalar.
  package let shape: Shape
  /// Where the elements lie, counted from the start of the file.
  package let byteRange: Range<Int>
  /// Where the quoted name stands in the file; messages point there.
  package let headerOffset: Int

  package init(name: String, dtype: DType, shape: Shape, byteRange: Range<Int>, headerOffset: Int) {
    self.name = name
    self.dtype = dtype
    self.shape = shape
    self.byteRange = byteRange
    self.headerOffset = headerOffset
  }
}
