import CKernels
import Tensors

/// What is done with the rows of a matrix, in this order: `Formats/solver.md`, sections 4 and 6 to 9.
package struct SolveSteps: OptionSet, Sendable {
  package let rawValue: Int32
  package init(rawValue: Int32) { self.rawValue = rawValue }

  /// Chooses the scales.
  package static let searchScales = SolveSteps(rawValue: Int32(CK_SEARCH_SCALES))
  /// Rounds column after column and makes good what the columns before lost. Needs a factor; sets the errors.
  package static let feedback = SolveSteps(rawValue: Int32(CK_FEEDBACK))
  /// Rounds each number for itself.
  package static let round = SolveSteps(rawValue: Int32(CK_ROUND))
  /// Moves each code to where it is best while the others stay. Adds to the errors.
  package static let polish = SolveSteps(rawValue: Int32(CK_POLISH))
  /// Sets the errors to those of the codes.
  package static let measure = SolveSteps(rawValue: Int32(CK_MEASURE))
  /// Sets the errors to those of codes that are all zero.
  package static let measureWeights = SolveSteps(rawValue: Int32(CK_MEASURE_WEIGHTS))
}

/// Codes and scales of some rows, before they are laid out as an encoding has it.
package struct SolvedRows: Sendable, Equatable {
  /// (rows, columns).
  package var codes: [Int8]
  /// (rows, columns / group size).
  package var scales: [Float]
  /// (rows): d H dᵀ, where d is what a row lost.
  package var errors: [Double]

  package init(rows: Int, columns: Int, groupSize: Int) {
    codes = [Int8](repeating: 0, count: rows * columns)
    scales = [Float](repeating: 0, count: rows * (columns / groupSize))
    errors = [Double](repeating: 0, count: rows)
  }

  fileprivate mutating func withPointers(
    _ body: (UnsafeMutablePointer<Int8>, UnsafeMutablePointer<Float>, UnsafeMutablePointer<Double>) -> Void
  ) {
    unsafe codes.withUnsafeMutableBufferPointer { codes in
      unsafe scales.withUnsafeMutableBufferPointer { scales in
        unsafe errors.withUnsafeMutableBufferPointer { errors in
          unsafe body(codes.baseAddress!, scales.baseAddress!, errors.baseAddress!)
        }
      }
    }
  }
}

/// How the scales of a call are rounded: some bits of mantissa, and for each row a least and a greatest magnitude.
package struct ScaleRange: Sendable {
  package var mantissaBits: Int
  /// Whether a group of negligible numbers has the scale +0, or else the least.
  package var hasZero: Bool
  package var least: [Float]
  package var most: [Float]

  package init(mantissaBits: Int, hasZero: Bool, least: [Float], most: [Float]) {
    precondition((1...22).contains(mantissaBits) && least.count == most.count)
    self.mantissaBits = mantissaBits
    self.hasZero = hasZero
    self.least = least
    self.most = most
  }

  fileprivate func withPointers(_ body: (UnsafePointer<Float>, UnsafePointer<Float>) -> Void) {
    unsafe least.withUnsafeBufferPointer { least in
      unsafe most.withUnsafeBufferPointer { most in unsafe body(least.baseAddress!, most.baseAddress!) }
    }
  }
}

extension KernelSet {
  /// Does `steps` with every row of a matrix; rows do not touch each other.
  ///
  /// - Parameters:
  ///   - weights: (rows, columns), finite.
  ///   - bits: of a code, 4 or 8.
  ///   - moments: packed by this set, as is the factor.
  ///   - rows: what earlier steps left, brought up to date.
  package func solve(
    _ steps: SolveSteps, weights: Span<Float>, bits: Int, groupSize: Int, scaleRange: ScaleRange,
    moments: PackedMoments, factor: MomentFactor? = nil, rows: inout SolvedRows, threads: Int = 1
  ) {
    let columns = moments.columns
    let count = rows.errors.count
    precondition(bits == 4 || bits == 8)
    precondition((16...128).contains(groupSize) && Encoding.grouped.contains { $0.groupSize == groupSize })
    precondition(columns % groupSize == 0)
    precondition(weights.count == count * columns && rows.codes.count == weights.count)
    precondition(rows.scales.count == weights.count / groupSize && scaleRange.least.count == count)
    precondition(moments.kernels == self && (factor.map { $0.kernels == self && $0.columns == columns } ?? true))
    precondition(factor != nil || !steps.contains(.feedback))
    guard count > 0 else { return }
    let groups = columns / groupSize
    let table = unsafe Shared(table)
    unsafe weights.withUnsafeBufferPointer { weights in
      unsafe scaleRange.withPointers { least, most in
        unsafe moments.withPointers { moments, diagonal in
          unsafe factor.withPointers { factor, pivots, order in
            unsafe rows.withPointers { codes, scales, errors in
              let whole = unsafe Shared(
                ck_solve(
                  steps: steps.rawValue, bits: Int32(bits), mantissa_bits: Int32(scaleRange.mantissaBits),
                  group_size: Int32(groupSize), has_zero: scaleRange.hasZero ? 1 : 0, rows: count, columns: columns,
                  weights: weights.baseAddress!,
                  least: least, most: most, scales: scales, codes: codes, errors: errors, diagonal: diagonal,
                  moments: moments, factor: factor, pivots: pivots, order: order, room: scales))
              let calls = (count + CK_SOLVE_ROWS - 1) / CK_SOLVE_ROWS
              _ = Parallel.map(count: calls, threads: threads) { index in
                let first = index * CK_SOLVE_ROWS
                var part = unsafe whole.value
                unsafe part.rows = min(CK_SOLVE_ROWS, count - first)
                unsafe part.weights += first * columns
                unsafe part.codes += first * columns
                unsafe part.scales += first * groups
                unsafe part.errors += first
                unsafe part.least += first
                unsafe part.most += first
                unsafe withUnsafeTemporaryAllocation(
                  byteCount: ck_solve_room(columns) * MemoryLayout<Float>.size, alignment: 64
                ) { room in
                  unsafe part.room = room.baseAddress!.assumingMemoryBound(to: Float.self)
                  unsafe table.value.pointee.solve_rows(&part)
                }
              }
            }
          }
        }
      }
    }
  }
}
