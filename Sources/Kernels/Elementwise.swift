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
      unsafe table.pointee.softmax(x.baseAddress!, x.count)
    }
  }
}
