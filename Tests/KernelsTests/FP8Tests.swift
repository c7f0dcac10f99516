import Kernels
import Tensors
import TestSupport
import Testing

@Suite struct FP8Tests {
  private static let everyCode = (UInt8.min...UInt8.max).map { $0 }

  private func scaled(_ codes: [UInt8], _ format: FP8Format, by scale: Float, _ kernels: KernelSet) -> [UInt16] {
    var bytes = [UInt8](repeating: 0xAA, count: 2 * codes.count)
    var target = bytes.mutableRawBytes
    kernels.scale(codes.rawBytes, as: format, by: scale, into: &target)
    return stride(from: 0, to: bytes.count, by: 2).map { UInt16(bytes[$0]) | UInt16(bytes[$0 + 1]) << 8 }
  }

  private func expected(_ code: UInt8, _ format: FP8Format, by scale: Float) -> UInt16 {
    let value = FP8.value(code, isE4M3: format == .e4m3) * scale
    return value.isNaN ? 0x7FC0 : BFloat16.narrow(value)
  }

  @Test("every code with every kind of scale", arguments: KernelSet.available, FP8Format.allCases)
  func everyCode(kernels: KernelSet, format: FP8Format) {
    var random = SeededRandom(seed: 7)
    let scales: [Float] =
      [1, -1, 0, -0.0, 0x1p-126, 0x1p-140, 0x1p120, 0x1.FFFFFEp127, .infinity, .nan, 0.1, 0x1.7FFFFEp-9]
      + (0..<200).map { _ in random.normal() * 0x1p-12 }
    for scale in scales {
      #expect(
        scaled(Self.everyCode, format, by: scale, kernels)
          == Self.everyCode.map { expected($0, format, by: scale) }, "\(scale)")
    }
  }

  @Test("short and odd lengths", arguments: KernelSet.available, FP8Format.allCases)
  func lengths(kernels: KernelSet, format: FP8Format) {
    for count in 0...70 {
      let codes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 37 &+ 5) }
      #expect(scaled(codes, format, by: 0.25, kernels) == codes.map { expected($0, format, by: 0.25) })
    }
  }

  @Test("the first that is no number is found wherever it is", arguments: KernelSet.available, FP8Format.allCases)
  func notFinite(kernels: KernelSet, format: FP8Format) {
    let bad: [UInt8] = format == .e4m3 ? [0x7F, 0xFF] : [0x7C, 0xFD]
    let largest: UInt8 = format == .e4m3 ? 0x7E : 0x7B
    for count in [0, 1, 63, 64, 65, 200] {
      let finite = (0..<count).map { $0 % 2 == 0 ? largest : largest | 0x80 }
      #expect(kernels.firstNotFinite(finite.rawBytes, as: format) == nil)
      for place in 0..<count {
        var changed = finite
        changed[place] = bad[place % 2]
        changed[count - 1] = place == count - 1 ? changed[place] : bad[0]
        #expect(kernels.firstNotFinite(changed.rawBytes, as: format) == place)
      }
    }
  }
}
