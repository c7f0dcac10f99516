import Kernels
import TestSupport
import Testing

@Suite struct QuantizeTests {
  @Test("every number of groups gives the bits of the scalar set", arguments: QuantizeCase.all)
  func groupCounts(test: QuantizeCase) {
    let seed = UInt64.random(in: 0...UInt64.max)
    let x = Samples.weights(count: 40 * test.groupSize, seed: seed)
    for source in FloatFormat.allCases {
      for groupCount in 1...40 {
        let bytes = source.bytes(Array(x.suffix(groupCount * test.groupSize)))
        let expected = quantize(bytes, source, test, kernels: scalar)
        #expect(expected.outcome == .done)
        let found = quantize(bytes, source, test, kernels: test.kernels, shift: groupCount % 8)
        #expect(found == expected, "seed \(seed), \(groupCount) groups of \(source)")
      }
    }
  }

  @Test("edges of the definition give the bits of the scalar set", arguments: QuantizeCase.all)
  func edges(test: QuantizeCase) {
    for source in [FloatFormat.bf16, .f32] {
      for group in Samples.edgeGroups(size: test.groupSize) {
        // Among ordinary groups, at each place that a vector of 16 groups has.
        let rest = Samples.weights(count: 15 * test.groupSize, seed: 1)
        for place in [0, 1, 7, 15] {
          var x = rest
          x.insert(contentsOf: group, at: place * test.groupSize)
          let bytes = source.bytes(x)
          let expected = quantize(bytes, source, test, kernels: scalar)
          let found = quantize(bytes, source, test, kernels: test.kernels)
          #expect(found.outcome == expected.outcome)
          if expected.outcome == .done { #expect(found == expected, "\(group)") }
        }
      }
    }
  }

  @Test("numbers of any magnitude give the bits of the scalar set", arguments: QuantizeCase.all)
  func anyBits(test: QuantizeCase) {
    let seed = UInt64.random(in: 0...UInt64.max)
    // The largest magnitude lands on 6.2 or more, and rounding makes a scale at most 1.5 times as large as that gives:
    // below 65280 · 6.2 / 1.5 = 269,824 every group has one.
    for limit: Float in [0x1p-120, 0x1p-17, 0x1p-15, 1, 269_000] {
      let bytes = Samples.bf16(Samples.anyBits(count: 48 * test.groupSize, below: limit, seed: seed))
      let expected = quantize(bytes, .bf16, test, kernels: scalar)
      #expect(expected.outcome == .done)
      let found = quantize(bytes, .bf16, test, kernels: test.kernels)
      #expect(found == expected, "seed \(seed), below \(limit)")
    }
  }

  @Test("ties of full precision round as the scalar set does", arguments: QuantizeCase.all)
  func fullPrecision(test: QuantizeCase) {
    let seed = UInt64.random(in: 0...UInt64.max)
    var random = SeededRandom(seed: seed)
    let x = (0..<64 * test.groupSize).map { i in
      // Steps around halves of 1/7 and 1/127 of the largest magnitude.
      i % test.groupSize == 0 ? 1 : (random.normal() * 20).rounded() / (random.next() % 2 == 0 ? 254 : 14) / 10
    }
    let bytes = Samples.f32(x)
    #expect(
      quantize(bytes, .f32, test, kernels: test.kernels) == quantize(bytes, .f32, test, kernels: scalar), "\(seed)")
  }

  @Test("an infinity or a NaN anywhere is refused with its group", arguments: QuantizeCase.all)
  func notFinite(test: QuantizeCase) {
    let groupCount = 19
    let x = Samples.weights(count: groupCount * test.groupSize, seed: 2)
    for source in FloatFormat.allCases {
      let bytes = source.bytes(x)
      for place in x.indices where place / test.groupSize % 3 == 0 {
        var changed = bytes
        let bad = source.bytes([[Float.infinity, -.infinity, .nan, -.nan][place % 4]])
        changed.replaceSubrange(place * source.byteCount..<(place + 1) * source.byteCount, with: bad)
        let found = quantize(changed, source, test, kernels: test.kernels)
        guard found.outcome == .notFinite(group: place / test.groupSize) else {
          Issue.record("\(source) at \(place): \(found.outcome)")
          return
        }
      }
    }
  }

  @Test("of several groups that cannot be encoded, the first is named", arguments: QuantizeCase.all)
  func firstOffender(test: QuantizeCase) {
    for (large, infinite) in [(3, 5), (5, 3), (4, 4), (17, 16), (2, 17), (18, 18)] {
      var x = Samples.weights(count: 19 * test.groupSize, seed: 3)
      x[large * test.groupSize + 5] = 0x1p120
      x[infinite * test.groupSize + 9] = .infinity
      let expected: QuantizationOutcome =
        infinite <= large ? .notFinite(group: infinite) : .scaleTooLarge(group: large)
      for source in [FloatFormat.bf16, .f32] {
        #expect(quantize(source.bytes(x), source, test, kernels: test.kernels).outcome == expected)
      }
    }
  }

  @Test("sums go on from call to call", arguments: QuantizeCase.all)
  func sumsAccumulate(test: QuantizeCase) {
    let bytes = Samples.bf16(Samples.weights(count: 33 * test.groupSize, seed: 4))
    let whole = quantize(bytes, .bf16, test, kernels: test.kernels)
    var sums = QuantizationSums()
    for piece in [0..<17, 17..<33] {
      let groupByteCount = test.groupSize * 2
      let part = Array(bytes[piece.lowerBound * groupByteCount..<piece.upperBound * groupByteCount])
      var codes = [UInt8](repeating: 0, count: part.count / 16 * test.bits)
      var scales = [UInt8](repeating: 0, count: piece.count * 2)
      var codeBytes = codes.mutableRawBytes
      var scaleBytes = scales.mutableRawBytes
      _ = test.kernels.quantize(
        part.rawBytes, source: .bf16, as: test.format, by: test.rule, columns: test.columns, codes: &codeBytes,
        scales: &scaleBytes, sums: &sums)
    }
    #expect(sums == whole.sums)
  }
}
