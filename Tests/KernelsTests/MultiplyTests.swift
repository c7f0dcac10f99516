import Kernels
import Storage
import Tensors
import TestSupport
import Testing

/// What every product is tested with.
struct ProductCase: Sendable, CustomTestStringConvertible {
  let kernels: KernelSet
  let format: WeightFormat

  var testDescription: String { "\(kernels) \(format)" }

  static let formats: [WeightFormat] =
    FloatFormat.allCases.map { .float($0) }
    + Encoding.grouped.map { WeightFormat($0) }

  static let all: [ProductCase] = KernelSet.available.flatMap { kernels in
    formats.map { ProductCase(kernels: kernels, format: $0) }
  }

  /// Nil for floats.
  var codes: CodeFormat? {
    if case .codes(let codes) = format { codes } else { nil }
  }

  /// Columns that are encoded together.
  var unit: Int {
    switch format {
    case .float: 1
    case .codes(let format): max(32, format.groupSize)
    }
  }
}

/// A matrix with its bytes and what they decode to.
struct Weights {
  let rows: Int, columns: Int
  let format: WeightFormat
  var codes: [UInt8] = [], scales: [UInt8] = []
  var decoded: [Float]

  init(rows: Int, columns: Int, format: WeightFormat, seed: UInt64) {
    self.rows = rows
    self.columns = columns
    self.format = format
    decoded = Samples.weights(count: rows * columns, seed: seed)
    switch format {
    case .float(let float): codes = float.bytes(decoded)
    case .codes(let code):
      let test = QuantizeCase(kernels: scalar, format: code, rule: .absmax)
      let quantized = quantize(Samples.f32(decoded), .f32, test, kernels: scalar, columns: columns)
      codes = quantized.codes
      scales = quantized.scales
      decoded = decodedPlanes(codes, scales, code, columns: columns)
    }
  }

  /// The product in binary64 and, for each result, Σ |w · x|.
  func exact(_ x: [Float], xStride: Int, tokens: Int) -> (y: [Double], magnitude: [Double]) {
    var y: [Double] = [], magnitude: [Double] = []
    for t in 0..<tokens {
      for r in 0..<rows {
        var sum = 0.0, absolute = 0.0
        for k in 0..<columns {
          let term = Double(decoded[r * columns + k]) * Double(x[t * xStride + k])
          sum += term
          absolute += abs(term)
        }
        y.append(sum)
        magnitude.append(absolute)
      }
    }
    return (y, magnitude)
  }

  /// (tokens, stride) with the planes `shift` and `2 · shift` bytes after where an array starts.
  func multiply(
    _ x: [Float], xStride: Int, tokens: Int, kernels: KernelSet, rowOffset: Int = 0, stride: Int? = nil,
    shift: Int = 0, threads: Int = 1, order: SumOrder = .fastest
  ) -> [Float] {
    let stride = stride ?? rows
    var y = [Float](repeating: 7, count: tokens * stride)
    let shiftedCodes = [UInt8](repeating: 0, count: shift) + codes
    let shiftedScales = [UInt8](repeating: 0, count: 2 * shift) + scales
    let codeBytes = shiftedCodes.rawBytes.extracting(shift...)
    let scaleBytes = shiftedScales.rawBytes.extracting(scales.isEmpty ? 0..<0 : 2 * shift..<shiftedScales.count)
    let numbers = x.span
    var out = y.mutableSpan
    kernels.multiply(
      codeBytes, scales: scaleBytes, as: format, rows: rows, columns: columns, x: numbers, xStride: xStride,
      tokens: tokens, into: &out, rowOffset: rowOffset, stride: stride, threads: threads, order: order)
    return y
  }
}

func decodedPlanes(_ codes: [UInt8], _ scales: [UInt8], _ format: CodeFormat, columns: Int) -> [Float] {
  decoded(codes, scales, format, columns: columns, scalar)
}

func activations(count: Int, seed: UInt64) -> [Float] {
  var random = SeededRandom(seed: seed)
  return (0..<count).map { _ in random.normal() * (random.next() % 50 == 0 ? 20 : 1) }
}

@Suite struct MultiplyTests {
  static let tokenCounts = Array(1...9) + [12, 13, 16, 17, 21, 22, 23, 24, 25, 31, 32, 33, 41, 63, 70]

  /// |error| ≤ γ · Σ |w · x|, γ = n · 2⁻²⁴ / (1 − n · 2⁻²⁴) with n roundings on the way of a term (Higham, Accuracy and
  /// Stability of Numerical Algorithms, section 3.1), and one more for the binary64 reference.
  static func tolerance(_ kernels: KernelSet, columns: Int, tokens: Int, order: SumOrder) -> Double {
    let nu = Double(kernels.productDepth(columns: columns, tokens: tokens, order: order) + 1) * 0x1p-24
    return nu / (1 - nu)
  }

