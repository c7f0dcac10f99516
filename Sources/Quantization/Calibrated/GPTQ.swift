import Kernels
package import Tensors

/// The calibrated solver: scales under the diagonal of the moments, rounding with feedback of what was lost, one sweep of
/// polish. `Formats/solver.md` defines it to the bit.
package struct GPTQ: Sendable {
  /// Bits of a code, 4 or 8.
  package var bits: Int
  /// 16, 32, 64 or 128.
  package var groupSize: Int
  package var grid: ScaleGrid

  package init(bits: Int, groupSize: Int, grid: ScaleGrid = .portable) {
    self.bits = bits
    self.groupSize = groupSize
    self.grid = grid
  }

  /// Nil for an encoding without codes.
  package init?(_ encoding: Encoding) {
    guard let (code, scale) = encoding.codes else { return nil }
    self.init(bits: code.bits, groupSize: encoding.groupSize, grid: scale == .byte ? .byte : .portable)
  }

  /// Solves a matrix. Rows do not depend on each other, and nothing depends on the threads.
  ///
  /// - Parameters:
  ///   - weights: (rows, columns), a whole number of groups in a row.
  ///   - moments: of the matrix's inputs.
  package func solve(
    _ weights: Span<Float>, rows: Int, moments: ConditionedMoments, threads: Int = 1
  ) throws(CalibrationError) -> CalibratedMatrix {
    let range = try scaleRange(weights, rows: rows, moments: moments)
    let kernels = moments.kernels
    var solved = SolvedRows(rows: rows, columns: moments.columns, groupSize: groupSize)
    kernels.solve(
      moments.factor == nil ? [.searchScales, .round, .measure] : [.searchScales, .feedback, .polish],
      weights: weights, bits: bits, groupSize: groupSize, scaleRange: range, moments: moments.moments,
      factor: moments.factor, rows: &solved, threads: threads)
    let statistics = self.statistics(weights, solved, least: range.least)
    var whole = SolvedRows(rows: rows, columns: moments.columns, groupSize: groupSize)
    kernels.solve(
      .measureWeights, weights: weights, bits: bits, groupSize: groupSize, scaleRange: range,
      moments: moments.moments, rows: &whole, threads: threads)
    return CalibratedMatrix(
      codes: solved.codes, scales: solved.scales, leastScales: grid == .byte ? range.least : [], statistics: statistics,
      outputError: Self.undamped(solved, statistics.squaredError, moments),
      outputPower: Self.undamped(whole, statistics.squaredWeight, moments), conditioning: moments.conditioning)
  }

  /// Scales, and codes before the polish.
  package func draft(
    _ weights: Span<Float>, rows: Int, moments: ConditionedMoments, hasCodes: Bool
  ) throws(CalibrationError) -> MatrixDraft {
    let range = try scaleRange(weights, rows: rows, moments: moments)
    var drafted = SolvedRows(rows: rows, columns: moments.columns, groupSize: groupSize)
    var steps = SolveSteps.searchScales
    if hasCodes { steps.formUnion(moments.factor == nil ? [.round, .measure] : .feedback) }
    moments.kernels.solve(
      steps, weights: weights, bits: bits, groupSize: groupSize, scaleRange: range, moments: moments.moments,
      factor: moments.factor, rows: &drafted)
    return MatrixDraft(
      codes: drafted.codes, scales: drafted.scales, groupSize: groupSize,
      outputError: hasCodes
        ? Self.undamped(drafted, statistics(weights, drafted, least: range.least).squaredError, moments) : nil)
  }

  /// The sum of errors under damped moments, without the damping, which is no output.
  private static func undamped(_ rows: SolvedRows, _ squares: Double, _ moments: ConditionedMoments) -> Double {
    max(0, rows.errors.reduce(0, +) - Double(moments.ridge) * squares)
  }

  private func scaleRange(
    _ weights: Span<Float>, rows: Int, moments: ConditionedMoments
  ) throws(CalibrationError) -> ScaleRange {
    precondition(weights.count == rows * moments.columns && moments.columns % groupSize == 0)
    if let element = unsafe moments.kernels.firstNotFinite(weights.bytes, source: .f32) {
      throw .weightNotFinite(element: element)
    }
    return try grid.range(weights, rows: rows, columns: moments.columns, codes: codeRange)
  }

  private var codeRange: ClosedRange<Int8> { bits == 4 ? -8...7 : -127...127 }

  /// The sums of `Formats/encodings.md`, section 10.
  private func statistics(
    _ weights: Span<Float>, _ solved: SolvedRows, least: [Float]
  ) -> QuantizationStatistics {
    var sums = QuantizationSums()
    let (first, last) = (SIMD16(repeating: codeRange.lowerBound), SIMD16(repeating: codeRange.upperBound))
    let groupsOfRow = solved.scales.count / max(least.count, 1)
    let (weightBytes, codeBytes) = unsafe (weights.bytes, solved.codes.span.bytes)
    for (group, scale) in solved.scales.enumerated() {
      var error = SIMD16<Float>.zero
      var weight = SIMD16<Float>.zero
      var ends = SIMD16<Int8>.zero
      for start in stride(from: group * groupSize, to: (group + 1) * groupSize, by: 16) {
        let x = unsafe weightBytes.unsafeLoadUnaligned(fromByteOffset: 4 * start, as: SIMD16<Float>.self)
        let code = unsafe codeBytes.unsafeLoadUnaligned(fromByteOffset: start, as: SIMD16<Int8>.self)
        let lost = x - SIMD16<Float>(SIMD16<Int32>(truncatingIfNeeded: code)) * scale
        error += lost * lost
        weight += x * x
        ends &+= SIMD16<Int8>.zero.replacing(with: 1, where: (code .== first) .| (code .== last))
      }
      if scale != 0 { sums.saturated += Int(ends.wrappedSum()) }
      if grid == .byte, isClamped(weights, group, least: least[group / groupsOfRow]) { sums.clamped += 1 }
      sums.squaredError += Double(Self.sumInPairs(error))
      sums.squaredWeight += Double(Self.sumInPairs(weight))
    }
    return QuantizationStatistics(sums, count: weights.count)
  }

  /// Whether a group is below the range of its row's byte scales.
  private func isClamped(_ weights: Span<Float>, _ group: Int, least: Float) -> Bool {
    let largest = ScaleGrid.largestMagnitude(weights.extracting(group * groupSize..<(group + 1) * groupSize))
    let wanted = largest / (bits == 4 ? 7.5 : 127.5)
    return largest > 0 && (wanted.bitPattern &+ 0x7FFFF) >> 19 < least.bitPattern >> 19
  }

  private static func sumInPairs(_ partial: SIMD16<Float>) -> Float {
    let eight = partial.lowHalf + partial.highHalf
    let four = eight.lowHalf + eight.highHalf
    let two = four.lowHalf + four.highHalf
    return two[0] + two[1]
  }
}

/// As recipes and the command line name it.
struct GPTQSolver: CalibratedSolver {
  let name = "gptq"
  let summary = "least error of what experts say on calibrated states; needs such states"

  func solve(
    _ weights: Span<Float>, rows: Int, as encoding: Encoding, moments: ConditionedMoments, threads: Int
  ) throws(CalibrationError) -> CalibratedMatrix {
    try gptq(encoding).solve(weights, rows: rows, moments: moments, threads: threads)
  }

  func draft(
    _ weights: Span<Float>, rows: Int, as encoding: Encoding, moments: ConditionedMoments, hasCodes: Bool
  ) throws(CalibrationError) -> MatrixDraft {
    try gptq(encoding).draft(weights, rows: rows, moments: moments, hasCodes: hasCodes)
  }

  private func gptq(_ encoding: Encoding) -> GPTQ {
    guard let gptq = GPTQ(encoding) else { preconditionFailure("\(encoding) has no codes") }
    return gptq
  }
}
