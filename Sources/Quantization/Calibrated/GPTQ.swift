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
  ///   - depth: what is wanted of the result; a draft's output error is unspecified.
  package func solve(
    _ weights: Span<Float>, rows: Int, moments: ConditionedMoments, depth: SolvingDepth = .whole, threads: Int = 1
  ) throws(CalibrationError) -> CalibratedMatrix {
    precondition(weights.count == rows * moments.columns && moments.columns % groupSize == 0)
    let kernels = moments.kernels
    if let element = unsafe kernels.firstNotFinite(weights.bytes, source: .f32) {
      throw .weightNotFinite(element: element)
    }
    let range = try grid.range(weights, rows: rows, columns: moments.columns, codes: codeRange)
    var solved = SolvedRows(rows: rows, columns: moments.columns, groupSize: groupSize)
    var steps: SolveSteps =
      moments.factor == nil ? [.searchScales, .round, .measure] : [.searchScales, .feedback, .polish]
    if depth == .draft { steps.subtract([.polish, .measure]) }
    kernels.solve(
      steps, weights: weights, bits: bits, groupSize: groupSize, scaleRange: range, moments: moments.moments,
      factor: moments.factor, rows: &solved, threads: threads)
    let statistics = self.statistics(weights, solved, least: range.least)
    // Without the damping, which is no output.
    let ridge = Double(moments.ridge)
    let error = max(0, solved.errors.reduce(0, +) - ridge * statistics.squaredError)
    var power: Double?
    if depth == .whole {
      var whole = SolvedRows(rows: rows, columns: moments.columns, groupSize: groupSize)
      kernels.solve(
        .measureWeights, weights: weights, bits: bits, groupSize: groupSize, scaleRange: range,
        moments: moments.moments, rows: &whole, threads: threads)
      power = max(0, whole.errors.reduce(0, +) - ridge * statistics.squaredWeight)
    }
    return CalibratedMatrix(
      codes: solved.codes, scales: solved.scales, leastScales: grid == .byte ? range.least : [], statistics: statistics,
      outputError: error, outputPower: power, conditioning: moments.conditioning)
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
        let lost = x - SIMD16<Float>(code) * scale
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
    var largest: Float = 0
    for i in group * groupSize..<(group + 1) * groupSize { largest = max(largest, abs(weights[i])) }
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
    _ weights: Span<Float>, rows: Int, as encoding: Encoding, moments: ConditionedMoments, depth: SolvingDepth,
    threads: Int
  ) throws(CalibrationError) -> CalibratedMatrix {
    guard let gptq = GPTQ(encoding) else { preconditionFailure("\(encoding) has no codes") }
    return try gptq.solve(weights, rows: rows, moments: moments, depth: depth, threads: threads)
  }
}
