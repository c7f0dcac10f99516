import Kernels
import Quantization
import TestSupport
import Tensors
import Testing

/// Kernels against the definitions in plain Swift.
@Suite struct SchemeTests {
  private func agrees(_ x: [Float], _ test: EncodingCase, _ kernels: KernelSet) throws -> Bool {
    let scheme = try #require(SchemeRegistry.scheme(of: test.encoding))
    let bytes = Samples.f32(x)
    let expected: EncodedGroups
    do {
      expected = try scheme.encode(x, groupSize: test.encoding.groupSize, solver: test.solver)
    } catch {
      return failure(bytes, .f32, test.encoding, test.solver, kernels) == error
    }
    let found = try encode(bytes, .f32, test.encoding, test.solver, kernels)
    let y = scheme.decode(codes: expected.codes, scales: expected.scales, groupSize: test.encoding.groupSize)
    let decoded = try decode(found.codes, found.scales, count: x.count, test.encoding, kernels)
    return decoded == y && found.codes == expected.codes && found.scaleBits == expected.scales
      && found.statistics == expected.statistics
  }

  @Test("kernels compute what the scheme defines", arguments: EncodingCase.all)
  func definition(test: EncodingCase) throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    let groupSize = test.encoding.groupSize
    for kernels in KernelSet.available {
      #expect(try agrees(Samples.weights(count: 37 * groupSize, seed: seed), test, kernels), "\(kernels), seed \(seed)")
      let any = Samples.anyBits(count: 32 * groupSize, below: 269_000, seed: seed)
      #expect(try agrees(any, test, kernels), "\(kernels), any bits, seed \(seed)")
    }
  }

  @Test("and at the edges of the definition", arguments: EncodingCase.all)
  func edges(test: EncodingCase) throws {
    for group in Samples.edgeGroups(size: test.encoding.groupSize) {
      for kernels in KernelSet.available { #expect(try agrees(group, test, kernels), "\(kernels) \(group)") }
    }
  }

  @Test("the registry knows every grouped encoding", arguments: Encoding.all)
  func registry(encoding: Encoding) {
    #expect((SchemeRegistry.scheme(of: encoding) != nil) == encoding.isGrouped)
  }

  @Test("bytes of a run read back, in the order of the specification")
  func runs() {
    let codes = (0..<32).map { $0 % 16 - 8 }
    #expect(Int4Group.codes(ofRun: Int4Group.bytes(ofRun: codes)[...]) == codes)
    #expect(
      Int4Group.bytes(ofRun: [-8] + [Int](repeating: 0, count: 15) + [7] + [Int](repeating: 0, count: 15))[0] == 0xF0)
    #expect(Int8Group.codes(ofRun: Int8Group.bytes(ofRun: codes)[...]) == codes)
    #expect(Int8Group.bytes(ofRun: [-127, 127]) == [0x81, 0x7F])
  }
}
