import Kernels

/// The scales that an encoding can hold. Scales are rounded to it before they are compared: `Formats/solver.md`, section 4.
package enum ScaleGrid: Sendable, Equatable {
  /// bf16 values that binary16 holds, too: `Formats/encodings.md`, section 3.
  case portable
  /// The scales of one byte among these: four bits of mantissa and eight octaves from a base on, which follows from the largest
  /// magnitude of a row.
  case byte

  /// The largest portable scale.
  private static var most: Float { 65280 }
  private static var byteBases: ClosedRange<Int> { 110...135 }

  /// The scales of each row.
  ///
  /// - Parameter weights: (rows, columns), finite.
  /// - Throws: ``CalibrationError/scaleTooLarge(element:)``.
  func range(
    _ weights: Span<Float>, rows: Int, columns: Int, codes: ClosedRange<Int8>
  ) throws(CalibrationError) -> ScaleRange {
    var range = ScaleRange(
      mantissaBits: self == .portable ? 7 : 4, hasZero: self == .portable,
      least: [Float](repeating: 0x1p-17, count: rows), most: [Float](repeating: Self.most, count: rows))
    // Beyond, even the largest scale would cut weights off.
    let limit = Self.most * -Float(codes.lowerBound)
    for row in 0..<rows {
      let own = weights.extracting(row * columns..<(row + 1) * columns)
      let magnitude = Self.largestMagnitude(own)
      // The first of those that are largest.
      var place: Int { row * columns + (own.indices.first { abs(own[$0]) == magnitude } ?? 0) }
      guard magnitude <= limit else { throw .scaleTooLarge(element: place) }
      guard self == .byte else { continue }
      let wanted = Int(magnitude.bitPattern >> 23) - (codes.lowerBound == -8 ? 9 : 13)
      let base = max(Self.byteBases.lowerBound, wanted)
      guard base <= Self.byteBases.upperBound else { throw .scaleTooLarge(element: place) }
      range.least[row] = Float(sign: .plus, exponent: base - 127, significand: 1)
      range.most[row] = Float(sign: .plus, exponent: base - 120, significand: 1.9375)
    }
    return range
  }

  /// - Parameter weights: finite.
  static func largestMagnitude(_ weights: Span<Float>) -> Float {
    let bytes = unsafe weights.bytes
    // As integers, magnitudes have the same order, and the loop becomes one of vectors.
    var largest: Int32 = 0
    for place in stride(from: 0, to: bytes.byteCount, by: 4) {
      largest = max(largest, unsafe bytes.unsafeLoadUnaligned(fromByteOffset: place, as: Int32.self) & Int32.max)
    }
    return Float(bitPattern: UInt32(largest))
  }
}
