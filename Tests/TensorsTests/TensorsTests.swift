import Tensors
import Testing

@Suite struct EncodingTests {
  @Test("names and ids read back", arguments: Encoding.all)
  func namesReadBack(encoding: Encoding) {
    #expect(Encoding(name: encoding.description) == encoding)
    #expect(Encoding(kind: encoding.kind, groupSize: encoding.groupSize) == encoding)
  }

  @Test func sizesAreThoseOfTheSpecification() throws {
    let int4 = try #require(Encoding(name: "int4-g64"))
    #expect(int4.codeByteCount(elements: 2048) == 1024)
    #expect(int4.scaleByteCount(elements: 2048, columns: 2048) == 64)
    #expect(int4.bitsPerWeight == 4.25)
    let int8 = try #require(Encoding(name: "W8A16"))
    #expect(int8.description == "int8-g128")
    #expect(int8.bitsPerWeight == 8.125)
    #expect(Encoding.f32.codeByteCount(elements: 3) == 12)
    #expect(Encoding.bf16.codeByteCount(elements: 3) == 6)
  }

  @Test func unknownGroupSizesAreRefused() {
    #expect(Encoding(kind: .int4, groupSize: 48) == nil)
    #expect(Encoding(kind: .bf16, groupSize: 32) == nil)
    #expect(Encoding(name: "int4") == nil)
  }
}

@Suite struct ShapeTests {
  @Test func productsThatOverflowAreRefused() {
    #expect(Shape([Int.max, 2]) == nil)
    #expect(Shape([-1]) == nil)
    #expect(Shape([3, 4, 5])?.rows == 12)
    #expect(Shape([7])?.rows == 1)
    #expect(Shape([])?.elementCount == 1)
  }
}

@Suite struct BFloat16Tests {
  @Test func narrowingRoundsHalfToEven() {
    #expect(BFloat16.narrow(Float(bitPattern: 0x3F80_8000)) == 0x3F80)
    #expect(BFloat16.narrow(Float(bitPattern: 0x3F81_8000)) == 0x3F82)
    #expect(BFloat16.narrow(Float(bitPattern: 0x3F80_8001)) == 0x3F81)
    #expect(BFloat16.widen(BFloat16.narrow(.nan)).isNaN)
    #expect(BFloat16.narrow(.greatestFiniteMagnitude) == 0x7F80)
  }

  @Test func everyBFloat16SurvivesARoundTrip() {
    for bits in UInt16.min...UInt16.max where !BFloat16.widen(bits).isNaN {
      #expect(BFloat16.narrow(BFloat16.widen(bits)) == bits)
    }
  }
}
