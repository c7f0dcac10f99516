import Kernels
import Quantization
import TestSupport
import Tensors
import Testing

/// A grouped encoding with a solver; tests run over all of them.
struct EncodingCase: Sendable, CustomTestStringConvertible {
  let encoding: Encoding
  let solver: any GroupwiseSolver
  var testDescription: String { "\(encoding) \(solver.name)" }

  static let all = Encoding.grouped.flatMap { encoding in
    Solvers.groupwise.map { EncodingCase(encoding: encoding, solver: $0) }
  }
}

/// Of a row in these tests.
let columns = 128

struct Encoded: Equatable {
  var codes: [UInt8]
  var scales: [UInt8]
  var statistics = QuantizationStatistics()

  /// Group by group.
  func scales(_ encoding: Encoding) -> [Float] {
    let plane = scales.rawBytes
    return Quantizer.scales(plane, as: encoding, columns: columns)
  }
}

func encode(
  _ source: [UInt8], _ dtype: DType, _ encoding: Encoding, _ solver: any GroupwiseSolver,
  _ kernels: KernelSet = .available[0],
  after before: QuantizationStatistics = QuantizationStatistics()
) throws(QuantizationError) -> Encoded {
  let count = source.count / dtype.byteCount
  var codes = [UInt8](repeating: 0xAA, count: encoding.codeByteCount(elements: count))
  var scales = [UInt8](repeating: 0xAA, count: encoding.scaleByteCount(elements: count, columns: columns))
  var codeBytes = codes.mutableRawBytes
  var scaleBytes = scales.mutableRawBytes
  var statistics = before
  try Quantizer.encode(
    source.rawBytes, dtype: dtype, columns: columns, as: encoding, solver: solver, kernels: kernels, codes: &codeBytes,
    scales: &scaleBytes, adding: &statistics)
  return Encoded(codes: codes, scales: scales, statistics: statistics)
}

func decode(
  _ codes: [UInt8], _ scales: [UInt8], count: Int, _ encoding: Encoding, _ kernels: KernelSet = .available[0]
) -> [Float] {
  var y = [Float](repeating: .nan, count: count)
  var span = y.mutableSpan
  Quantizer.decode(
    codes: codes.rawBytes, scales: scales.rawBytes, as: encoding, columns: encoding.isGrouped ? columns : count,
    kernels: kernels, into: &span)
  return y
}

/// The error that encoding gives, or nil.
func failure(
  _ source: [UInt8], _ dtype: DType, _ encoding: Encoding, _ solver: any GroupwiseSolver, _ kernels: KernelSet
) -> QuantizationError? {
  do throws(QuantizationError) {
    _ = try encode(source, dtype, encoding, solver, kernels)
    return nil
  } catch {
    return error
  }
}
