import CKernels

/// In which order a product sums, as far as that depends on the number of tokens.
package enum SumOrder: Sendable, CaseIterable {
  case fastest
  /// For each token the bits that it gets alone, however many there are: slower with many.
  case alone
  /// For each token the bits that it gets among many, however few there are: with few as slow as with 32.
  case panel

  var id: Int32 {
    switch self {
    case .fastest: Int32(CK_ORDER_FASTEST)
    case .alone: Int32(CK_ORDER_ALONE)
    case .panel: Int32(CK_ORDER_PANEL)
    }
  }
}

extension KernelSet {
  /// Multiplies activations with the rows of a matrix:
  /// `y[t · stride + rowOffset + r] = Σ w[r, k] · x[t · xStride + k]`, with w the decoded weights.
  ///
  /// Weights are decoded in registers; nothing is allocated. All arithmetic is binary32. The order of a sum depends on the
  /// set and on the number of tokens, but not on the number of rows or threads, so that splitting a matrix by rows changes
  /// no bit; where another order than the fastest is asked for, it does not depend on the number of tokens either. NaN and infinities go through as IEEE 754 has it.
  ///
  /// The error against exact arithmetic is at most (depth + 1) · 2⁻²⁴ · Σ |w · x|, with depth the roundings on the longest
  /// way of a term through its sum, `productDepth(columns:tokens:order:)`.
  ///
  /// - Parameters:
  ///   - weights: plane 0 of `rows` rows, at any alignment.
  ///   - scales: plane 1 of the same rows for codes, otherwise empty.
  ///   - columns: for codes a multiple of the group size.
  ///   - x: (tokens, xStride), the first `columns` numbers of each token.
  ///   - xStride: from token to token; `columns` where it is nil.
  ///   - y: (tokens, stride), of which rowOffset ..< rowOffset + rows is overwritten.
  ///   - threads: how many threads share the rows. A part of one has at least 2¹⁷ multiplications.
  ///   - order: of the sums.
  @_lifetime(y: copy y)
  package func multiply(
    _ weights: RawSpan, scales: RawSpan = RawSpan(), as format: WeightFormat, rows: Int, columns: Int, x: Span<Float>,
    xStride: Int? = nil, tokens: Int, into y: inout MutableSpan<Float>, rowOffset: Int = 0, stride: Int,
    threads: Int = 1, order: SumOrder = .fastest
  ) {
    let xStride = xStride ?? columns
    precondition(rows >= 0 && columns >= 0 && tokens >= 0 && rowOffset >= 0)
    precondition(columns % format.groupSize == 0)
    precondition(weights.byteCount == rows * format.rowByteCount(columns: columns))
    precondition(scales.byteCount == rows * format.rowScaleByteCount(columns: columns))
    precondition(xStride >= columns && rowOffset + rows <= stride)
    guard rows > 0 && tokens > 0 else { return }
    precondition(x.count >= (tokens - 1) * xStride + columns)
    precondition(y.count >= (tokens - 1) * stride + rowOffset + rows)
    guard columns > 0 else {
      for t in 0..<tokens {
        for r in 0..<rows { y[t * stride + rowOffset + r] = 0 }
      }
      return
    }
    unsafe weights.withUnsafeBytes { weights in
      unsafe scales.withUnsafeBytes { scales in
        unsafe x.withUnsafeBufferPointer { x in
          unsafe y.withUnsafeMutableBufferPointer { y in
            let product = unsafe ck_product(
              weights: weights.baseAddress!, scales: scales.baseAddress, rows: rows, columns: columns,
              format: format.id, group_size: Int32(format.groupSize), scale: format.scaleID, tokens: tokens,
              x: x.baseAddress!,
              x_stride: xStride, y: y.baseAddress! + rowOffset, y_stride: stride, order: order.id)
            // A multiple of all block heights in the multiply.c of the sets.
            unsafe splitRows(of: product, as: format, threads: threads, multiple: 24) {
              unsafe table.pointee.multiply(&$0)
            }
          }
        }
      }
    }
  }

  /// Calls `multiply` for parts of the rows, of whole blocks of `multiple` rows.
  func splitRows(
    of product: ck_product, as format: WeightFormat, threads: Int, multiple: Int,
    multiply: @Sendable (inout ck_product) -> Void
  ) {
    let whole = unsafe Shared(product)
    let columns = unsafe product.columns
    let rowByteCount = format.rowByteCount(columns: columns)
    let rowScaleByteCount = format.rowScaleByteCount(columns: columns)
    let minimum = unsafe (1 << 17) / (columns * product.tokens) + 1
    unsafe Parallel.rows(count: product.rows, threads: threads, minimum: minimum, multiple: multiple) { range in
      var part = unsafe whole.value
      unsafe part.weights += range.lowerBound * rowByteCount
      unsafe part.scales = part.scales.map { unsafe $0 + range.lowerBound * rowScaleByteCount }
      unsafe part.rows = range.count
      unsafe part.y += range.lowerBound
      unsafe multiply(&part)
    }
  }

  /// At least as many roundings as a term of a product's sum goes through, its own product included.
  package func productDepth(columns: Int, tokens: Int, order: SumOrder = .fastest) -> Int {
    // Few tokens: a part of the sum in every lane, then pairs of lanes. One more for sets without fused multiply-add.
    let along = unsafe columns / Int(table.pointee.lanes) + 7
    // Many: blocks of 128 columns, sums of up to 8 of them, and the sum of those.
    let across = min(columns, 128) + min(columns / 128, 8) + columns / 1024 + 2
    let isAlong = order == .alone || order == .fastest && tokens <= 12
    return name == "scalar" || isAlong ? along : max(along, across)
  }

  /// Adds up rows with weights: `y[t · yStride + c] = Σ p[t · pStride + j] · v[j · vStride + c]` over j < count, as attention does
  /// with few queries. Each sum runs in the order of j.
  ///
  /// - Parameters:
  ///   - p: (tokens, pStride), the first `count` numbers of each token.
  ///   - v: (count, vStride), the first `columns` numbers of each row.
  ///   - y: (tokens, yStride), the first `columns` numbers of each token overwritten.
  @_lifetime(y: copy y)
  package func weightedSum(
    _ p: Span<Float>, pStride: Int, tokens: Int, of v: Span<Float>, vStride: Int, count: Int, columns: Int,
    into y: inout MutableSpan<Float>, yStride: Int
  ) {
    precondition(tokens >= 0 && count >= 0 && columns >= 0)
    precondition(pStride >= count && vStride >= columns && yStride >= columns)
    guard tokens > 0 && columns > 0 else { return }
    precondition(y.count >= (tokens - 1) * yStride + columns)
    precondition(count == 0 || p.count >= (tokens - 1) * pStride + count && v.count >= (count - 1) * vStride + columns)
    guard count > 0 else {
      for t in 0..<tokens {
        for c in 0..<columns { y[t * yStride + c] = 0 }
      }
      return
    }
    unsafe p.withUnsafeBufferPointer { p in
      unsafe v.withUnsafeBufferPointer { v in
        unsafe y.withUnsafeMutableBufferPointer { y in
          unsafe table.pointee.weighted_sum(
            p.baseAddress!, pStride, tokens, v.baseAddress!, vStride, count, columns, y.baseAddress!, yStride)
        }
      }
    }
  }
}
