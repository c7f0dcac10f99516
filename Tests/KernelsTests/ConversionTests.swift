import Kernels
import TestSupport
import Testing

@Suite struct WidenTests {
  static let everyPattern = (UInt16.min...UInt16.max).flatMap { [UInt8(truncatingIfNeeded: $0), UInt8($0 >> 8)] }

  private func widened(_ bytes: [UInt8], _ source: FloatFormat, _ kernels: KernelSet) -> [Float] {
    var y = [Float](repeating: 0, count: bytes.count / source.byteCount)
    var span = y.mutableSpan
    kernels.widen(bytes.rawBytes, source: source, into: &span)
    return y
  }

  @Test("every bf16 and f16 widens exactly", arguments: KernelSet.available)
  func everyPatternWidens(kernels: KernelSet) {
    let bf16 = widened(Self.everyPattern, .bf16, kernels)
    #expect(bf16.map(\.bitPattern) == (0...UInt32(UInt16.max)).map { $0 << 16 })
    let f16 = widened(Self.everyPattern, .f16, kernels)
    #expect(f16.map(\.bitPattern) == (UInt16.min...UInt16.max).map { Float(Float16(bitPattern: $0)).bitPattern })
  }

  @Test("short and odd lengths", arguments: KernelSet.available)
  func lengths(kernels: KernelSet) {
    let x = Samples.weights(count: 70, seed: 5)
    for source in FloatFormat.allCases {
      for count in 0...70 { #expect(widened(source.bytes(Array(x[..<count])), source, kernels) == Array(x[..<count])) }
    }
  }
}

@Suite struct FirstNotFiniteTests {
  @Test("the first infinity or NaN is found wherever it is", arguments: KernelSet.available, FloatFormat.allCases)
  func found(kernels: KernelSet, source: FloatFormat) {
    let largest: Float = source == .f16 ? 65504 : source == .f32 ? .greatestFiniteMagnitude : 0x1.FEp127
    let finite = source.bytes((0..<500).map { $0 % 2 == 0 ? largest : -largest })
    for count in [0, 1, 31, 64, 127, 128, 129, 255, 256, 300, 500] {
      let part = Array(finite[..<(count * source.byteCount)])
      #expect(kernels.firstNotFinite(part.rawBytes, source: source) == nil)
      for place in 0..<count {
        var changed = part
        for (index, bad) in [Float.infinity, -.nan].enumerated() where place + index < count {
          let start = (place + index) * source.byteCount
          changed.replaceSubrange(start..<start + source.byteCount, with: source.bytes([bad]))
        }
        #expect(kernels.firstNotFinite(changed.rawBytes, source: source) == place)
      }
    }
  }
}

@Suite struct BytePlaneTests {
  @Test("planes join to what was split", arguments: KernelSet.available)
  func roundTrip(kernels: KernelSet) {
    for count in Array(0...100) + [4096, 65536] {
      let x = Array(WidenTests.everyPattern[..<(2 * count)])
      var high = [UInt8](repeating: 0xAA, count: count)
      var low = high
      var joined = [UInt8](repeating: 0, count: 2 * count)
      do {
        var highBytes = high.mutableRawBytes
        var lowBytes = low.mutableRawBytes
        kernels.split16(x.rawBytes, high: &highBytes, low: &lowBytes)
      }
      #expect(low == stride(from: 0, to: 2 * count, by: 2).map { x[$0] })
      #expect(high == stride(from: 1, to: 2 * count, by: 2).map { x[$0] })
      do {
        var bytes = joined.mutableRawBytes
        kernels.join16(high: high.rawBytes, low: low.rawBytes, into: &bytes)
      }
      #expect(joined == x)
    }
  }
}

@Suite struct DecodeTests {
  @Test("every code and every kind of scale decodes", arguments: QuantizeCase.all.filter { $0.rule == .absmax })
  func everyCode(test: QuantizeCase) {
    let seed = UInt64.random(in: 0...UInt64.max)
    var random = SeededRandom(seed: seed)
    let groupCount = 67
    let codes = (0..<groupCount * test.groupSize * test.bits / 8).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    let scales = Samples.bf16(Samples.anyBits(count: groupCount, below: 65281, seed: seed))
    let expected = decoded(codes, scales, test.format, columns: test.columns, scalar)
    let found = decoded(codes, scales, test.format, columns: test.columns, test.kernels)
    #expect(found.map(\.bitPattern) == expected.map(\.bitPattern), "seed \(seed)")
  }

  @Test("codes are counted by value", arguments: KernelSet.available)
  func histogram(kernels: KernelSet) {
    let codes: [UInt8] = [0x00, 0x7F, 0x81, 0x81, 0xF0]
    func counted(_ bits: Int) -> [UInt64] {
      var counts = [UInt64](repeating: 1, count: 1 << bits)
      var span = counts.mutableSpan
      kernels.histogram(codes.rawBytes, bits: bits, counts: &span)
      return counts.map { $0 - 1 }
    }
    let bytes = counted(8)
    #expect(bytes[128] == 1 && bytes[128 + 127] == 1 && bytes[128 - 127] == 2 && bytes[128 - 16] == 1)
    #expect(bytes.reduce(0, +) == 5)
    let nibbles = counted(4)
    #expect(nibbles[0] == 3 && nibbles[1] == 2 && nibbles[7] == 1 && nibbles[8] == 2 && nibbles[15] == 2)
  }
}

@Suite struct KernelSetTests {
  @Test func setsAreFoundByName() throws {
    #expect(KernelSet.available.last?.name == "scalar")
    for kernels in KernelSet.available { #expect(KernelSet(name: kernels.name) == kernels) }
    #expect(KernelSet(name: "neon") == nil)
    #expect(KernelSet.selected(forced: "avx9") == nil)
    #expect(KernelSet.selected(forced: "scalar")?.name == "scalar")
    #expect(KernelSet.selected(forced: nil) == KernelSet.available.first)
  }

  @Test("reading adds all words", arguments: KernelSet.available)
  func readSum(kernels: KernelSet) {
    for count in [0, 7, 8, 128, 256, 264, 1000] {
      let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0) }
      #expect(kernels.readSum(bytes.rawBytes) == scalar.readSum(bytes.rawBytes))
    }
  }
}
