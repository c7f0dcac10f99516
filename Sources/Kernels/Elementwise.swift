import CKernels

/// Functions of activations, in binary32; NaN goes through. `e^x` is within 1 ulp of the exact value in all sets, which
/// `ElementwiseTests` measures.
extension KernelSet {
  /// `g[i] = g[i] / (1 + e^−g[i]) · u[i]`.
  @_lifetime(g: copy g)
  package func siluMultiply(_ g: inout MutableSpan<Float>, _ u: Span<Float>) {
    precondition(g.count == u.count)
    guard g.count > 0 else { return }
    unsafe u.withUnsafeBufferPointer { u in
      unsafe g.withUnsafeMutableBufferPointer { g in
        unsafe table.pointee.silu_multiply(g.baseAddress!, u.baseAddress!, g.count, g.baseAddress!)
      }
    }
  }

  /// `x[i] = e^x[i]`.
  @_lifetime(x: copy x)
  package func exp(_ x: inout MutableSpan<Float>) {
    guard x.count > 0 else { return }
    unsafe x.withUnsafeMutableBufferPointer { x in
      unsafe table.pointee.exp(x.baseAddress!, x.count, x.baseAddress!)
    }
  }

  /// `x[i] = e^(x[i] − m) / Σ e^(x[j] − m)` with the maximum m. A masked number is −∞ and becomes 0; where all are −∞, or
  /// one is +∞ or NaN, all become NaN.
  @_lifetime(x: copy x)
  package func softmax(_ x: inout MutableSpan<Float>) {
    guard x.count > 0 else { return }
    unsafe x.withUnsafeMutableBufferPointer { x in
      _ = unsafe table.pointee.softmax(x.baseAddress!, x.count)
    }
  }

  /// What a softmax over some numbers comes to, without writing it.
  ///
  /// - Parameter x: finite numbers, at least one.
  package func scores(_ x: Span<Float>) -> Scores {
    precondition(x.count > 0)
    var found = ck_scores()
    unsafe x.withUnsafeBufferPointer { unsafe table.pointee.score($0.baseAddress!, $0.count, &found) }
    return Scores(largest: found.largest, second: found.second, first: found.first, sum: found.sum)
  }
}

/// The two largest of some numbers and the normalizer of their softmax.
package struct Scores: Sendable {
  package let largest: Float
  /// The largest again where two are equal; −∞ of a single number.
  package let second: Float
  /// The index of the first that is largest.
  package let first: Int
  /// `Σ e^(x[i] − largest)`, whose rounding depends on the set.
  package let sum: Double
}
