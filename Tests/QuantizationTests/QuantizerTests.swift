import Kernels
import Quantization
import TestSupport
import Tensors
import Testing

@Suite struct QuantizerTests {
  private let seed = UInt64.random(in: 0...UInt64.max)

  @Test("the same numbers as bf16, f16 and f32 get the same codes", arguments: EncodingCase.all)
  func sources(test: EncodingCase) throws {
    let x = Samples.weights(count: 77 * 128, seed: seed)
    for kernels in KernelSet.available {
      let bf16 = try encode(Samples.bf16(x), .bf16, test.encoding, test.solver, kernels)
      #expect(try encode(Samples.f16(x), .f16, test.encoding, test.solver, kernels) == bf16, "seed \(seed)")
      #expect(try encode(Samples.f32(x), .f32, test.encoding, test.solver, kernels) == bf16, "seed \(seed)")
    }
  }

  @Test("a run may be cut between groups anywhere, or between rows with a base", arguments: EncodingCase.all)
  func pieces(test: EncodingCase) throws {
    let size = test.encoding.unitElementCount(columns: columns)
    let x = Samples.weights(count: 77 * size, seed: seed)
    for kernels in KernelSet.available {
      let expected = try encode(Samples.bf16(x), .bf16, test.encoding, test.solver, kernels)
      for cut in [1, 15, 16, 40, 76] {
        var found = Encoded(codes: [], scales: [])
        for part in [x[..<(cut * size)], x[(cut * size)...]] {
          let next = try encode(
            Samples.bf16(Array(part)), .bf16, test.encoding, test.solver, kernels, after: found.statistics)
          found = Encoded(
            codes: found.codes + next.codes, scales: found.scales + next.scales, statistics: next.statistics)
        }
        #expect(found == expected, "seed \(seed), \(kernels), \(cut)")
      }
    }
  }

  @Test("errors stay within half a step, or what the ends of the range leave", arguments: EncodingCase.all)
  func errorBound(test: EncodingCase) throws {
    let x = Samples.weights(count: 64 * 128, seed: seed)
    let found = try encode(Samples.bf16(x), .bf16, test.encoding, test.solver)
    let y = decode(found.codes, found.scales, count: x.count, test.encoding)
    // absmax never clips, and byte scales are rounded so that it clips at most half a step. Search for int4 may divide the largest magnitude by up to 9.4 and round the scale; the code 7
    // then leaves 2.5 steps.
    let steps: Float = test.solver.name == "absmax" ? 0.5 : test.encoding.codes?.code == .int4 ? 3.1 : 9.1
    let scales = found.scales(test.encoding)
    for (i, (x, y)) in zip(x, y).enumerated() {
      let scale = scales[i / test.encoding.groupSize]
      #expect(abs(x - y) <= abs(scale) * steps * 1.0001, "seed \(seed), element \(i)")
    }
  }

  @Test("statistics are those of the decoded numbers", arguments: EncodingCase.all)
  func statistics(test: EncodingCase) throws {
    let x = Samples.weights(count: 64 * 128, seed: seed)
    let found = try encode(Samples.bf16(x), .bf16, test.encoding, test.solver)
    let y = decode(found.codes, found.scales, count: x.count, test.encoding)
    let error = zip(x, y).reduce(0.0) { $0 + Double($1.0 - $1.1) * Double($1.0 - $1.1) }
    let weight = x.reduce(0.0) { $0 + Double($1) * Double($1) }
    #expect(found.statistics.count == x.count)
    // Partial sums of binary32 over at most 8 elements each.
    #expect(abs(found.statistics.squaredError / error - 1) < 1e-5)
    #expect(abs(found.statistics.squaredWeight / weight - 1) < 1e-5)
    #expect(abs(Double(found.statistics.relativeRMSE) / (error / weight).squareRoot() - 1) < 1e-5)
    #expect(found.statistics.saturatedShare > 0)
  }

