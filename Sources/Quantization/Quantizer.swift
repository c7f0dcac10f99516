package import Kernels
package import Tensors

/// Encoding and decoding of runs of elements with a set of kernels.
package enum Quantizer {
  /// Encodes source numbers of type `dtype`, a whole number of groups, as `Formats/encodings.md` defines.
  ///
  /// - Parameters:
  ///   - source: n little-endian numbers, bf16, f16 or f32, at any alignment.
  ///   - encoding: a grouped encoding; the others keep the source's bytes, so that there is nothing to compute.
  ///   - codes: (`encoding.codeByteCount(elements: n)` bytes), overwritten.
  ///   - scales: (`encoding.scaleByteCount(elements: n)` bytes), overwritten.
  /// - Throws: ``QuantizationError/notFinite(element:)`` or ``QuantizationError/scaleTooLarge(element:)``, whichever
  ///   comes in an earlier group, the former within one; ``QuantizationError/unsupported(_:)`` or
  ///   ``QuantizationError/unsupportedSource(_:)`` before anything is read. Codes and scales are then unspecified.
  @_lifetime(codes: copy codes)
  @_lifetime(scales: copy scales)
  package static func encode(
    _ source: RawSpan, dtype: DType, as encoding: Encoding, solver: Solver, kernels: KernelSet,
    codes: inout MutableRawSpan, scales: inout MutableRawSpan
  ) throws(QuantizationError) -> QuantizationStatistics {
    var statistics = QuantizationStatistics()
    try encode(
      source, dtype: dtype, as: encoding, solver: solver, kernels: kernels, codes: &codes, scales: &scales,
      adding: &statistics)
    return statistics
  }

  /// The same for the next elements of a run, whose statistics so far go on group by group: they come to the same bits
  /// wherever the run is cut.
  @_lifetime(codes: copy codes)
  @_lifetime(scales: copy scales)
  package static func encode(
    _ source: RawSpan, dtype: DType, as encoding: Encoding, solver: Solver, kernels: KernelSet,
    codes: inout MutableRawSpan, scales: inout MutableRawSpan, adding statistics: inout QuantizationStatistics
  ) throws(QuantizationError) {
    guard let format = CodeFormat(encoding) else { throw .unsupported(encoding) }
    guard let float = FloatFormat(dtype) else { throw .unsupportedSource(dtype) }
    var sums = QuantizationSums()
    sums.squaredError = statistics.squaredError
    sums.squaredWeight = statistics.squaredWeight
    sums.saturated = statistics.saturated
    let outcome = kernels.quantize(
      source, source: float, as: format, searching: solver == .search, codes: &codes, scales: &scales, sums: &sums)
    switch outcome {
    case .done: break
    case .notFinite(let group):
      let start = group * format.groupSize
      let found = firstNotFinite(source.extracting((start * float.byteCount)...), dtype: dtype, kernels: kernels)
      throw .notFinite(element: start + (found ?? 0))
    case .scaleTooLarge(let group):
      let start = group * format.groupSize
      let bytes = source.extracting(start * float.byteCount..<(start + format.groupSize) * float.byteCount)
      throw .scaleTooLarge(element: start + largest(bytes, float, kernels))
    }
    statistics = QuantizationStatistics(
      squaredError: sums.squaredError, squaredWeight: sums.squaredWeight, saturated: sums.saturated,
      count: statistics.count + source.byteCount / float.byteCount)
  }

  /// The index of the first element of largest magnitude in one group.
  private static func largest(_ group: RawSpan, _ format: FloatFormat, _ kernels: KernelSet) -> Int {
    var values = [Float](repeating: 0, count: group.byteCount / format.byteCount)
    var span = values.mutableSpan
    kernels.widen(group, source: format, into: &span)
    return values.indices.reduce(0) { abs(values[$1]) > abs(values[$0]) ? $1 : $0 }
  }

  /// Decodes `y.count` elements to `Float`, those of `f32`, `f16` and `bf16` too.
  ///
  /// - Parameters:
  ///   - codes: (`encoding.codeByteCount(elements: y.count)` bytes).
  ///   - scales: (`encoding.scaleByteCount(elements: y.count)` bytes).
  ///   - y: a whole number of groups, overwritten.
  /// - Throws: ``QuantizationError/unsupported(_:)``.
  @_lifetime(y: copy y)
  package static func decode(
    codes: RawSpan, scales: RawSpan, as encoding: Encoding, kernels: KernelSet, into y: inout MutableSpan<Float>
  ) throws(QuantizationError) {
    switch encoding.kind {
    case .f32: kernels.widen(codes, source: .f32, into: &y)
    case .f16: kernels.widen(codes, source: .f16, into: &y)
    case .bf16: kernels.widen(codes, source: .bf16, into: &y)
    case .int8, .int4:
      guard let format = CodeFormat(encoding) else { throw .unsupported(encoding) }
      kernels.decode(codes: codes, scales: scales, as: format, into: &y)
    }
  }

  /// The index of the first infinity or NaN among numbers of type `dtype`; nil where all are finite, or of another type
  /// than bf16, f16 and f32.
  package static func firstNotFinite(_ source: RawSpan, dtype: DType, kernels: KernelSet) -> Int? {
    FloatFormat(dtype).flatMap { kernels.firstNotFinite(source, source: $0) }
  }
}

extension CodeFormat {
  /// Nil for encodings without a scheme.
  fileprivate init?(_ encoding: Encoding) {
    guard SchemeRegistry.scheme(of: encoding) != nil else { return nil }
    self.init(bits: encoding.codeBits, groupSize: encoding.groupSize)
  }
}

extension FloatFormat {
  fileprivate init?(_ dtype: DType) {
    switch dtype {
    case .bf16: self = .bf16
    case .f16: self = .f16
    case .f32: self = .f32
    default: return nil
    }
  }
}
