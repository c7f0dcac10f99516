import Kernels
import Tensors
import TestSupport
import Testing

/// What `Int8Activations` and their products are, computed from their description.
private struct Reference {
  let tokens: Int, columns: Int, groupSize: Int
  var codes: [Int8] = []
  var scales: [Float] = []

  init(_ x: [Float], tokens: Int, columns: Int, groupSize: Int) {
    self.tokens = tokens
    self.columns = columns
    self.groupSize = groupSize
    for start in stride(from: 0, to: x.count, by: groupSize) {
      let group = x[start..<start + groupSize]
      let most = group.reduce(0) { max($0, abs($1)) }
      if group.contains(where: { !$0.isFinite }) || most < 0x1p-100 {
        codes += [Int8](repeating: 0, count: groupSize)
        scales.append(group.contains { !$0.isFinite } ? .nan : 0)
      } else {
        codes += group.map { Int8(($0 * (127 / most)).rounded(.toNearestOrEven)) }
        scales.append(most / 127)
      }
    }
  }

  /// (tokens, rows)
  func product(_ weights: Weights, _ format: CodeFormat) -> [Float] {
    let groups = columns / groupSize
    return (0..<tokens).flatMap { t in
      (0..<weights.rows).map { r in
        var y: Float = 0
        for g in 0..<groups {
          var sum = 0
          for k in g * groupSize..<(g + 1) * groupSize {
            sum += Self.code(weights.codes, r * columns + k, format.code.bits) * Int(codes[t * columns + k])
          }
          y += Float(sum) * weights.scale(row: r, group: g, format) * scales[t * groups + g]
        }
        return y
      }
    }
  }

  /// `Formats/encodings.md`, sections 4 and 5.
  private static func code(_ bytes: [UInt8], _ index: Int, _ bits: Int) -> Int {
    if bits == 8 { return Int(Int8(bitPattern: bytes[index])) }
    let byte = Int(bytes[index / 32 * 16 + index % 16])
    return (index % 32 < 16 ? byte & 15 : byte >> 4) - 8
  }
}

extension Weights {
  fileprivate func scale(row: Int, group: Int, _ format: CodeFormat) -> Float {
    let groups = columns / format.groupSize
    if format.scale == .byte {
      let start = row * (1 + groups)
      let base = UInt32(scales[start])
      let byte = UInt32(scales[start + 1 + group])
      return Float(bitPattern: (byte & 0x80) << 24 | (((byte & 0x7F) << 19) + (base << 23)))
    }
    let place = 2 * (row * groups + group)
    return Float(bitPattern: UInt32(scales[place]) << 16 | UInt32(scales[place + 1]) << 24)
  }

  /// (tokens, rowOffset + rows + 3) of products with int8 activations; what is not ours to write stays 7.
  fileprivate func multiplyInt8(
    _ x: [Float], tokens: Int, _ test: ProductCase, _ format: CodeFormat, rowOffset: Int = 0, shift: Int = 0,
    threads: Int = 1
  ) -> [Float] {
    let stride = rowOffset + rows + 3
    var y = [Float](repeating: 7, count: tokens * stride)
    let shiftedCodes = [UInt8](repeating: 0, count: shift) + codes
    let shiftedScales = [UInt8](repeating: 0, count: shift) + scales
    let codeBytes = shiftedCodes.rawBytes.extracting(shift...)
    let scaleBytes = shiftedScales.rawBytes.extracting(shift...)
    let numbers = x.span
    let activations = test.kernels.int8Activations(
      numbers, tokens: tokens, columns: columns, groupSize: format.groupSize)
    var out = y.mutableSpan
    test.kernels.multiply(
      codeBytes, scales: scaleBytes, as: format, rows: rows, x: activations, into: &out, rowOffset: rowOffset,
      stride: stride, threads: threads)
    return y
  }
}

private func bits(_ x: [Float]) -> [UInt32] { x.map { $0.isNaN ? 0x7FC0_0000 : $0.bitPattern } }