  private func check(
    _ weights: Weights, tokens: Int, _ kernels: KernelSet, seed: UInt64, shift: Int = 0
  ) {
    let xStride = weights.columns + 3, stride = weights.rows + 5
    let x = activations(count: tokens * xStride, seed: seed)
    let expected = weights.exact(x, xStride: xStride, tokens: tokens)
    for order in SumOrder.allCases {
      let y = weights.multiply(
        x, xStride: xStride, tokens: tokens, kernels: kernels, rowOffset: 2, stride: stride, shift: shift, order: order)
      let gamma = Self.tolerance(kernels, columns: weights.columns, tokens: tokens, order: order)
      var wrong = 0
      for t in 0..<tokens {
        for column in 0..<stride {
          let found = y[t * stride + column]
          let row = column - 2
          guard row >= 0 && row < weights.rows else {
            if found != 7 { wrong += 1 }  // not ours to write
            continue
          }
          let index = t * weights.rows + row
          // Not `>`: a NaN is wrong too.
          if !(abs(Double(found) - expected.y[index]) <= gamma * expected.magnitude[index]) { wrong += 1 }
        }
      }
      #expect(
        wrong == 0,
        "\(weights.rows) × \(weights.columns), \(tokens) tokens, \(order), shift \(shift), seed \(seed)")
    }
  }

  @Test("every number of tokens and rows", arguments: ProductCase.all)
  func tokensAndRows(test: ProductCase) {
    let seed = UInt64.random(in: 0...UInt64.max)
    let columns = max(96, 3 * test.unit) / test.unit * test.unit
    for rows in [1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 13, 25] {
      let weights = Weights(rows: rows, columns: columns, format: test.format, seed: seed)
      for tokens in Self.tokenCounts {
        check(weights, tokens: tokens, test.kernels, seed: seed, shift: (rows + tokens) % 3)
      }
    }
  }

  @Test("columns from one group to several blocks", arguments: ProductCase.all)
  func columns(test: ProductCase) {
    let seed = UInt64.random(in: 0...UInt64.max)
    for columns in [32, 64, 128, 160, 256, 384, 512, 1024, 1120, 1408, 2048, 2304] where columns % test.unit == 0 {
      let weights = Weights(rows: 7, columns: columns, format: test.format, seed: seed)
      for tokens in [1, 2, 4, 8, 16, 33] { check(weights, tokens: tokens, test.kernels, seed: seed) }
    }
  }

  @Test("floats may have any number of columns", arguments: KernelSet.available, FloatFormat.allCases)
  func oddColumns(kernels: KernelSet, format: FloatFormat) {
    for columns in [1, 2, 15, 31, 33, 63, 100, 255, 257, 1023, 1025, 1100] {
      let weights = Weights(rows: 5, columns: columns, format: .float(format), seed: 8)
      for tokens in [1, 3, 5, 12, 20] { check(weights, tokens: tokens, kernels, seed: 9, shift: columns % 4) }
    }
  }

  @Test("planes may start at any byte", arguments: ProductCase.all)
  func unaligned(test: ProductCase) {
    let weights = Weights(rows: 13, columns: 256, format: test.format, seed: 3)
    let x = activations(count: 33 * 256, seed: 4)
    for tokens in [1, 4, 33] {
      let aligned = weights.multiply(x, xStride: 256, tokens: tokens, kernels: test.kernels)
      for shift in 1...9 {
        #expect(weights.multiply(x, xStride: 256, tokens: tokens, kernels: test.kernels, shift: shift) == aligned)
      }
    }
  }

  @Test("threads and other rows change no bit", arguments: ProductCase.all)
  func splitting(test: ProductCase) {
    let weights = Weights(rows: 157, columns: 1024, format: test.format, seed: 5)
    let x = activations(count: 33 * 1024, seed: 6)
    for tokens in [1, 2, 3, 5, 8, 16, 33] {
      let whole = weights.multiply(x, xStride: 1024, tokens: tokens, kernels: test.kernels)
      for threads in [2, 3, 8] {
        #expect(
          weights.multiply(x, xStride: 1024, tokens: tokens, kernels: test.kernels, threads: threads) == whole)
      }
      let first = Weights(rows: 1, columns: 1024, format: test.format, seed: 5)
      let alone = first.multiply(x, xStride: 1024, tokens: tokens, kernels: test.kernels)
      #expect(alone == (0..<tokens).map { whole[$0 * 157] })
    }
  }

  @Test(
    "in an order that is the same for all a token's bits do not depend on its company", arguments: ProductCase.all,
    [SumOrder.alone, .panel])
  func company(test: ProductCase, order: SumOrder) {
    // Beyond 8,192 and 16,384 columns the special way takes one token and none.
    for (rows, columns) in [(29, 96), (50, 1024), (5, 2304), (3, 8320), (2, 16512)] where columns % test.unit == 0 {
      let weights = Weights(rows: rows, columns: columns, format: test.format, seed: 11)
      let most = columns > 3000 ? 9 : 70
      let x = activations(count: most * columns, seed: 12)
      let alone = (0..<most).flatMap { token in
        weights.multiply(
          Array(x[token * columns..<(token + 1) * columns]), xStride: columns, tokens: 1, kernels: test.kernels,
          order: order)
      }
      for tokens in Self.tokenCounts where tokens <= most {
        for threads in [1, 2] {
          let found = weights.multiply(
            x, xStride: columns, tokens: tokens, kernels: test.kernels, threads: threads, order: order)
          #expect(found == Array(alone[..<(tokens * rows)]), "\(rows) × \(columns), \(tokens) tokens")
        }
      }
    }
  }

  @Test("NaN and infinities reach the results of their token alone", arguments: ProductCase.all)
  func notFinite(test: ProductCase) {
    let weights = Weights(rows: 9, columns: 256, format: test.format, seed: 7)
    for tokens in [1, 2, 4, 7, 8, 9, 20, 32, 33] {
      for bad: Float in [.nan, .infinity, -.infinity] {
        var x = activations(count: tokens * 256, seed: 8)
        let token = tokens / 2
        x[token * 256 + 200] = bad
        let y = weights.multiply(x, xStride: 256, tokens: tokens, kernels: test.kernels)
        for t in 0..<tokens {
          for r in 0..<9 {
            let found = y[t * 9 + r]
            let weight = weights.decoded[r * 256 + 200]
            if t != token {
              #expect(found.isFinite)
            } else if bad.isNaN || weight == 0 {
              #expect(found.isNaN)
            } else {
              #expect(found == (weight > 0 ? bad : -bad))
            }
          }
        }
      }
    }
  }

  @Test("weights that are not finite go through", arguments: KernelSet.available, FloatFormat.allCases)
  func notFiniteWeights(kernels: KernelSet, format: FloatFormat) {
    for tokens in [1, 4, 20] {
      let x = [Float](repeating: 1, count: tokens * 64)
      for (bad, check) in [(Float.infinity, { $0 == .infinity }), (.nan, { $0.isNaN })] as [(Float, (Float) -> Bool)] {
        var weights = Weights(rows: 3, columns: 64, format: .float(format), seed: 1)
        weights.codes.replaceSubrange(
          100 * format.byteCount..<101 * format.byteCount, with: format.bytes([bad]))
        let y = weights.multiply(x, xStride: 64, tokens: tokens, kernels: kernels)
        for (index, found) in y.enumerated() { #expect(index % 3 == 1 ? check(found) : found.isFinite) }
      }
    }
  }

  @Test("a product over no columns is zero", arguments: KernelSet.available)
  func noColumns(kernels: KernelSet) {
    let weights = Weights(rows: 3, columns: 0, format: .float(.f32), seed: 1)
    #expect(weights.multiply([], xStride: 0, tokens: 2, kernels: kernels) == [0, 0, 0, 0, 0, 0])
  }
}

