import CKernels

/// Sums of products whose elements are chains: one fused multiply-add after the other, in the order of an index, so that
/// every set and every number of threads gives the same bits (`Formats/solver.md`, section 1).
extension KernelSet {
  /// Adds second moments to the upper half of a matrix: for i ≤ j, `h[i, j] += Σ (weights[t] · x[t, i]) · x[t, j]` in the
  /// order of t. The lower half is unspecified until ``mirrorUpper(_:columns:)``.
  ///
  /// - Parameters:
  ///   - states: (weights.count, columns) bf16 or f32.
  ///   - h: (columns, columns).
  package func addMoments(
    of states: RawSpan, as format: FloatFormat, weights: Span<Float>, columns: Int, to h: inout [Float],
    threads: Int = 1
  ) {
    precondition(format != .f16 && states.byteCount == weights.count * columns * format.byteCount)
    precondition(h.count == columns * columns)
    guard weights.count > 0 && columns > 0 else { return }
    let table = unsafe self.table
    unsafe states.withUnsafeBytes { states in
      unsafe weights.withUnsafeBufferPointer { weights in
        unsafe h.withUnsafeMutableBufferPointer { h in
          let factor = unsafe ck_factor(x: states.baseAddress!, stride: columns, format: format.chainFormat, turned: 0)
          let chains = unsafe ck_chains(
            a: factor, b: factor, weights: weights.baseAddress!, rows: columns, columns: columns,
            depth: weights.count, c: h.baseAddress!, c_stride: columns, subtract: 0, upper: 1, first_column: 0,
            room: h.baseAddress!)
          unsafe Self.accumulateUpper(chains, table, threads: threads)
        }
      }
    }
  }

  /// Products of states with the rows of a matrix, as chains over the columns: `y[t, r] = Σ w[r, k] · x[t, k]`.
  ///
  /// - Parameters:
  ///   - states: (tokens, columns) bf16 or f32.
  ///   - weights: (rows, columns).
  /// - Returns: (tokens, rows).
  package func chainedProduct(
    of states: RawSpan, as format: FloatFormat, tokens: Int, with weights: Span<Float>, rows: Int, columns: Int,
    threads: Int = 1
  ) -> [Float] {
    precondition(format != .f16 && states.byteCount == tokens * columns * format.byteCount)
    precondition(weights.count == rows * columns)
    var y = [Float](repeating: 0, count: tokens * rows)
    guard tokens > 0 && rows > 0 && columns > 0 else { return y }
    let table = unsafe Shared(table)
    unsafe states.withUnsafeBytes { states in
      unsafe weights.withUnsafeBufferPointer { weights in
        unsafe y.withUnsafeMutableBufferPointer { y in
          let whole = unsafe Shared(
            ck_chains(
              a: ck_factor(x: states.baseAddress!, stride: columns, format: format.chainFormat, turned: 1),
              b: ck_factor(x: weights.baseAddress!, stride: columns, format: Int32(CK_F32), turned: 1),
              weights: nil, rows: tokens, columns: rows, depth: columns, c: y.baseAddress!, c_stride: rows,
              subtract: 0, upper: 0, first_column: 0, room: y.baseAddress!))
          Parallel.rows(count: tokens, threads: threads, minimum: 32, multiple: 24) { range in
            var part = unsafe whole.value
            unsafe part.a.x += range.lowerBound * columns * format.byteCount
            unsafe part.c += range.lowerBound * rows
            unsafe part.rows = range.count
            unsafe Self.accumulate(part, table.value)
          }
        }
      }
    }
    return y
  }

  /// `g[i] = g[i] / (1 + e^−g[i]) · u[i]` with an exponential that all sets share to the bit.
  package func chainedGate(_ g: inout [Float], _ u: [Float]) {
    precondition(g.count == u.count)
    guard !g.isEmpty else { return }
    let table = unsafe self.table
    unsafe u.withUnsafeBufferPointer { u in
      unsafe g.withUnsafeMutableBufferPointer { g in
        unsafe table.pointee.gate(g.baseAddress!, u.baseAddress!, g.count, g.baseAddress!)
      }
    }
  }

  /// `h[i, j] = h[j, i]` below the diagonal.
  package static func mirrorUpper(_ h: inout [Float], columns: Int) {
    precondition(h.count == columns * columns)
    unsafe h.withUnsafeMutableBufferPointer { if let base = $0.baseAddress { unsafe ck_mirror(base, columns) } }
  }

  /// `h = own · h + other · l`, each operation rounded.
  package static func blend(_ h: inout [Float], _ own: Float, with l: [Float], _ other: Float) {
    precondition(h.count == l.count)
    unsafe l.withUnsafeBufferPointer { l in
      unsafe h.withUnsafeMutableBufferPointer { h in
        guard let from = l.baseAddress, let base = h.baseAddress else { return }
        unsafe ck_blend(base, from, own, other, h.count)
      }
    }
  }

  static func accumulate(_ chains: ck_chains, _ table: UnsafePointer<ck_kernel_set>) {
    unsafe withUnsafeTemporaryAllocation(
      byteCount: CK_CHAINS_ROOM * MemoryLayout<Float>.size, alignment: 64
    ) { room in
      var chains = unsafe chains
      unsafe chains.room = room.baseAddress!.assumingMemoryBound(to: Float.self)
      unsafe table.pointee.accumulate(&chains)
    }
  }

  /// Cuts the columns of an upper half into strips, the longest of which come first.
  static func accumulateUpper(_ chains: ck_chains, _ table: UnsafePointer<ck_kernel_set>, threads: Int) {
    let whole = unsafe Shared((chains, table))
    let columns = unsafe chains.columns
    let width = max(64, min(512, (columns / (2 * threads) + 31) / 32 * 32))
    let strips = (columns + width - 1) / width
    _ = Parallel.map(count: strips, threads: threads) { index in
      let first = (strips - 1 - index) * width
      var (part, table) = unsafe whole.value
      let bytes = unsafe first * (part.b.format == Int32(CK_F32) ? 4 : 2)
      unsafe part.b.x += bytes
      unsafe part.c += first
      unsafe part.columns = min(width, columns - first)
      unsafe part.rows = min(part.rows, first + part.columns)
      unsafe part.first_column = first
      unsafe accumulate(part, table)
    }
  }
}

extension FloatFormat {
  var chainFormat: Int32 { Int32(self == .f32 ? CK_F32 : CK_BF16) }
}
