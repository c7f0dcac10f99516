/// The upper half of a `Float`: 1 sign, 8 exponent, 7 mantissa bits.
package enum BFloat16 {
  /// Exact.
  package static func widen(_ bits: UInt16) -> Float { Float(bitPattern: UInt32(bits) << 16) }

  /// Rounds to the nearest bfloat16, ties to even; NaN stays NaN.
  package static func narrow(_ value: Float) -> UInt16 {
    let bits = value.bitPattern
    guard !value.isNaN else { return UInt16(truncatingIfNeeded: bits >> 16) | 0x40 }
    return UInt16(truncatingIfNeeded: (bits &+ 0x7FFF &+ (bits >> 16 & 1)) >> 16)
  }
}
