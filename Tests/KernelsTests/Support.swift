import Kernels
import Tensors
import TestSupport
import Testing

/// What every quantization test runs over.
struct QuantizeCase: Sendable, CustomTestStringConvertible {
  let kernels: KernelSet
  let format: CodeFormat
  let rule: ScaleRule

  var bits: Int { format.code.bits }
  var groupSize: Int { format.groupSize }
  /// Of a row: any number of groups do, but where each row has a base.
  var columns: Int { format.scale == .byte ? max(32, groupSize) : groupSize }
  var testDescription: String { "\(kernels) \(WeightFormat.codes(format)) \(rule)" }

  private static func all(_ scale: Encoding.Scale) -> [QuantizeCase] {
    KernelSet.available.flatMap { kernels in
      Encoding.grouped.compactMap { CodeFormat($0) }.filter { $0.scale == scale }.flatMap { format in
        ScaleRule.allCases.map { QuantizeCase(kernels: kernels, format: format, rule: $0) }
      }
    }
  }
  static let all = all(.bf16)
  static let bytes = all(.byte)
}

let scalar = KernelSet.available[KernelSet.available.count - 1]

extension FloatFormat {
  func bytes(_ x: [Float]) -> [UInt8] {
    switch self {
    case .bf16: Samples.bf16(x)
    case .f16: Samples.f16(x)
    case .f32: Samples.f32(x)
    }
  }
}

/// The result of one quantization.
struct Quantized: Equatable {
  var codes: [UInt8]
  var scales: [UInt8]
  var sums = QuantizationSums()
  var outcome = QuantizationOutcome.done
}

/// Quantizes bytes that start `shift` bytes after an aligned address, into planes that do so too.
func quantize(
  _ bytes: [UInt8], _ source: FloatFormat, _ test: QuantizeCase, kernels: KernelSet, columns: Int? = nil, shift: Int = 0
) -> Quantized {
  let columns = columns ?? test.columns
  let count = bytes.count / source.byteCount
  let input = [UInt8](repeating: 0, count: shift) + bytes
  var codes = [UInt8](repeating: 0xAA, count: shift + test.format.codeByteCount(elements: count))
  var scales = [UInt8](repeating: 0xAA, count: shift + test.format.scaleByteCount(elements: count, columns: columns))
  var result = Quantized(codes: [], scales: [])
  do {
    let from = input.rawBytes.extracting(shift...)
    var codeBytes = codes.mutableRawBytes
    var scaleBytes = scales.mutableRawBytes
    var to = codeBytes._mutatingExtracting(shift...)
    var scalesTo = scaleBytes._mutatingExtracting(shift...)
    result.outcome = kernels.quantize(
      from, source: source, as: test.format, by: test.rule, columns: columns, codes: &to, scales: &scalesTo,
      sums: &result.sums)
  }
  result.codes = Array(codes[shift...])
  result.scales = Array(scales[shift...])
  return result
}

func decoded(
  _ codes: [UInt8], _ scales: [UInt8], _ format: CodeFormat, columns: Int, _ kernels: KernelSet
) -> [Float] {
  var y = [Float](repeating: .nan, count: codes.count * 8 / format.code.bits)
  var span = y.mutableSpan
  kernels.decode(codes: codes.rawBytes, scales: scales.rawBytes, as: format, columns: columns, into: &span)
  return y
}
