import Kernels
import Quantization
import Tensors
import TestSupport
import Testing

/// What the calibrated solver does where states are few, missing or bad: `Formats/solver.md`, sections 3 and 7.
@Suite struct CalibratedRuleTests {
  private static let columns = 64, rows = 20
  private static let kernels = KernelSet.available[0]

  private static func states(_ tokens: Int, seed: UInt64 = 1) -> [Float] {
    var random = SeededRandom(seed: seed)
    return (0..<tokens).flatMap { _ in
      let common = random.normal()
      return (0..<columns).map { Samples.truncated((0.2 + Float($0 % 5)) * (random.normal() + 2 * common)) }
    }
  }

  private static func moments(_ x: [Float], weight: Float = 1) -> Moments {
    var moments = Moments(columns: columns)
    let weights = [Float](repeating: weight, count: x.count / columns)
    moments.add(Samples.f32(x).rawBytes, as: .f32, weights: weights.span, kernels: kernels)
    return moments
  }

  private static let weights = Samples.weights(count: rows * columns, seed: 2)

  private func solve(_ moments: ConditionedMoments, _ solver: GPTQ = GPTQ(bits: 4, groupSize: 32)) throws
    -> CalibratedMatrix
  {
    try solver.solve(Self.weights.span, rows: Self.rows, moments: moments)
  }

  /// The weights that codes and scales stand for.
  private func decoded(_ solved: CalibratedMatrix, groupSize: Int = 32) -> [Float] {
    solved.codes.indices.map { Float(solved.codes[$0]) * solved.scales[$0 / groupSize] }
  }

  /// Σ |D z|² over tokens, in binary64.
  private func outputError(_ y: [Float], _ x: [Float]) -> Double {
    let n = Self.columns
    var sum = 0.0
    for t in 0..<x.count / n {
      for row in 0..<Self.rows {
        var lost = 0.0
        for j in 0..<n { lost += Double(y[row * n + j] - Self.weights[row * n + j]) * Double(x[t * n + j]) }
        sum += lost * lost
      }
    }
    return sum
  }

  @Test("feedback loses less of the output than rounding does, and says how much")
  func better() throws {
    let x = Self.states(400)
    let moments = try ConditionedMoments(Self.moments(x), prior: .none, kernels: Self.kernels)
    #expect(moments.conditioning.outcome == .factored)
    let solved = try solve(moments)
    let error = outputError(decoded(solved), x)
    #expect(abs(solved.outputError / error - 1) < 1e-3)
    let relative = solved.relativeOutputError
    #expect(
      abs(solved.outputError / relative / outputError([Float](repeating: 0, count: Self.weights.count), x) - 1) < 1e-3)

