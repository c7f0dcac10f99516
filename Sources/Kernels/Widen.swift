import CKernels

extension KernelSet {
  /// Widens numbers of type `source` to `Float`, exactly; binary32 is copied.
  ///
  /// - Parameters:
  ///   - x: `y.count` numbers.
  ///   - y: overwritten.
  @_lifetime(y: copy y)
  package func widen(_ x: RawSpan, source: FloatFormat, into y: inout MutableSpan<Float>) {
    precondition(x.byteCount == y.count * source.byteCount)
    guard !x.isEmpty else { return }
    unsafe x.withUnsafeBytes { x in
      unsafe y.withUnsafeMutableBufferPointer { y in
        let (from, to) = unsafe (x.baseAddress!, y.baseAddress!)
        switch source {
        case .bf16: unsafe table.pointee.widen_bf16(from, y.count, to)
        case .f16: unsafe table.pointee.widen_f16(from, y.count, to)
        case .f32: unsafe UnsafeMutableRawPointer(to).copyMemory(from: from, byteCount: x.count)
        }
      }
    }
  }

  /// The index of the first infinity or NaN, or nil where all numbers are finite. Runs at the speed of memory.
  package func firstNotFinite(_ x: RawSpan, source: FloatFormat) -> Int? {
    let count = x.byteCount / source.byteCount
    precondition(x.byteCount == count * source.byteCount)
    guard count > 0 else { return nil }
    let index = unsafe x.withUnsafeBytes { x in
      let from = x.baseAddress!
      return switch source {
      case .bf16: unsafe table.pointee.first_not_finite_bf16(from, count)
      case .f16: unsafe table.pointee.first_not_finite_f16(from, count)
      case .f32: unsafe table.pointee.first_not_finite_f32(from, count)
      }
    }
    return index < count ? index : nil
  }
}