@Suite struct WeightedSumTests {
  @Test("agrees with binary64", arguments: KernelSet.available)
  func agrees(kernels: KernelSet) {
    for columns in [1, 8, 16, 31, 64, 100, 128] {
      for count in [0, 1, 7, 100] {
        for tokens in [1, 2, 4, 5, 9] {
          let pStride = count + 1, vStride = columns + 2, yStride = columns + 3
          let p = activations(count: tokens * pStride, seed: 1)
          let v = activations(count: max(count, 1) * vStride, seed: 2)
          var y = [Float](repeating: 7, count: tokens * yStride)
          weightedSum(kernels, p, v, count: count, columns: columns, tokens: tokens, into: &y)
          for t in 0..<tokens {
            for c in 0..<yStride {
              var sum = 0.0, magnitude = 0.0
              if c < columns {
                for j in 0..<count {
                  let term = Double(p[t * pStride + j]) * Double(v[j * vStride + c])
                  sum += term
                  magnitude += abs(term)
                }
              } else {
                sum = 7
              }
              #expect(abs(Double(y[t * yStride + c]) - sum) <= Double(count + 2) * 0x1p-24 * magnitude)
            }
          }
        }
      }
    }
  }

  private func weightedSum(
    _ kernels: KernelSet, _ p: [Float], _ v: [Float], count: Int, columns: Int, tokens: Int, into y: inout [Float]
  ) {
    let probabilities = p.span, values = v.span
    var out = y.mutableSpan
    kernels.weightedSum(
      probabilities, pStride: count + 1, tokens: tokens, of: values, vStride: columns + 2, count: count,
      columns: columns, into: &out, yStride: columns + 3)
  }
}
