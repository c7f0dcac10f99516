import Inspection
import Models
import Pack
import Tensors
import TestSupport
import Testing

@Suite struct TensorStatisticsTests {
  @Test func byHand() {
    let found = TensorStatistics([1, 2, 3, 4], kernels: kernels)
    #expect((found.count, found.nonFiniteCount) == (4, 0))
    #expect((found.minimum, found.maximum) == (1, 4))
    #expect(found.mean == 2.5)
    #expect(found.standardDeviation == 1.25.squareRoot())
  }

  @Test func whatIsNotFiniteIsCountedAndLeftOut() {
    let found = TensorStatistics([.nan, 1, .infinity, 3, -.infinity], kernels: kernels)
    #expect((found.count, found.nonFiniteCount) == (5, 3))
    #expect((found.minimum, found.maximum, found.mean) == (1, 3, 2))
    #expect(TensorStatistics([.nan], kernels: kernels).mean == 0)
  }

  @Test func aLargeMeanDoesNotSwallowTheDeviation() {
    let values = (0..<1000).map { Float($0 % 2 == 0 ? 1e6 : 1e6 + 1) }
    #expect(TensorStatistics(values, kernels: kernels).standardDeviation == 0.5)
  }

  @Test func int4CodesAndScales() throws {
    try withTemporaryDirectory { directory in
      let path = directory + "/t.ingot"
      // Two groups of 32: codes -8 and 1 with scale 0.5, all 0 with scale 0.
      let codes = [UInt8](repeating: 0x90, count: 16) + [UInt8](repeating: 0x88, count: 16)
      let tensor = RawTensor(
        name: "w", shape: shape(1, 64), encoding: Encoding(name: "int4-g32")!, planes: [codes, bf16Bytes([0.5, 0])],
        errors: .init(relativeRMSE: 0.25, saturatedShare: 0.125))
      try writePack([tensor], to: path)
      let model = try InspectedModel(path: path)
      let found = try TensorStatistics(of: model.tensors[0], in: model, kernels: kernels)
      #expect((found.minimum, found.maximum) == (-4, 0.5))
      #expect(found.mean == -0.875)
      #expect(found.histogram.map(\.low) == Array(-8...7))
      #expect(found.histogram.map(\.count) == [16, 0, 0, 0, 0, 0, 0, 0, 32, 16, 0, 0, 0, 0, 0, 0])
      #expect(
        found.scales == .init(minimum: 0, maximum: 0.5, leastMagnitude: 0.5, count: 2, zeroCount: 1))
      #expect(model.tensors[0].relativeRMSE == 0.25)
      #expect(model.tensors[0].saturatedShare == 0.125)
    }
  }

  @Test func int8CodesComeInSixteenBars() throws {
    try withTemporaryDirectory { directory in
      let path = directory + "/t.ingot"
      let codes = (0..<32).map { UInt8(bitPattern: Int8($0 == 0 ? -127 : $0 == 1 ? 127 : 0)) }
      try writePack(
        [
          RawTensor(
            name: "w", shape: shape(32), encoding: Encoding(name: "int8-g32")!, planes: [codes, bf16Bytes([-1])])
        ],
        to: path)
      let model = try InspectedModel(path: path)
      let found = try TensorStatistics(of: model.tensors[0], in: model, kernels: kernels)
      #expect((found.minimum, found.maximum) == (-127, 127))
      #expect(found.histogram.map(\.low) == (0..<16).map { 16 * $0 - 128 })
      #expect(found.histogram.map(\.count) == [1, 0, 0, 0, 0, 0, 0, 0, 30, 0, 0, 0, 0, 0, 0, 1])
    }
  }

  /// Pieces end at multiples of 2¹⁸ elements and at chunks; neither shows.
  @Test func aTensorOfSeveralPiecesAndChunks() throws {
    try withTemporaryDirectory { directory in
      let (rows, columns) = (3000, 601)  // 7.2 MB as float32: two chunks of 4 MiB
      let values = (0..<rows * columns).map { Float($0 % 4096) }
      let path = directory + "/t.safetensors"
      try writeFloats([("w", shape(rows, columns), values)], to: path)
      let model = try InspectedModel(path: path)
      let found = try TensorStatistics(of: model.tensors[0], in: model, kernels: kernels)
      let expected = TensorStatistics(values, kernels: kernels)
      #expect(found.count == values.count)
      #expect(found.maximum == 4095)
      #expect(abs(found.mean - expected.mean) < 1e-9)
      #expect(abs(found.standardDeviation - expected.standardDeviation) < 1e-9)
    }
  }
}
