import Kernels
import TestSupport
import Testing

@Suite struct UnusualScaleTests {
  private func first(_ scales: [UInt16], from start: Int) -> Int? {
    let bytes = scales.flatMap { [UInt8(truncatingIfNeeded: $0), UInt8($0 >> 8)] }
    let span = bytes.rawBytes
    return KernelSet.firstUnusualScale(span, from: start)
  }

  @Test func theFirstIsFoundWhereverItStands() {
    for count in [0, 1, 63, 64, 65, 200] {
      let usual = (0..<count).map { [UInt16(0x3700), 0x477F, 0xB700, 0xC77F, 0x3C00][$0 % 5] }
      #expect(first(usual, from: 0) == nil)
      for place in 0..<count {
        for bits: UInt16 in [0, 0x8000, 0x36FF, 0x4780, 0xB6FF, 0xC780, 0x7FFF] {
          var scales = usual
          scales[place] = bits
          for start in [0, place, place + 1] {
            let found = first(scales, from: start)
            #expect(found == (start <= place ? place : nil), "\(bits) at \(place) of \(count) from \(start)")
          }
        }
      }
    }
  }
}
