import CKernels

/// Functions of activations, in binary32; NaN goes through. `e^x` is within 1 ulp of the exact value in all sets, which
/// `ElementwiseTests` measures.
extension KernelSet {
  /// `y[i] = weight[i] · (x[i] · f)`, f = 1 / √(mean of x² + epsilon). The mean and the root are taken in binary64 and f
  /// is rounded to binary32.
  ///
  /// - Parameters:
  ///   - x: (n), one token.
  ///   - weight: (n).
  ///   - y: (n), overwritten.
  @_lifetime(y: copy y)
  package func rmsNorm(_ x: Span<Float>, weight: Span<Float>, epsilon: Double, into y: inout MutableSpan<Float>) {
    precondition(x.count == y.count && weight.count == y.count)
    guard y.count > 0 else { return }
    unsafe x.withUnsafeBufferPointer { x in
      unsafe weight.withUnsafeBufferPointer { weight in
        unsafe y.withUnsafeMutableBufferPointer { y in
          unsafe table.pointee.rms_norm(x.baseAddress!, weight.baseAddress!, y.count, epsilon, y.baseAddress!)
        }
      }
    }
  }

  /// `rmsNorm` in place.
  @_lifetime(x: copy x)
  package func rmsNorm(_ x: inout MutableSpan<Float>, weight: Span<Float>, epsilon: Double) {
    precondition(weight.count == x.count)
    guard x.count > 0 else { return }
    unsafe weight.withUnsafeBufferPointer { weight in
      unsafe x.withUnsafeMutableBufferPointer { x in
        unsafe table.pointee.rms_norm(x.baseAddress!, weight.baseAddress!, x.count, epsilon, x.baseAddress!)
      }
    }
  }

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

  /// `x[i] = 1 / (1 + e^−x[i])`.
  @_lifetime(x: copy x)
  package func sigmoid(_ x: inout MutableSpan<Float>) {
    guard x.count > 0 else { return }
    unsafe x.withUnsafeMutableBufferPointer { x in
      unsafe table.pointee.sigmoid(x.baseAddress!, x.count, x.baseAddress!)
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