    #expect(error < 0.5 * outputError(try search(), x))
    #expect(solved.statistics.relativeRMSE > 0.02 && solved.statistics.relativeRMSE < 0.3)
  }

  /// What the data-free solver makes of the weights.
  private func search() throws -> [Float] {
    let encoding = try #require(Encoding(name: "int4-g32"))
    var codes = [UInt8](repeating: 0, count: encoding.codeByteCount(elements: Self.weights.count))
    var scales = [UInt8](
      repeating: 0, count: encoding.scaleByteCount(elements: Self.weights.count, columns: Self.columns))
    var statistics = QuantizationStatistics()
    var codeBytes = codes.mutableRawBytes
    var scaleBytes = scales.mutableRawBytes
    try Quantizer.encode(
      Samples.f32(Self.weights).rawBytes, dtype: .f32, columns: Self.columns, as: encoding, solver: Solvers.search,
      kernels: Self.kernels, codes: &codeBytes, scales: &scaleBytes, adding: &statistics)
    return Self.decode(codes, scales, encoding)
  }

  private static func decode(_ codes: [UInt8], _ scales: [UInt8], _ encoding: Encoding) -> [Float] {
    var values = [Float](repeating: 0, count: codes.count * 8 / encoding.codeBits)
    var span = values.mutableSpan
    Quantizer.decode(
      codes: codes.rawBytes, scales: scales.rawBytes, as: encoding, columns: columns, kernels: kernels, into: &span)
    return values
  }

  @Test("a draft has the scales of the solution and loses a little more; scales alone tell about how much")
  func draft() throws {
    let moments = try ConditionedMoments(Self.moments(Self.states(400)), prior: .none, kernels: Self.kernels)
    var ratios: [Double] = []
    for groupSize in [16, 32, 64] {
      let gptq = GPTQ(bits: 4, groupSize: groupSize)
      let solved = try gptq.solve(Self.weights.span, rows: Self.rows, moments: moments)
      let draft = try gptq.draft(Self.weights.span, rows: Self.rows, moments: moments, hasCodes: true)
      #expect(draft.decoded.count == Self.weights.count)
      let error = try #require(draft.outputError)
      // What polish makes smaller is the damped error.
      #expect(error > 0.98 * solved.outputError && error < 1.5 * solved.outputError)
      #expect(abs(error / outputError(draft.decoded, Self.states(400)) - 1) < 1e-3)
      let scales = try gptq.draft(Self.weights.span, rows: Self.rows, moments: moments, hasCodes: false)
      #expect(scales.outputError == nil && scales.decoded.allSatisfy { $0 == 0 })
      #expect(scales.expectedError(moments) == draft.expectedError(moments))
      ratios.append(error / scales.expectedError(moments))
    }
    #expect(ratios.max()! < 1.3 * ratios.min()!)
  }

  @Test("where columns do not depend on each other, what is expected is the sum of scales squared under the moments")
  func expectedOfDiagonal() throws {
    var x = [Float](repeating: 0, count: Self.columns * Self.columns)
    for j in 0..<Self.columns { x[j * Self.columns + j] = Float(1 + j % 7) }
    let moments = try ConditionedMoments(Self.moments(x), prior: .none, kernels: Self.kernels)
    let mean = x.reduce(0.0) { $0 + Double($1 * $1) } / Double(Self.columns)
    let gptq = GPTQ(bits: 4, groupSize: 32)
    let solved = try gptq.solve(Self.weights.span, rows: Self.rows, moments: moments)
    var expected = 0.0
    for i in Self.weights.indices {
      let (j, scale) = (i % Self.columns, Double(solved.scales[i / 32]))
      let power = Double(x[j * Self.columns + j] * x[j * Self.columns + j]) + moments.conditioning.damping * mean
      expected += scale * scale * power
    }
    let found = try gptq.draft(Self.weights.span, rows: Self.rows, moments: moments, hasCodes: false)
      .expectedError(moments)
    #expect(abs(found / expected - 1) < 1e-5)
  }

  @Test("moments of few tokens are shrunk and damped by n / N")
  func shrink() throws {
    for (tokens, shrink, damping) in [(16, 0.3 / 0.55, 0.1), (64, 0.3 / 1.3, 0.032), (640, 0.3 / 10.3, 0.005)] {
      let layer = Self.moments(Self.states(900, seed: 3)).share()
      for prior in [MomentPrior.layer(layer), .ridge()] {
        let found = try ConditionedMoments(Self.moments(Self.states(tokens)), prior: prior, kernels: Self.kernels)
        #expect(abs(found.conditioning.shrink - shrink) < 1e-12 && abs(found.conditioning.damping - damping) < 1e-12)
        #expect(found.conditioning.tokens == tokens && found.conditioning.outcome == .factored)
      }
      let alone = try ConditionedMoments(Self.moments(Self.states(tokens)), prior: .none, kernels: Self.kernels)
      #expect(alone.conditioning.shrink == 0)
    }
  }

  @Test("an expert without tokens takes its layer's moments, and so does one whose tokens have no weight")
  func empty() throws {
    let layerStates = Self.states(900, seed: 3)
    for prior in [
      MomentPrior.layer(Self.moments(layerStates).share()),
      .ridge(empty: Self.moments(layerStates).share()),
    ] {
      var results: [[Int8]] = []
      for moments in [0, 1] {
        let own = moments == 0 ? Moments(columns: Self.columns) : Self.moments(Self.states(30), weight: 0)
        let found = try ConditionedMoments(own, prior: prior, kernels: Self.kernels)
        #expect(found.conditioning.tokens == 0 && found.conditioning.shrink == 1 && found.conditioning.damping == 0.1)
        #expect(found.conditioning.outcome == .factored)
        let solved = try solve(found)
        let energy = solved.outputPower
        #expect(energy > 0 && solved.outputError < energy)
        results.append(solved.codes)
      }
      #expect(results[0] == results[1])
    }
  }

  @Test("a layer without tokens is rounded, all columns alike, and says so")
  func withoutStates() throws {
    let nothing = Moments(columns: Self.columns).share()
    for prior in [MomentPrior.none, .ridge(), .layer(nothing), .ridge(empty: nothing)] {
      let found = try ConditionedMoments(Moments(columns: Self.columns), prior: prior, kernels: Self.kernels)
      #expect(found.conditioning.outcome == .withoutStates)
      let solved = try solve(found)
      for (i, code) in solved.codes.enumerated() {
        let s = solved.scales[i / 32]
        #expect(code == (s == 0 ? 0 : Int8(min(7, max(-8, (Self.weights[i] * (1 / s)).rounded(.toNearestOrEven))))))
      }
      // At least as close as the data-free search, up to the scales that both try.
      let searched = try search()
      func distance(_ y: [Float]) -> Float { zip(y, Self.weights).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) } }
      #expect(distance(decoded(solved)) < 1.05 * distance(searched))
    }
  }

  @Test("where no damping helps, numbers are rounded with scales under the moments")
  func notPositiveDefinite() throws {
    // Second moments are never indefinite; rounding can make them so. A layer that is indefinite stands for it.
    var layer = Moments(columns: Self.columns)
    let weights = [Float](repeating: 1, count: 2) + [-3]
    var x = [Float](repeating: 1, count: 3 * Self.columns)
    for j in 0..<Self.columns { x[2 * Self.columns + j] = j % 2 == 0 ? 0.5 : -0.5 }
    layer.add(Samples.f32(x).rawBytes, as: .f32, weights: weights.span, kernels: Self.kernels)
    #expect(layer.trace > 0)
    let found = try ConditionedMoments(
      Moments(columns: Self.columns), prior: .layer(layer.share()), kernels: Self.kernels)
    #expect(found.conditioning.outcome == .notPositiveDefinite)
    #expect(found.conditioning.attempts == 2 && found.conditioning.damping == 0.1)  // 0.1, then 0.3
    let solved = try solve(found)
    for (i, code) in solved.codes.enumerated() where solved.scales[i / 32] != 0 {
      let wanted = (Self.weights[i] * (1 / solved.scales[i / 32])).rounded(.toNearestOrEven)
      #expect(code == Int8(min(7, max(-8, wanted))))
    }
  }

  @Test("a column that no token uses is rounded for itself")
  func deadColumn() throws {
    var x = Self.states(300)
    for t in 0..<300 { x[t * Self.columns + 5] = 0 }
    let found = try ConditionedMoments(Self.moments(x), prior: .none, kernels: Self.kernels)
    let solved = try solve(found)
    for row in 0..<Self.rows {
      let i = row * Self.columns + 5
      let s = solved.scales[i / 32]
      #expect(Float(solved.codes[i]) == min(7, max(-8, (Self.weights[i] * (1 / s)).rounded(.toNearestOrEven))))
    }
  }

  @Test("states that are not finite, or too large, are an error")
  func badStates() {
    for bad: Float in [.nan, .infinity, -.infinity, 0x1p100] {
      for weight: Float in [1, bad.isFinite ? 1 : 0] {
        var x = Self.states(40)
        x[17 * Self.columns + 9] = bad
        let error = #expect(throws: CalibrationError.self) {
          _ = try ConditionedMoments(Self.moments(x, weight: weight), prior: .none, kernels: Self.kernels)
        }
        #expect(error == .statesNotFinite(column: 9))
      }
    }
  }

  @Test("weights that no code can stand for are an error")
  func badWeights() throws {
    let found = try ConditionedMoments(Self.moments(Self.states(200)), prior: .none, kernels: Self.kernels)
    for (bad, wanted): (Float, CalibrationError) in [
      (.nan, .weightNotFinite(element: 70)), (.infinity, .weightNotFinite(element: 70)),
      (600_000, .scaleTooLarge(element: 70)), (-600_000, .scaleTooLarge(element: 70)),
    ] {
      var weights = Self.weights
      weights[70] = bad
      #expect(throws: wanted) {
        _ = try GPTQ(bits: 4, groupSize: 32).solve(weights.span, rows: Self.rows, moments: found)
      }
    }
    var weights = Self.weights
    weights[70] = 520_000
    let solved = try GPTQ(bits: 4, groupSize: 32).solve(weights.span, rows: Self.rows, moments: found)
    #expect(solved.scales.allSatisfy { abs($0) <= 65280 && ($0 == 0 || abs($0) >= 0x1p-17) })
  }

  @Test("scales of a byte are those of their row's base", arguments: [4, 8])
  func byteScales(_ bits: Int) throws {
    let found = try ConditionedMoments(Self.moments(Self.states(200)), prior: .none, kernels: Self.kernels)
    var weights = Self.weights
    for j in 0..<32 {
      weights[j] *= 0x1p-12  // a group far below the other of its row
      weights[Self.columns + j] = 0
    }
    let solver = GPTQ(bits: bits, groupSize: 32, grid: .byte)
    let solved = try solver.solve(weights.span, rows: Self.rows, moments: found)
    for row in 0..<Self.rows {
      let largest = weights[row * Self.columns..<(row + 1) * Self.columns].reduce(0) { max($0, abs($1)) }
      let base = max(110, Int(largest.exponent) + 127 - (bits == 4 ? 9 : 13))
      for s in solved.scales[2 * row..<2 * row + 2] {
        #expect(s.bitPattern & 0x7FFFF == 0, "four bits of mantissa")
        #expect((base - 127...base - 120).contains(Int(s.exponent)))
      }
    }
    #expect(solved.scales[2] == Float(sign: .plus, exponent: Int(solved.scales[2].exponent), significand: 1))
    weights[70] = bits == 4 ? 0x1p18 : 0x1p22
    #expect(throws: CalibrationError.scaleTooLarge(element: 70)) {
      _ = try solver.solve(weights.span, rows: Self.rows, moments: found)
    }
  }

  @Test("the code plane is the encoding's")
  func plane() throws {
    let found = try ConditionedMoments(Self.moments(Self.states(200)), prior: .none, kernels: Self.kernels)
    for (name, solved) in [
      ("int4-g32", try solve(found)), ("int8-g64", try solve(found, GPTQ(bits: 8, groupSize: 64))),
    ] {
      let encoding = try #require(Encoding(name: name))
      // Under scales of 1 the decoded values are the codes.
      let ones = [[UInt8]](repeating: [0x80, 0x3F], count: solved.scales.count).flatMap { $0 }
      let values = Self.decode(solved.codePlane(bits: encoding.codeBits), ones, encoding)
      #expect(values == solved.codes.map { Float($0) })
    }
  }
}
