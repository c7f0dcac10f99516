/// Why a calibrated solver cannot go on. What it can go on from, it reports instead: ``MomentConditioning``.
package enum CalibrationError: Error, Equatable {
  /// The states that a product was fed hold an infinity or a NaN in this column, or numbers whose squares overflow.
  case statesNotFinite(column: Int)
  /// A weight is an infinity or a NaN; the first one, counted from the start of the matrix.
  case weightNotFinite(element: Int)
  /// No portable scale reaches this weight.
  case scaleTooLarge(element: Int)
}
