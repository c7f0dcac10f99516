import CKernels

/// Activations of some tokens rounded to int8, once for all products with them.
///
/// Each group of neighbouring activations of a token has its own scale; the groups are as large as those of the weights, so
/// that a product needs one exact integer sum and one multiplication by both scales for each pair of groups.
package struct Int8Activations: Sendable, Equatable {
  package let tokens: Int
  package let columns: Int
  /// Activations that share a scale: 16, 32, 64 or 128.
  package let groupSize: Int
  /// (tokens, columns), -127 ... 127.
  package let codes: [Int8]
  /// (tokens, columns / groupSize): an activation is about its code times this. 0 where all of the group are below 2⁻¹⁰⁰ in
  /// magnitude, NaN where one is not finite; all codes are 0 then.
  package let scales: [Float]
  /// Minus the sum of the codes of each group, for kernels whose weights are made unsigned.
  let starts: [Int32]
}

extension KernelSet {
  /// Rounds activations to int8, symmetric, with one scale a group: with a the largest magnitude of a group,
  /// scale = a / 127 and code = x · (127 / a) rounded to the nearest integer, ties to even; all in binary32.
  ///
  /// - Parameters:
  ///   - x: (tokens, columns), in one piece.
  ///   - groupSize: that of the weights: 16, 32, 64 or 128; divides `columns`.
  package func int8Activations(_ x: Span<Float>, tokens: Int, columns: Int, groupSize: Int) -> Int8Activations {
    precondition(x.count == tokens * columns && columns % groupSize == 0)
    let groupCount = x.count / groupSize
    var codes = [Int8](repeating: 0, count: x.count)
    var scales = [Float](repeating: 0, count: groupCount)
    var starts = [Int32](repeating: 0, count: groupCount)
    if groupCount > 0 {
      unsafe x.withUnsafeBufferPointer { x in
        unsafe codes.withUnsafeMutableBufferPointer { codes in
          unsafe scales.withUnsafeMutableBufferPointer { scales in
            unsafe starts.withUnsafeMutableBufferPointer { starts in
              var to = unsafe ck_activations(
                codes: codes.baseAddress!, scales: scales.baseAddress!, starts: starts.baseAddress!)
              unsafe table.pointee.quantize_activations(x.baseAddress!, groupCount, groupSize, &to)
            }
          }
        }
      }
    }
    return Int8Activations(
      tokens: tokens, columns: columns, groupSize: groupSize, codes: codes, scales: scales, starts: starts)
  }

  /// Multiplies int8 activations with the rows of an int4 or int8 matrix:
  /// `y[t · stride + rowOffset + r] = Σ (Σ w · x) · s[r, g] · d[t, g]`, the inner sum over the codes of group g, exact in
  /// integers; the outer one over the groups in their order, from 0 on, in binary32 with a rounding for each operation.
  ///
  /// The result does not depend on the set, the number of tokens, rows or threads. It is a NaN for all rows where an
  /// activation of the token is an infinity or a NaN.
  ///
  /// - Parameters:
  ///   - weights: plane 0 of `rows` rows, at any alignment.
  ///   - scales: plane 1 of the same rows, finite.
  ///   - format: of the weights, with the group size of `x`.
  ///   - y: (tokens, stride), of which rowOffset ..< rowOffset + rows is overwritten.
  ///   - threads: how many threads share the rows. A part of one has at least 2¹⁷ multiplications.
  @_lifetime(y: copy y)
  package func multiply(
    _ weights: RawSpan, scales: RawSpan, as format: CodeFormat, rows: Int, x: Int8Activations,
    into y: inout MutableSpan<Float>, rowOffset: Int = 0, stride: Int, threads: Int = 1
  ) {
    let weightFormat = WeightFormat.codes(format)
    precondition(rows >= 0 && rowOffset >= 0 && rowOffset + rows <= stride && format.groupSize == x.groupSize)
    precondition(weights.byteCount == rows * weightFormat.rowByteCount(columns: x.columns))
    precondition(scales.byteCount == rows * weightFormat.rowScaleByteCount(columns: x.columns))
    guard rows > 0 && x.tokens > 0 else { return }
    precondition(y.count >= (x.tokens - 1) * stride + rowOffset + rows)
    guard x.columns > 0 else {
      for t in 0..<x.tokens {
        for r in 0..<rows { y[t * stride + rowOffset + r] = 0 }
      }
      return
    }
    unsafe weights.withUnsafeBytes { weights in
      unsafe scales.withUnsafeBytes { scales in
        unsafe y.withUnsafeMutableBufferPointer { y in
          let product = unsafe ck_product(
            weights: weights.baseAddress!, scales: scales.baseAddress, rows: rows, columns: x.columns,
            format: weightFormat.id, group_size: Int32(format.groupSize), scale: format.scaleID, tokens: x.tokens,
            x: nil, x_stride: 0,
            y: y.baseAddress! + rowOffset, y_stride: stride, order: 0)
          unsafe multiply(product, as: weightFormat, x, threads: threads)
        }
      }
    }
  }

  private func multiply(_ product: ck_product, as format: WeightFormat, _ x: Int8Activations, threads: Int) {
    unsafe x.codes.withUnsafeBufferPointer { codes in
      unsafe x.scales.withUnsafeBufferPointer { scales in
        unsafe x.starts.withUnsafeBufferPointer { starts in
          // Products only read them.
          let activations = unsafe Shared(
            ck_activations(
              codes: UnsafeMutablePointer(mutating: codes.baseAddress!),
              scales: UnsafeMutablePointer(mutating: scales.baseAddress!),
              starts: UnsafeMutablePointer(mutating: starts.baseAddress!)))
          // A multiple of the rows that any set takes at a time.
          unsafe splitRows(of: product, as: format, threads: threads, multiple: 32) { part in
            var x = unsafe activations.value
            unsafe table.pointee.multiply_int8(&part, &x)
          }
        }
      }
    }
  }
}
