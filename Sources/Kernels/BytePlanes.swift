import CKernels

extension KernelSet {
  /// Puts the upper and the lower bytes of 16-bit values apart. The exponents of bf16 weights are much alike, so that
  /// the upper bytes alone compress better than the mixture.
  ///
  /// - Parameters:
  ///   - x: n little-endian values.
  ///   - high: (n bytes), overwritten.
  ///   - low: (n bytes), overwritten.
  @_lifetime(high: copy high)
  @_lifetime(low: copy low)
  package func split16(_ x: RawSpan, high: inout MutableRawSpan, low: inout MutableRawSpan) {
    let count = x.byteCount / 2
    precondition(x.byteCount == count * 2 && high.byteCount == count && low.byteCount == count)
    guard count > 0 else { return }
    unsafe x.withUnsafeBytes { x in
      unsafe high.withUnsafeMutableBytes { high in
        unsafe low.withUnsafeMutableBytes { low in
          unsafe table.pointee.split16(
            x.baseAddress!, count, high.baseAddress!.assumingMemoryBound(to: UInt8.self),
            low.baseAddress!.assumingMemoryBound(to: UInt8.self))
        }
      }
    }
  }

  /// The inverse of `split16`.
  ///
  /// - Parameters:
  ///   - high: (n bytes).
  ///   - low: (n bytes).
  ///   - x: n little-endian values, overwritten.
  @_lifetime(x: copy x)
  package func join16(high: RawSpan, low: RawSpan, into x: inout MutableRawSpan) {
    let count = x.byteCount / 2
    precondition(x.byteCount == count * 2 && high.byteCount == count && low.byteCount == count)
    guard count > 0 else { return }
    unsafe high.withUnsafeBytes { high in
      unsafe low.withUnsafeBytes { low in
        unsafe x.withUnsafeMutableBytes { x in
          unsafe table.pointee.join16(
            high.baseAddress!.assumingMemoryBound(to: UInt8.self), low.baseAddress!.assumingMemoryBound(to: UInt8.self),
            count, x.baseAddress!)
        }
      }
    }
  }

  /// The sum of all 64-bit words, wrapping: a loop that does nothing but read, to measure how fast memory can be read.
  package func readSum(_ x: RawSpan) -> UInt64 {
    guard !x.isEmpty else { return 0 }
    return unsafe x.withUnsafeBytes { unsafe table.pointee.read_sum($0.baseAddress!, $0.count) }
  }

  /// XXH3 with 64 bits and seed 0, the same with all sets. Compiled in with the widest vectors; the library of that name
  /// does without and takes four times as long.
  package func xxh3(_ x: RawSpan) -> UInt64 {
    unsafe x.withUnsafeBytes { unsafe table.pointee.xxh3($0.baseAddress, $0.count) }
  }

  /// Does nothing but multiply and add, to measure how fast this set can. Returns the number of operations, two for each
  /// multiply-add.
  package func multiplyAndAdd(rounds: Int) -> Int {
    let sum = unsafe table.pointee.fma_loop(rounds)
    return sum.isNaN ? 0 : rounds * CK_FMA_STEP * 2
  }
}
