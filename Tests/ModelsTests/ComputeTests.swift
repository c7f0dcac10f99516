import Kernels
import Models
import Quantization
import Storage
import Tensors
import TestSupport
import Testing

/// Which products round their activations to int8, and that they do it once.
@Suite struct ComputeTests {
  private static let tokens = 5, columns = 128

  /// 40 rows in two blocks, in bytes that are any codes and scales of about 2⁻⁷.
  private func matrix(_ encoding: String, seed: UInt64) throws -> Matrix {
    let encoding = try #require(Encoding(name: encoding))
    var random = SeededRandom(seed: seed)
    let blocks = [0..<24, 24..<40].map { rows in
      let codes = encoding.codeByteCount(elements: rows.count * Self.columns)
      let scales = encoding.scaleByteCount(elements: rows.count * Self.columns, columns: Self.columns)
      var bytes = (0..<codes).map { _ in UInt8(truncatingIfNeeded: random.next()) }
      if !encoding.isGrouped {
        bytes = (0..<codes / 2).flatMap { _ in elementBytes(random.normal() / 8, as: .bf16) }
      }
      for _ in 0..<scales / 2 { bytes += elementBytes(0x1p-7 * (1 + Float(random.next() % 64) / 64), as: .bf16) }
      return Matrix.Block(
        rows: rows, content: SharedBytes(TinyPack.buffer(bytes)), codes: 0..<codes, scales: codes..<codes + scales)
    }
    return Matrix(name: "m", encoding: encoding, shape: Shape(rows: 40, columns: Self.columns), blocks: blocks)
  }

  private var x: [Float] {
    var random = SeededRandom(seed: 9)
    return (0..<Self.tokens * Self.columns).map { _ in random.normal() }
  }

  @Test func onlyQuantizedMatricesAreConcerned() throws {
    let plain = try matrix("bf16", seed: 1)
    let coded = try ["int8-g32", "int8-g64", "int4-g64", "int4-g128"].map { try matrix($0, seed: 2) }
    let fp32 = Compute(threads: 2)
    let int8 = Compute(threads: 2, activations: .int8)
    #expect(fp32.activations == .fp32)

    #expect(int8.product(plain, x, tokens: Self.tokens) == fp32.product(plain, x, tokens: Self.tokens))
    #expect(int8.int8ProductCount == 0)
    for matrix in coded {
      let exact = fp32.product(matrix, x, tokens: Self.tokens)
      // Half a step of 127 to the largest of a group, in each activation: about 0.6 % of the result.
      let rounded = int8.product(matrix, x, tokens: Self.tokens)
      let drift = relativeDifference(rounded, exact.map(Double.init))
      #expect(drift > 0.0005 && drift < 0.02, "\(matrix.encoding) \(drift)")
      #expect(int8.product(inFP32: matrix, x, tokens: Self.tokens) == exact)
    }
    #expect(int8.int8ProductCount == coded.count && fp32.int8ProductCount == 0)
  }

  @Test func matricesThatShareTheirInputGiveWhatEachGivesAlone() throws {
    let matrices = try ["int4-g32", "int8-g32", "bf16", "int8-g128"].map { try matrix($0, seed: 3) }
    for activations in Activations.allCases {
      let compute = Compute(threads: 1, activations: activations)
      let alone = matrices.map { compute.product($0, x, tokens: Self.tokens) }
      #expect(compute.products(matrices, x, tokens: Self.tokens) == alone)
    }
  }

  @Test func int8ProductsAreTheSameWithAllKernels() throws {
    let matrix = try matrix("int4-g64", seed: 4)
    let results = KernelSet.available.map {
      Compute(kernels: $0, threads: 1, activations: .int8).product(matrix, x, tokens: Self.tokens)
    }
    #expect(results.allSatisfy { $0 == results[0] })
  }
}
