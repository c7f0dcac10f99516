package import Tensors

/// Why numbers cannot be encoded or decoded. Elements are counted from the start of the source given.
package enum QuantizationError: Error, Equatable {
  /// An infinity or a NaN; the first one.
  case notFinite(element: Int)
  /// No portable scale reaches this element, the one of largest magnitude in the first group that has this trouble.
  case scaleTooLarge(element: Int)
  /// An encoding that has no scheme, or to which nothing is encoded because it keeps elements as they are.
  case unsupported(Encoding)
  /// A source that is neither bf16 nor f16 nor f32.
  case unsupportedSource(DType)
}
