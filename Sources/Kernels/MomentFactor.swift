import CKernels

/// A symmetric positive definite matrix H, taken apart so that rounding one column of a matrix after the other can make good
/// what the columns before it lost: `Formats/solver.md`, section 5.
package struct MomentFactor: Sendable {
  /// The set whose order of elements `packed` has.
  let kernels: KernelSet
  let columns: Int
  /// The unit upper triangular factor.
  let packed: [Float]
  /// Its diagonal, before it was made one, in the order in which columns come.
  package let pivots: [Float]
  /// The column that comes k-th.
  package let order: [UInt32]

  /// Nil where a pivot is not a positive finite number.
  ///
  /// - Parameters:
  ///   - h: (columns, columns), symmetric.
  ///   - order: a permutation of the columns.
  package init?(_ h: [Float], order: [UInt32], kernels: KernelSet, threads: Int = 1) {
    let columns = order.count
    precondition(columns > 0 && h.count == columns * columns)
    self.kernels = kernels
    self.columns = columns
    self.order = order
    var t = unsafe [Float](unsafeUninitializedCapacity: columns * columns) { buffer, count in
      unsafe h.withUnsafeBufferPointer { h in
        unsafe order.withUnsafeBufferPointer { order in
          unsafe ck_reversed(h.baseAddress!, order.baseAddress!, columns, buffer.baseAddress!)
        }
      }
      count = columns * columns  // the lower half is not looked at
    }
    let table = unsafe kernels.table
    let isDone = unsafe t.withUnsafeMutableBufferPointer { t in
      unsafe Self.factor(t.baseAddress!, columns, table, threads: threads)
    }
    guard isDone else { return nil }
    var pivots = [Float](repeating: 0, count: columns)
    packed = unsafe [Float](unsafeUninitializedCapacity: ck_packed_floats(columns)) { buffer, count in
      unsafe t.withUnsafeMutableBufferPointer { t in
        unsafe pivots.withUnsafeMutableBufferPointer { pivots in
          unsafe table.pointee.pack_factor(t.baseAddress!, columns, buffer.baseAddress!, pivots.baseAddress!)
        }
      }
      count = ck_packed_floats(columns)
    }
    self.pivots = pivots
  }

  /// The factor of the upper half of t, in its place. Each element is one chain, whatever the blocks.
  private static func factor(
    _ t: UnsafeMutablePointer<Float>, _ columns: Int, _ table: UnsafePointer<ck_kernel_set>, threads: Int
  ) -> Bool {
    for start in stride(from: 0, to: columns, by: CK_FACTOR_BLOCK) {
      let height = min(CK_FACTOR_BLOCK, columns - start)
      let block = unsafe t + start * columns + start
      guard unsafe table.pointee.factor_block(block, columns, height) == height else { return false }
      let rest = columns - start - height
      guard rest > 0 else { break }
      let strip = unsafe Shared((block, table))
      Parallel.rows(count: rest, threads: threads, minimum: 64, multiple: 32) { range in
        let (block, table) = unsafe strip.value
        unsafe table.pointee.factor_strip(block, columns, block + height + range.lowerBound, columns, range.count)
      }
      let right = unsafe ck_factor(x: block + height, stride: columns, format: Int32(CK_F32), turned: 0)
      let below = unsafe block + height * columns + height
      let chains = unsafe ck_chains(
        a: right, b: right, weights: nil, rows: rest, columns: rest, depth: height, c: below, c_stride: columns,
        subtract: 1, upper: 1, first_column: 0, room: below)
      unsafe KernelSet.accumulateUpper(chains, table, threads: threads)
    }
    return true
  }
}

/// The moments themselves, in the order of elements of a set.
package struct PackedMoments: Sendable {
  let kernels: KernelSet
  package let columns: Int
  let packed: [Float]
  /// H[j, j].
  package let diagonal: [Float]

  /// - Parameter h: (columns, columns), symmetric.
  package init(_ h: [Float], columns: Int, kernels: KernelSet) {
    precondition(columns > 0 && h.count == columns * columns)
    self.kernels = kernels
    self.columns = columns
    diagonal = (0..<columns).map { h[$0 * columns + $0] }
    let table = unsafe kernels.table
    packed = unsafe [Float](unsafeUninitializedCapacity: ck_packed_floats(columns)) { buffer, count in
      unsafe h.withUnsafeBufferPointer { h in
        unsafe table.pointee.pack_symmetric(h.baseAddress!, columns, buffer.baseAddress!)
      }
      count = ck_packed_floats(columns)
    }
  }
}

extension PackedMoments {
  func withPointers(_ body: (UnsafePointer<Float>, UnsafePointer<Float>) -> Void) {
    unsafe packed.withUnsafeBufferPointer { packed in
      unsafe diagonal.withUnsafeBufferPointer { unsafe body(packed.baseAddress!, $0.baseAddress!) }
    }
  }
}

extension MomentFactor? {
  func withPointers(
    _ body: (UnsafePointer<Float>?, UnsafePointer<Float>?, UnsafePointer<UInt32>?) -> Void
  ) {
    guard let self else { return body(nil, nil, nil) }
    unsafe self.packed.withUnsafeBufferPointer { packed in
      unsafe self.pivots.withUnsafeBufferPointer { pivots in
        unsafe self.order.withUnsafeBufferPointer { order in
          unsafe body(packed.baseAddress, pivots.baseAddress, order.baseAddress)
        }
      }
    }
  }
}
