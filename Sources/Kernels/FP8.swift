import CKernels
package import Tensors

/// Floats of 8 bits: a sign, as many bits of exponent and of mantissa as the name says. `e4m3` has no infinities and one NaN of
/// each sign.
package enum FP8Format: Sendable, CaseIterable {
  case e4m3, e5m2

  /// Nil for other types than these.
  package init?(_ dtype: DType) {
    switch dtype {
    case .f8e4m3: self = .e4m3
    case .f8e5m2: self = .e5m2
    default: return nil
    }
  }
}

extension KernelSet {
  /// Numbers of 8 bits times a scale as bf16: the product rounds to binary32, then to the nearest bf16, ties to even. What is
  /// not a number becomes 0x7FC0.
  ///
  /// - Parameter y: `2 * codes.byteCount` bytes, overwritten.
  @_lifetime(y: copy y)
  package func scale(_ codes: RawSpan, as format: FP8Format, by scale: Float, into y: inout MutableRawSpan) {
    precondition(y.byteCount == 2 * codes.byteCount)
    guard !codes.isEmpty else { return }
    unsafe codes.withUnsafeBytes { codes in
      unsafe y.withUnsafeMutableBytes { y in
        let kernel = unsafe format == .e4m3 ? table.pointee.scale_e4m3 : table.pointee.scale_e5m2
        unsafe kernel(codes.baseAddress!.assumingMemoryBound(to: UInt8.self), codes.count, scale, y.baseAddress!)
      }
    }
  }

  /// The index of the first infinity or NaN, or nil where all numbers are finite.
  package func firstNotFinite(_ codes: RawSpan, as format: FP8Format) -> Int? {
    let count = codes.byteCount
    guard count > 0 else { return nil }
    let index = unsafe codes.withUnsafeBytes { codes in
      let kernel = unsafe format == .e4m3 ? table.pointee.first_not_finite_e4m3 : table.pointee.first_not_finite_e5m2
      return unsafe kernel(codes.baseAddress!, count)
    }
    return index < count ? index : nil
  }
}