private func rounded(_ kernels: KernelSet, _ x: [Float], tokens: Int, groupSize: Int) -> Int8Activations {
  let numbers = x.span
  return kernels.int8Activations(numbers, tokens: tokens, columns: x.count / tokens, groupSize: groupSize)
}

/// Products with int8 activations: all sets give the bits that the description asks for.
@Suite struct Int8ActivationTests {
  static let cases = ProductCase.all.filter { $0.codes != nil }

  private func check(
    _ weights: Weights, _ x: [Float], tokens: Int, _ test: ProductCase, _ note: String, shift: Int = 0,
    threads: Int = 1
  ) throws {
    let format = try #require(test.codes)
    let reference = Reference(x, tokens: tokens, columns: weights.columns, groupSize: format.groupSize)
    let product = reference.product(weights, format)
    var expected: [Float] = []
    for t in 0..<tokens { expected += [7, 7] + product[t * weights.rows..<(t + 1) * weights.rows] + [7, 7, 7] }
    let found = weights.multiplyInt8(x, tokens: tokens, test, format, rowOffset: 2, shift: shift, threads: threads)
    #expect(bits(found) == bits(expected), "\(weights.rows) × \(weights.columns), \(tokens) tokens, \(note)")
  }

  @Test("codes and scales of activations", arguments: KernelSet.available, [16, 32, 64, 128])
  func rounding(kernels: KernelSet, groupSize: Int) {
    let seed = UInt64.random(in: 0...UInt64.max)
    var groups = Samples.edgeGroups(size: groupSize)
    // The ends of the range in which activations have a scale, and ties: halves of a scale of one.
    groups += [0x1p-100, 0x1p-101, 0x1p-149, .greatestFiniteMagnitude].map { most in
      (0..<groupSize).map { $0 % 3 == 0 ? most : -most / Float($0) }
    }
    groups.append((0..<groupSize).map { $0 == 0 ? -127 : Float($0) + 0.5 - Float(groupSize) / 2 })
    for bad: Float in [.nan, .infinity, -.infinity] {
      groups.append((0..<groupSize).map { $0 == groupSize - 1 ? bad : 1 })
    }
    for _ in 0..<50 { groups.append(activations(count: groupSize, seed: seed &+ UInt64(groups.count))) }
    let x = groups.flatMap { $0 }
    let expected = Reference(x, tokens: 1, columns: x.count, groupSize: groupSize)
    let found = rounded(kernels, x, tokens: 1, groupSize: groupSize)
    #expect(found.codes == expected.codes && bits(found.scales) == bits(expected.scales), "seed \(seed)")
    #expect(found.codes.allSatisfy { $0 >= -127 })
  }

