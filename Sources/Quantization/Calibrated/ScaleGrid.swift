import Kernels

/// The scales that an encoding can hold. Scales are rounded to it before they are compared: `Formats/solver.md`, section 4.
package enum ScaleGrid: Sendable, Equatable {
  /// bf16 values that binary16 holds, too: `Formats/encodings.md`, section 3.
  case portable
  /// Of these, those with fewer bits of mantissa and, beyond that, `octaves` octaves below the largest scale of a row or
  /// of the matrix.
  case octaves(Int, mantissaBits: Int, base: Base)

  package enum Base: Sendable { case row, matrix }

  static var least: Float { 0x1p-17 }
  static var most: Float { 65280 }

  /// What the scales are searched in at first.
  func firstRange(rows: Int) -> ScaleRange {
    let (bits, most): (Int, Float) =
      switch self {
      case .portable: (7, Self.most)
      case .octaves(_, let bits, _): (bits, 0x1p16 - Self.step(binade: 15, bits))
      }
    return ScaleRange(
      mantissaBits: bits, least: [Float](repeating: Self.least, count: rows),
      most: [Float](repeating: most, count: rows))
  }

  /// What they are searched in again, once the largest is known; nil where the first search is the last.
  func secondRange(_ scales: [Float], rows: Int) -> ScaleRange? {
    guard case .octaves(let octaves, let bits, let base) = self, rows > 0 else { return nil }
    let groups = scales.count / rows
    var largest = (0..<rows).map { row in scales[row * groups..<(row + 1) * groups].reduce(0) { max($0, abs($1)) } }
    if base == .matrix { largest = [Float](repeating: largest.max() ?? 0, count: rows) }
    var range = firstRange(rows: rows)
    for (row, most) in largest.enumerated() where most > 0 {
      let top = Int(most.exponent)
      range.most[row] = Self.power(top + 1) - Self.step(binade: top, bits)
      range.least[row] = max(Self.least, Self.power(top + 1 - octaves))
    }
    return range
  }

  private static func power(_ exponent: Int) -> Float { Float(sign: .plus, exponent: exponent, significand: 1) }

  /// From one value to the next among those from 2^binade on.
  private static func step(binade: Int, _ mantissaBits: Int) -> Float { power(binade - mantissaBits) }
}
