import Tensors

/// How the scale of a group is chosen.
package enum Solver: String, CaseIterable, Sendable {
  /// The largest magnitude gets the largest code: `Formats/encodings.md`, section 8.
  case absmax
  /// The scale of least squared error among candidates: section 9.
  case search
}

/// The definition of the solvers, group by group; kernels do the same faster.
extension Solver {
  /// Groups up to this magnitude get the scale 0.
  static var negligible: Float { 0x1p-18 }

  /// The scale of a group of finite numbers as bf16 bits, or nil where no portable scale is large enough.
  func scale<S: Scheme>(_ x: ArraySlice<Float>, _ scheme: S.Type) -> UInt16? {
    switch self {
    case .absmax: Self.absmaxScale(x, scheme)
    case .search: Self.searchScale(x, scheme)
    }
  }

  /// portable(x) of section 3 as bf16 bits, or nil where there is none.
  static func portable(_ x: Float) -> UInt16? {
    let rounded = BFloat16.narrow(x)
    let magnitude = max(rounded & 0x7FFF, 0x3700)  // at least 2⁻¹⁷
    return magnitude <= 0x477F ? rounded & 0x8000 | magnitude : nil  // at most 65280
  }

  private static func absmaxScale<S: Scheme>(_ x: ArraySlice<Float>, _ scheme: S.Type) -> UInt16? {
    let a = x.reduce(0) { max($0, abs($1)) }
    return a <= negligible ? 0 : portable(a / Float(S.codes.upperBound))
  }

  private static func searchScale<S: Scheme>(_ x: ArraySlice<Float>, _ scheme: S.Type) -> UInt16? {
    let (maximum, minimum) = x.reduce((-Float.infinity, Float.infinity)) { (max($0.0, $1), min($0.1, $1)) }
    let m = maximum >= -minimum ? maximum : minimum
    guard abs(m) > negligible else { return 0 }
    let range = -Float(S.searchRange)
    let f = range / m
    let integers = x.map { Int(($0 * f).rounded(.toNearestOrEven)) }

    var best: Float = -1
    var ratio: Float = 0
    for r in S.multipliers {
      var a = 0
      var b = 0
      for n in integers {
        let q = S.clamp((n * r + (1 << 14)) >> 15)
        a += n * q
        b += q * q
      }
      let gain = b == 0 ? 0 : Float(a) * Float(a) / Float(b)
      if gain > best {
        best = gain
        ratio = Float(a) / Float(b)
      }
    }
    return portable(ratio * (m / range))
  }
}
