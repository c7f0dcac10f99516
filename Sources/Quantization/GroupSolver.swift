import Kernels
import Storage
import Tensors

/// Solvers that look at each group by itself, which kernels do: `Formats/encodings.md`, sections 8 and 9.
struct GroupSolver: GroupwiseSolver {
  let name: String
  let summary: String
  let rule: ScaleRule

  @_lifetime(codes: copy codes)
  @_lifetime(scales: copy scales)
  func encode(
    _ weights: SourceWeights, kernels: KernelSet, codes: inout MutableRawSpan, scales: inout MutableRawSpan,
    adding statistics: inout QuantizationStatistics
  ) throws(QuantizationError) {
    guard let format = CodeFormat(weights.encoding) else { throw .unsupported(weights.encoding) }
    var sums = statistics.sums
    let outcome = kernels.quantize(
      weights.bytes, source: weights.format, as: format, by: rule, columns: weights.columns, codes: &codes,
      scales: &scales, sums: &sums)
    switch outcome {
    case .done: break
    case .notFinite(let group):
      let start = group * format.groupSize
      let rest = weights.bytes.extracting((start * weights.format.byteCount)...)
      throw .notFinite(element: start + (kernels.firstNotFinite(rest, source: weights.format) ?? 0))
    case .scaleTooLarge(let group):
      let start = group * format.groupSize
      let width = weights.format.byteCount
      let bytes = weights.bytes.extracting(start * width..<(start + format.groupSize) * width)
      throw .scaleTooLarge(element: start + largest(bytes, weights.format, kernels))
    }
    statistics = QuantizationStatistics(sums, count: statistics.count + weights.count)
  }

  /// The index of the first element of largest magnitude in one group.
  private func largest(_ group: RawSpan, _ format: FloatFormat, _ kernels: KernelSet) -> Int {
    var values = [Float](repeating: 0, count: group.byteCount / format.byteCount)
    var span = values.mutableSpan
    kernels.widen(group, source: format, into: &span)
    return values.indices.reduce(0) { abs(values[$1]) > abs(values[$0]) ? $1 : $0 }
  }
}