  @Test("every number of tokens and rows", arguments: cases)
  func tokensAndRows(test: ProductCase) throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    let columns = 3 * test.unit
    for rows in [1, 2, 7, 8, 9, 15, 16, 17, 24, 33, 41] {
      let weights = Weights(rows: rows, columns: columns, format: test.format, seed: seed)
      for tokens in Array(1...9) + [15, 16, 17, 32, 63, 65] {
        let x = activations(count: tokens * columns, seed: seed)
        try check(weights, x, tokens: tokens, test, "seed \(seed)", shift: (rows + tokens) % 3)
      }
    }
  }

  @Test("columns from one group to several pieces, rows over threads", arguments: cases)
  func columnsAndThreads(test: ProductCase) throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    for columns in [32, 64, 128, 160, 384, 512, 640, 1024, 1408, 2048] where columns % test.unit == 0 {
      let weights = Weights(rows: 77, columns: columns, format: test.format, seed: seed)
      for (tokens, threads) in [(1, 1), (2, 3), (11, 2), (33, 8)] {
        let x = activations(count: tokens * columns, seed: seed)
        try check(weights, x, tokens: tokens, test, "\(threads) threads, seed \(seed)", threads: threads)
      }
    }
  }

  /// The largest products and sums that codes can make; −128 is no code, but a damaged pack may hold it.
  @Test("codes at the ends of their range", arguments: cases)
  func extremes(test: ProductCase) throws {
    let format = try #require(test.codes)
    let columns = 2 * test.unit
    let ends: [UInt8] = format.code.bits == 8 ? [0x7F, 0x81, 0x80] : [0xFF, 0x00, 0x88, 0x0F]
    var weights = Weights(rows: ends.count * 8, columns: columns, format: test.format, seed: 1)
    let rowBytes = columns / 8 * format.code.bits
    for row in 0..<weights.rows {
      for byte in 0..<rowBytes {
        // Rows of one value, then rows in which values take turns.
        weights.codes[row * rowBytes + byte] = ends[(row + (row < weights.rows / 2 ? 0 : byte)) % ends.count]
      }
    }
    let patterns: [(Int) -> Float] = [{ _ in 1 }, { _ in -1 }, { $0 % 2 == 0 ? 1 : -1 }, { $0 % 4 < 2 ? -1 : 1 }]
    let x = patterns.flatMap { pattern in (0..<columns).map(pattern) }
    try check(weights, x, tokens: patterns.count, test, "ends")
  }

  @Test("zeros have the scale 0 and make zeros", arguments: cases)
  func zeros(test: ProductCase) throws {
    let columns = 2 * test.unit
    var weights = Weights(rows: 20, columns: columns, format: test.format, seed: 2)
    if test.codes?.scale == .bf16 {
      for byte in 0..<80 { weights.scales[byte] = 0 }  // +0 as a scale of weights too
    }
    var x = activations(count: 3 * columns, seed: 3)
    for k in columns..<2 * columns { x[k] = k % 2 == 0 ? 0 : -0.0 }
    try check(weights, x, tokens: 3, test, "zeros")
    let y = weights.multiplyInt8(x, tokens: 3, test, try #require(test.codes))
    #expect(y[23..<43].allSatisfy { $0 == 0 } && y.allSatisfy { $0.isFinite })
  }

  @Test("an activation that is not finite makes all results of its token NaN, no others", arguments: cases)
  func notFinite(test: ProductCase) throws {
    let format = try #require(test.codes)
    let columns = 2 * test.unit
    let weights = Weights(rows: 19, columns: columns, format: test.format, seed: 4)
    for bad: Float in [.nan, .infinity, -.infinity] {
      for tokens in [1, 2, 9] {
        var x = activations(count: tokens * columns, seed: 5)
        x[tokens / 2 * columns + 5] = bad
        let y = weights.multiplyInt8(x, tokens: tokens, test, format)
        for t in 0..<tokens {
          let row = y[t * 22..<t * 22 + 19]
          #expect(t == tokens / 2 ? row.allSatisfy { $0.isNaN } : row.allSatisfy { $0.isFinite })
        }
      }
    }
  }

  /// Half a step of 127 to the largest activation of each group.
  @Test("results are within the rounding of the activations", arguments: cases)
  func drift(test: ProductCase) throws {
    let format = try #require(test.codes)
    let columns = 4 * test.unit
    let weights = Weights(rows: 32, columns: columns, format: test.format, seed: 6)
    let x = activations(count: 2 * columns, seed: 7)
    let exact = weights.exact(x, xStride: columns, tokens: 2)
    let y = weights.multiplyInt8(x, tokens: 2, test, format)
    for t in 0..<2 {
      for r in 0..<32 {
        var most = 0.0
        for g in 0..<columns / format.groupSize {
          let part = g * format.groupSize..<(g + 1) * format.groupSize
          let step = part.reduce(0) { max($0, abs(Double(x[t * columns + $1]))) } / 127
          most += part.reduce(0) { $0 + abs(Double(weights.decoded[r * columns + $1])) } * step / 2
        }
        let error = abs(Double(y[t * 35 + r]) - exact.y[t * 32 + r])
        #expect(error <= most * 1.0001 + exact.magnitude[t * 32 + r] * 0x1p-20)
      }
    }
  }
}
