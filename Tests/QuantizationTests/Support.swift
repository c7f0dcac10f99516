import Kernels
import Quantization
import TestSupport
import Tensors
import Testing

/// A grouped encoding with a solver; tests run over all of them.
struct EncodingCase: Sendable, CustomTestStringConvertible {
  let encoding: Encoding
  let solver: Solver
  var testDescription: String { "\(encoding) \(solver.rawValue)" }

  static let all = Encoding.all.filter(\.isGrouped).flatMap { encoding in
    Solver.allCases.map { EncodingCase(encoding: encoding, solver: $0) }
  }
}

struct Encoded: Equatable {
  var codes: [UInt8]
  var scales: [UInt8]
  var statistics = QuantizationStatistics()

  /// bf16 bits.
  var scaleBits: [UInt16] {
    stride(from: 0, to: scales.count, by: 2).map { UInt16(scales[$0]) | UInt16(scales[$0 + 1]) << 8 }
  }
}

func encode(
  _ source: [UInt8], _ dtype: DType, _ encoding: Encoding, _ solver: Solver, _ kernels: KernelSet = .available[0],
  after before: QuantizationStatistics = QuantizationStatistics()
) throws(QuantizationError) -> Encoded {
  let count = source.count / dtype.byteCount
  var codes = [UInt8](repeating: 0xAA, count: encoding.codeByteCount(elements: count))
  var scales = [UInt8](repeating: 0xAA, count: encoding.scaleByteCount(elements: count))
  var codeBytes = codes.mutableRawBytes
  var scaleBytes = scales.mutableRawBytes
  var statistics = before
  try Quantizer.encode(
    source.rawBytes, dtype: dtype, as: encoding, solver: solver, kernels: kernels, codes: &codeBytes,
    scales: &scaleBytes, adding: &statistics)
  return Encoded(codes: codes, scales: scales, statistics: statistics)
}

func decode(
  _ codes: [UInt8], _ scales: [UInt8], count: Int, _ encoding: Encoding, _ kernels: KernelSet = .available[0]
) throws(QuantizationError) -> [Float] {
  var y = [Float](repeating: .nan, count: count)
  var span = y.mutableSpan
  try Quantizer.decode(codes: codes.rawBytes, scales: scales.rawBytes, as: encoding, kernels: kernels, into: &span)
  return y
}

/// The error that encoding gives, or nil.
func failure(
  _ source: [UInt8], _ dtype: DType, _ encoding: Encoding, _ solver: Solver, _ kernels: KernelSet
) -> QuantizationError? {
  do throws(QuantizationError) {
    _ = try encode(source, dtype, encoding, solver, kernels)
    return nil
  } catch {
    return error
  }
}
