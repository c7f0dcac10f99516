import CKernels

extension KernelSet {
  /// Positions that queries can attend to at once.
  package static var attendedPositions: Int { Int(CK_ATTEND_POSITIONS) }

  /// Attention of some queries to some positions: `y[t] = softmax(queries[t] · keysᵀ) · values`, in binary32. The order of a sum
  /// depends on the set and on the number of queries. Where a score is no number, neither is what comes of it.
  ///
  /// - Parameters:
  ///   - queries: (tokens, dimension).
  ///   - keys: (positions, dimension), at least one position and at most ``attendedPositions``.
  ///   - values: as many.
  ///   - y: (tokens, dimension).
  ///   - largest: by token, the largest score.
  ///   - sums: by token, `Σ e^(score − largest)`; with it, what several calls make of a query is put together.
  @_lifetime(y: copy y)
  @_lifetime(largest: copy largest)
  @_lifetime(sums: copy sums)
  package func attend(
    _ queries: Span<Float>, keys: Span<Float>, values: Span<Float>, dimension: Int, into y: inout MutableSpan<Float>,
    largest: inout MutableSpan<Float>, sums: inout MutableSpan<Float>
  ) {
    let (tokens, positions) = (queries.count / dimension, keys.count / dimension)
    precondition(queries.count == tokens * dimension && keys.count == positions * dimension)
    precondition(positions >= 1 && positions <= Self.attendedPositions && values.count == keys.count)
    precondition(y.count == queries.count && largest.count == tokens && sums.count == tokens)
    guard tokens > 0 else { return }
    unsafe queries.withUnsafeBufferPointer { queries in
      unsafe keys.withUnsafeBufferPointer { keys in
        unsafe values.withUnsafeBufferPointer { values in
          unsafe y.withUnsafeMutableBufferPointer { y in
            unsafe largest.withUnsafeMutableBufferPointer { largest in
              unsafe sums.withUnsafeMutableBufferPointer { sums in
                var attention = unsafe ck_attention(
                  queries: queries.baseAddress!, keys: keys.baseAddress!, values: values.baseAddress!, tokens: tokens,
                  positions: positions, dimension: dimension, y: y.baseAddress!, largest: largest.baseAddress!,
                  sums: sums.baseAddress!)
                unsafe table.pointee.attend(&attention)
              }
            }
          }
        }
      }
    }
  }
}