  @Test("search has no larger error than absmax", arguments: Encoding.grouped)
  func searchGains(encoding: Encoding) throws {
    for tensor in 0..<8 {
      let x = Samples.weights(count: 512 * 128, seed: seed &+ UInt64(tensor))
      let absmax = try encode(Samples.bf16(x), .bf16, encoding, Solvers.absmax).statistics.relativeRMSE
      let search = try encode(Samples.bf16(x), .bf16, encoding, Solvers.search).statistics.relativeRMSE
      #expect(search <= absmax, "seed \(seed), tensor \(tensor)")
      if encoding.description == "int4-g32" { #expect(search < 0.9 * absmax, "seed \(seed), tensor \(tensor)") }
    }
  }

  @Test("scales are portable and a zero scale has zero codes", arguments: EncodingCase.all)
  func scales(test: EncodingCase) throws {
    let groupSize = test.encoding.groupSize
    for limit: Float in [0x1p-17, 0x1p-12, 1, 269_000] {
      // Beyond 2¹⁸ byte scales end.
      let below = test.encoding.codes?.scale == .byte ? min(limit, 0x1p18) : limit
      let x = Samples.anyBits(count: 64 * 128, below: below, seed: seed)
      let found = try encode(Samples.bf16(x), .bf16, test.encoding, test.solver)
      let groupByteCount = groupSize * test.encoding.codeBits / 8
      for (group, scale) in found.scales(test.encoding).enumerated() {
        #expect(scale == 0 || abs(scale) >= 0x1p-17 && abs(scale) <= 65280, "seed \(seed)")
        #expect(Float(Float16(scale)) == scale, "seed \(seed)")
        if ["absmax", "search-positive"].contains(test.solver.name) { #expect(scale >= 0, "seed \(seed)") }
        guard scale == 0 else { continue }
        let zero: UInt8 = test.encoding.codes?.code == .int4 ? 0x88 : 0
        #expect(found.codes[group * groupByteCount..<(group + 1) * groupByteCount].allSatisfy { $0 == zero })
      }
    }
  }

  @Test("what cannot be encoded is named by its element", arguments: EncodingCase.all)
  func refusals(test: EncodingCase) throws {
    let x = Samples.weights(count: 40 * 128, seed: seed)
    for kernels in KernelSet.available {
      for place in [0, 31, 500, 4095, 4096, 5119] {
        for dtype in [DType.bf16, .f16, .f32] {
          var changed = x
          changed[place] = .nan
          let found = failure(bytes(changed, dtype), dtype, test.encoding, test.solver, kernels)
          #expect(found == .notFinite(element: place))
        }
        for dtype in [DType.bf16, .f32] {
          var changed = x
          changed[place] = -0x1p100
          changed[x.count - 1 - place % 2] = .infinity
          let found = failure(bytes(changed, dtype), dtype, test.encoding, test.solver, kernels)
          let isLast = place / test.encoding.groupSize == (x.count - 1) / test.encoding.groupSize
          let expected =
            isLast ? QuantizationError.notFinite(element: x.count - 1 - place % 2) : .scaleTooLarge(element: place)
          #expect(found == expected)
        }
      }
    }
  }

  private func bytes(_ x: [Float], _ dtype: DType) -> [UInt8] {
    switch dtype {
    case .bf16: Samples.bf16(x)
    case .f16: Samples.f16(x)
    default: Samples.f32(x)
    }
  }

  @Test func otherTypesAndEncodingsAreRefused() throws {
    let int4 = try #require(Encoding(name: "int4-g32"))
    #expect(failure([UInt8](repeating: 0, count: 64), .i16, int4, Solvers.absmax, .best) == .unsupportedSource(.i16))
    #expect(failure([UInt8](repeating: 0, count: 64), .bf16, .bf16, Solvers.absmax, .best) == .unsupported(.bf16))
    #expect(Quantizer.firstNotFinite([0, 0x7F, 0x80, 0xFF].rawBytes, dtype: .bf16, kernels: .best) == 1)
    #expect(Quantizer.firstNotFinite([0, 0x7F, 0x80, 0xFF].rawBytes, dtype: .u16, kernels: .best) == nil)
  }

  @Test func plainEncodingsDecode() throws {
    let x = Samples.weights(count: 99, seed: seed)
    #expect(decode(Samples.f32(x), [], count: 99, .f32) == x)
    #expect(decode(Samples.f16(x), [], count: 99, .f16) == x)
    #expect(decode(Samples.bf16(x), [], count: 99, .bf16) == x)
  }

  @Test func nothingIsEncodedToNothing() throws {
    let int8 = try #require(Encoding(name: "int8-g32"))
    let found = try encode([], .bf16, int8, Solvers.search)
    #expect(found == Encoded(codes: [], scales: []))
    #expect(found.statistics.relativeRMSE == 0 && found.statistics.saturatedShare == 0)
  }
}
