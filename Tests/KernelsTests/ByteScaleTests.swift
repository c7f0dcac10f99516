import Kernels
import Storage
import Tensors
import TestSupport
import Testing

/// Byte scales: every set gives the bits of scalar, whatever the rows and the range of their numbers.
@Suite struct ByteScaleTests {
  private let seed = UInt64.random(in: 0...UInt64.max)

  private func numbers(rows: Int, columns: Int, _ random: inout SeededRandom) -> [Float] {
    (0..<rows).flatMap { row in
      (0..<columns).map { column -> Float in
        // Some groups far below the others of their row, some rows of zeros, some near the largest that is allowed.
        let scale: Float = row % 7 == 6 ? 0 : row % 5 == 4 ? 0x1p15 : column / 32 % 5 == 3 ? 0x1p-20 : 0x1p-6
        return random.normal() * scale
      }
    }
  }

  @Test("codes, bases, scales and sums", arguments: QuantizeCase.bytes)
  func quantizing(test: QuantizeCase) {
    var random = SeededRandom(seed: seed)
    for groups in [1, 2, 3, 8, 15, 16, 17, 33] {
      let columns = groups * max(32, test.groupSize)
      for rows in [1, 2, 15, 16, 21] {
        let x = numbers(rows: rows, columns: columns, &random)
        for source in FloatFormat.allCases {
          let bytes = source.bytes(x.map { source == .f16 ? min(max($0, -60_000), 60_000) : $0 })
          let expected = quantize(bytes, source, test, kernels: scalar, columns: columns)
          let found = quantize(bytes, source, test, kernels: test.kernels, columns: columns, shift: 1)
          #expect(expected.outcome == .done)
          #expect(found == expected, "\(rows) × \(columns), \(source), seed \(seed)")
          let y = decoded(found.codes, found.scales, test.format, columns: columns, test.kernels)
          let z = decoded(found.codes, found.scales, test.format, columns: columns, scalar)
          #expect(y.map(\.bitPattern) == z.map(\.bitPattern), "\(rows) × \(columns), seed \(seed)")
        }
      }
    }
  }

  @Test("the first group that has no scale is named", arguments: QuantizeCase.bytes)
  func refusals(test: QuantizeCase) {
    let columns = 4 * max(32, test.groupSize)
    let x = Samples.weights(count: 40 * columns, seed: seed)
    for place in [0, 31, columns - 1, 16 * columns, 39 * columns + 40] {
      for (bad, later) in [(Float.nan, Float(0x1p40)), (0x1p40, .infinity)] {
        var changed = x
        changed[x.count - 1] = later
        changed[place] = bad
        let group = place / test.groupSize
        for source in [FloatFormat.bf16, .f32] {
          let found = quantize(source.bytes(changed), source, test, kernels: test.kernels, columns: columns)
          #expect(found.outcome == (bad.isNaN ? .notFinite(group: group) : .scaleTooLarge(group: group)), "\(place)")
        }
      }
    }
  }

  @Test("groups below the range of their row are counted", arguments: QuantizeCase.bytes)
  func clamping(test: QuantizeCase) {
    let columns = 128
    var x = [Float](repeating: 0, count: 3 * columns)
    x[0] = 1
    // The group after it: far too small in one row, large enough in another; zeros are no loss.
    x[columns - 1] = test.groupSize == columns ? 0 : 0x1p-12
    x[columns] = 1
    x[2 * columns - 1] = test.groupSize == columns ? 0 : 0.5
    let found = quantize(Samples.bf16(x), .bf16, test, kernels: test.kernels, columns: columns)
    #expect(found.outcome == .done && found.sums.clamped == (test.groupSize == columns ? 0 : 1))
  }
}
