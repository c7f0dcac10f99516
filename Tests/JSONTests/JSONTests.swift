import JSON
import Testing

@Suite struct JSONTests {
  @Test func documentsRoundTrip() throws {
    let text = #"{"a":[1,-2.5e-3,true,null],"b":{"c":"q\"\\\n\u0001é😀"},"d":[],"e":{}}"#
    let value = try JSONParser.parse(text)
    #expect(try JSONParser.parse(value.text(indented: false)) == value)
    #expect(try JSONParser.parse(value.text()) == value)
    #expect(value.object?["a"]?.array?[1].double == -0.0025)
    #expect(value.object?["b"]?.object?["c"]?.string == "q\"\\\n\u{1}é😀")
    #expect(value.object?.member("b")?.byteOffset == 27)
  }

  @Test func surrogatePairsAreJoined() throws {
    #expect(try JSONParser.parse(#""\ud83d\ude00""#).string == "😀")
  }

  @Test func integersAreNotFloats() throws {
    #expect(try JSONParser.parse("1e3").int == nil)
    #expect(try JSONParser.parse("1.0").int == nil)
    #expect(try JSONParser.parse("-17").int == -17)
    #expect(try JSONParser.parse("99999999999999999999").int == nil)
  }

  @Test(
    "malformed documents are refused where they break",
    arguments: [
      ("", 0), ("{", 1), ("[1,]", 3), ("{\"a\":1,\"a\":2}", 7), ("01", 1), ("1.", 2), ("-", 1), ("nul", 3),
      ("\"a", 0), ("\"\\x\"", 1), ("\"\\ud800\"", 1), ("\"\\ud800\\u0041\"", 1), ("\"\u{1}\"", 1), ("{} {}", 3),
      ("{a:1}", 1),
      ("[1 2]", 3), ("\"\\u12g4\"", 5), ("{\"a\" 1}", 5), ("+1", 0), ("NaN", 0),
    ])
  func malformed(text: String, byteOffset: Int) {
    let error = #expect(throws: JSONError.self) { try JSONParser.parse(text) }
    #expect(error?.byteOffset == byteOffset)
  }

  @Test func deepNestingIsRefusedNotFollowed() {
    let deep = String(repeating: "[", count: 100_000)
    #expect(throws: JSONError.self) { try JSONParser.parse(deep) }
  }

  @Test func invalidUTF8IsRefused() {
    let bytes: [UInt8] = [0x22, 0x61, 0xFF, 0x22]
    #expect(throws: JSONError.self) { try unsafe JSONParser.parse(bytes.span.bytes) }
  }

  @Test func keysDifferByBytesNotByAppearance() throws {
    let value = try JSONParser.parse("{\"\u{E9}\":1,\"e\u{301}\":2}")
    #expect(value.object?.members.count == 2)
    #expect(value.object?["e\u{301}"]?.int == 2)
  }

  @Test("repeated keys are found in small and large objects", arguments: [1, 2, 7, 8, 9, 10, 300])
  func repeatedKeys(count: Int) throws {
    var object = JSONObject()
    for number in 0..<count { object.append(.init(key: "k\(number)", value: .init(number))) }
    #expect(object.members.count == count)
    for number in 0..<count {
      object.append(.init(key: "k\(number)", value: .null))
      #expect(object["k\(number)"]?.int == number)
    }
    #expect(object["k"] == nil && object.members.count == count)
  }
}
