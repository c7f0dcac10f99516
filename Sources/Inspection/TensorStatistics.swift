package import Kernels
package import Models
import Storage
import Tensors

/// What the numbers of one tensor look like.
package struct TensorStatistics: Sendable {
  /// How many decoded elements there are; infinities and NaN are left out of the others.
  package private(set) var count = 0
  package private(set) var nonFiniteCount = 0
  package private(set) var minimum = Float.infinity
  package private(set) var maximum = -Float.infinity
  private var sums = ShiftedSums()
  /// Codes by value, the lowest first: -8 … 7, or -128 … 127. Empty for plain encodings.
  package private(set) var codeCounts: [UInt64] = []
  /// Nil for plain encodings.
  package private(set) var scales: ScaleStatistics?

  package struct ScaleStatistics: Sendable, Equatable {
    package var minimum = Float.infinity
    package var maximum = -Float.infinity
    /// The smallest |scale| that is not 0; infinity where all are 0.
    package var leastMagnitude = Float.infinity
    package var count = 0
    package var zeroCount = 0
    /// Scales at the lowest value that the base of their row allows; 0 where scales have no base.
    package var lowestCount = 0

    package init() {}

    package init(
      minimum: Float, maximum: Float, leastMagnitude: Float, count: Int, zeroCount: Int, lowestCount: Int = 0
    ) {
      self.minimum = minimum
      self.maximum = maximum
      self.leastMagnitude = leastMagnitude
      self.count = count
      self.zeroCount = zeroCount
      self.lowestCount = lowestCount
    }
  }

  /// The mean of the finite elements; 0 where there are none.
  package var mean: Double { sums.mean }
  /// Standard deviation of the finite elements, with their number as divisor.
  package var standardDeviation: Double { sums.standardDeviation }

  /// 16 bars: the codes of int4, or 16 neighbouring codes of int8 each. `low` is the lowest code of a bar.
  package var histogram: [(low: Int, count: UInt64)] {
    let width = codeCounts.count / 16
    guard width > 0 else { return [] }
    return (0..<16).map { bar in
      (low: bar * width - codeCounts.count / 2, count: codeCounts[bar * width..<(bar + 1) * width].reduce(0, +))
    }
  }

  /// Decodes a tensor piece by piece.
  ///
  /// - Parameter progress: called with the elements done so far.
  package init(
    of tensor: StoredTensor, in model: InspectedModel, kernels: KernelSet, progress: (Int) -> Void = { _ in }
  ) throws(InspectionError) {
    let reader = ElementReader(model)
    let encoding = try reader.requireEncoding(of: tensor)
    if encoding.isGrouped {
      scales = ScaleStatistics()
      codeCounts = [UInt64](repeating: 0, count: 1 << encoding.codeBits)
    }
    var values: [Float] = []
    while count < tensor.shape.elementCount {
      let piece = try reader.piece(of: tensor, from: count)
      piece.decode(kernels, into: &values)
      if encoding.isGrouped { addCodes(of: piece, kernels) }
      add(values.span, kernels)
      progress(count)
    }
    try model.requireUnchanged()
  }

  /// The statistics of numbers in memory.
  package init(_ values: [Float], kernels: KernelSet) { add(values.span, kernels) }

  private mutating func addCodes(of piece: StoredPiece, _ kernels: KernelSet) {
    let codes = piece.codes
    var counts = codeCounts.mutableSpan
    kernels.histogram(codes, bits: piece.encoding.codeBits, counts: &counts)
    guard var found = scales else { return }
    for scale in piece.decodedScales {
      found.minimum = min(found.minimum, scale)
      found.maximum = max(found.maximum, scale)
      if scale == 0 { found.zeroCount += 1 } else { found.leastMagnitude = min(found.leastMagnitude, abs(scale)) }
      found.count += 1
    }
    found.lowestCount += piece.lowestScaleCount
    scales = found
  }

  private mutating func add(_ values: Span<Float>, _ kernels: KernelSet) {
    count += values.count
    let bytes = unsafe values.bytes
    if kernels.firstNotFinite(bytes, source: .f32) == nil {
      addFinite(values)
    } else {
      var finite: [Float] = []
      finite.reserveCapacity(values.count)
      for index in values.indices where values[index].isFinite { finite.append(values[index]) }
      nonFiniteCount += values.count - finite.count
      addFinite(finite.span)
    }
  }

  private mutating func addFinite(_ values: Span<Float>) {
    guard !values.isEmpty else { return }
    sums.add(values)
    var low = SIMD8<Float>(repeating: minimum)
    var high = SIMD8<Float>(repeating: maximum)
    let whole = values.count / 8 * 8
    for start in stride(from: 0, to: whole, by: 8) {
      let x = eight(values, start)
      low.replace(with: x, where: x .< low)
      high.replace(with: x, where: x .> high)
    }
    minimum = low.min()
    maximum = high.max()
    for index in whole..<values.count {
      minimum = min(minimum, values[index])
      maximum = max(maximum, values[index])
    }
  }
}

/// Sums of x − K and (x − K)², K being the first element: exact enough where the mean is far from 0.
private struct ShiftedSums {
  private var shift: Double?
  private var sum = SIMD8<Double>()
  private var squares = SIMD8<Double>()
  private var count = 0

  mutating func add(_ values: Span<Float>) {
    let shift = shift ?? Double(values[0])
    self.shift = shift
    let whole = values.count / 8 * 8
    for start in stride(from: 0, to: whole, by: 8) {
      let d = SIMD8<Double>(eight(values, start)) - shift
      sum += d
      squares += d * d
    }
    for index in whole..<values.count {
      let d = Double(values[index]) - shift
      sum[0] += d
      squares[0] += d * d
    }
    count += values.count
  }

  var mean: Double { count == 0 ? 0 : (shift ?? 0) + sum.sum() / Double(count) }

  var standardDeviation: Double {
    guard count > 0 else { return 0 }
    let offset = sum.sum() / Double(count)
    return max(0, squares.sum() / Double(count) - offset * offset).squareRoot()
  }
}

/// Eight neighbours.
@inline(__always)
func eight(_ values: Span<Float>, _ start: Int) -> SIMD8<Float> {
  SIMD8(
    values[start], values[start + 1], values[start + 2], values[start + 3], values[start + 4], values[start + 5],
    values[start + 6], values[start + 7])
}
