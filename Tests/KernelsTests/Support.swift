import Kernels
import TestSupport
import Testing

/// What every quantization test runs over.
struct QuantizeCase: Sendable, CustomTestStringConvertible {
  let kernels: KernelSet
  let bits: Int
  let groupSize: Int
  let searching: Bool

  var format: CodeFormat { CodeFormat(bits: bits, groupSize: groupSize) }
  var testDescription: String { "\(kernels) int\(bits)-g\(groupSize) \(searching ? "search" : "absmax")" }

  static let all: [QuantizeCase] = KernelSet.available.flatMap { kernels in
    [4, 8].flatMap { bits in
      [32, 64, 128].flatMap { groupSize in
        [false, true].map { QuantizeCase(kernels: kernels, bits: bits, groupSize: groupSize, searching: $0) }
      }
    }
  }
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
  _ bytes: [UInt8], _ source: FloatFormat, _ test: QuantizeCase, kernels: KernelSet, shift: Int = 0
) -> Quantized {
  let count = bytes.count / source.byteCount
  let input = [UInt8](repeating: 0, count: shift) + bytes
  var codes = [UInt8](repeating: 0xAA, count: shift + count * test.bits / 8)
  var scales = [UInt8](repeating: 0xAA, count: shift + count / test.groupSize * 2)
  var result = Quantized(codes: [], scales: [])
  do {
    let from = input.rawBytes.extracting(shift...)
    var codeBytes = codes.mutableRawBytes
    var scaleBytes = scales.mutableRawBytes
    var to = codeBytes._mutatingExtracting(shift...)
    var scalesTo = scaleBytes._mutatingExtracting(shift...)
    result.outcome = kernels.quantize(
      from, source: source, as: test.format, searching: test.searching, codes: &to, scales: &scalesTo,
      sums: &result.sums)
  }
  result.codes = Array(codes[shift...])
  result.scales = Array(scales[shift...])
  return result
}

func decoded(_ codes: [UInt8], _ scales: [UInt8], _ format: CodeFormat, _ kernels: KernelSet) -> [Float] {
  var y = [Float](repeating: .nan, count: codes.count * 8 / format.bits)
  var span = y.mutableSpan
  kernels.decode(codes: codes.rawBytes, scales: scales.rawBytes, as: format, into: &span)
  return y
}
