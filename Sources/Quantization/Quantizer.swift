package import Kernels
import Storage
package import Tensors

/// Encoding and decoding of runs of elements with a set of kernels.
package enum Quantizer {
  /// Encodes source numbers of type `dtype` as `Formats/encodings.md` defines: the next elements of a matrix, whose statistics
  /// so far go on group by group. They come to the same bits wherever the matrix is cut.
  ///
  /// - Parameters:
  ///   - source: n little-endian numbers, bf16, f16 or f32, at any alignment; ``Encoding/unitElementCount(columns:)`` divides n.
  ///   - columns: of a row.
  ///   - encoding: a grouped encoding; the others keep the source's bytes, so that there is nothing to compute.
  ///   - codes: (`encoding.codeByteCount(elements: n)` bytes), overwritten.
  ///   - scales: (`encoding.scaleByteCount(elements: n, columns: columns)` bytes), overwritten.
  /// - Throws: ``QuantizationError/notFinite(element:)`` or ``QuantizationError/scaleTooLarge(element:)``, whichever
  ///   comes in an earlier group, the former within one; ``QuantizationError/unsupported(_:)`` or
  ///   ``QuantizationError/unsupportedSource(_:)`` before anything is read. Codes and scales are then unspecified.
  @_lifetime(codes: copy codes)
  @_lifetime(scales: copy scales)
  package static func encode(
    _ source: RawSpan, dtype: DType, columns: Int, as encoding: Encoding, solver: any GroupwiseSolver,
    kernels: KernelSet,
    codes: inout MutableRawSpan, scales: inout MutableRawSpan, adding statistics: inout QuantizationStatistics
  ) throws(QuantizationError) {
    guard encoding.isGrouped else { throw .unsupported(encoding) }
    guard let format = FloatFormat(dtype) else { throw .unsupportedSource(dtype) }
    let weights = SourceWeights(source, format: format, columns: columns, encoding: encoding)
    try solver.encode(weights, kernels: kernels, codes: &codes, scales: &scales, adding: &statistics)
  }

  /// Decodes `y.count` elements to `Float`, those of `f32`, `f16` and `bf16` too.
  ///
  /// - Parameters:
  ///   - codes: (`encoding.codeByteCount(elements: y.count)` bytes).
  ///   - scales: (`encoding.scaleByteCount(elements: y.count, columns: columns)` bytes).
  ///   - columns: of a row.
  ///   - y: what ``Encoding/unitElementCount(columns:)`` divides, overwritten.
  @_lifetime(y: copy y)
  package static func decode(
    codes: RawSpan, scales: RawSpan, as encoding: Encoding, columns: Int, kernels: KernelSet,
    into y: inout MutableSpan<Float>
  ) {
    switch WeightFormat(encoding) {
    case .float(let format): kernels.widen(codes, source: format, into: &y)
    case .codes(let format): kernels.decode(codes: codes, scales: scales, as: format, columns: columns, into: &y)
    }
  }

  /// The scales of plane 1, in the order of the groups.
  package static func scales(_ plane: RawSpan, as encoding: Encoding, columns: Int) -> [Float] {
    switch encoding.codes?.scale {
    case nil: return []
    case .bf16:
      return (0..<plane.byteCount / 2).map { BFloat16.widen(plane.integer(at: 2 * $0)) }
    case .byte:
      let rowByteCount = 1 + columns / encoding.groupSize
      var scales: [Float] = []
      scales.reserveCapacity(plane.byteCount)
      for row in stride(from: 0, to: plane.byteCount, by: rowByteCount) {
        let base = UInt16(plane.integer(at: row, as: UInt8.self))
        for at in row + 1..<row + rowByteCount {
          let byte = UInt16(plane.integer(at: at, as: UInt8.self))
          scales.append(BFloat16.widen((byte & 0x80) << 8 | ((byte & 0x7F) << 3) &+ (base << 7)))
        }
      }
      return scales
    }
  }

  /// Scales of plane 1 at the lowest value that the base of their row allows; 0 where scales have no base.
  package static func lowestScaleCount(_ plane: RawSpan, as encoding: Encoding, columns: Int) -> Int {
    guard encoding.codes?.scale == .byte else { return 0 }
    let rowByteCount = 1 + columns / encoding.groupSize
    return (0..<plane.byteCount).count { at in
      at % rowByteCount != 0 && plane.integer(at: at, as: UInt8.self) & 0x7F == 0
    }
  }

  /// Whether infinities and NaN of a type are looked for: bf16, f16, f32 and FP8.
  package static func isScanned(_ dtype: DType) -> Bool { FloatFormat(dtype) != nil || FP8Format(dtype) != nil }

  /// The index of the first infinity or NaN among numbers of type `dtype`; nil where all are finite, or of a type that is not
  /// scanned.
  package static func firstNotFinite(_ source: RawSpan, dtype: DType, kernels: KernelSet) -> Int? {
    if let format = FP8Format(dtype) { return kernels.firstNotFinite(source, as: format) }
    return FloatFormat(dtype).flatMap { kernels.firstNotFinite(source, source: $0) }
  }
}
