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

  @Test("a document beyond its limits is refused, with the size and the limit")
  func limits() throws {
    let limits = JSONLimits(byteCount: 40, valueCount: 5)
    func parse(_ text: String) throws(JSONError) -> JSONValue {
      let bytes = Array(text.utf8)
      return try unsafe JSONParser.parse(bytes.span.bytes, limits)
    }
    #expect(try parse("[1,[2,3]]") == [1, [2, 3]])
    let many = #expect(throws: JSONError.self) { try parse("[1,[2,3,4]]") }
    #expect(many?.reason == "there are more than 5 values" && many?.byteOffset == 8)
    let long = #expect(throws: JSONError.self) { try parse(String(repeating: " ", count: 40) + "1") }
    #expect(long?.reason == "the document has 41 B, the limit is 40 B")
  }

  @Test("pieces are read one by one, each within the limits, until no more are wanted")
  func pieces() throws {
    let limits = JSONLimits(byteCount: 100, valueCount: 3)
    let array = Array("[[1,2],[3,4],5, 6]".utf8)
    var seen: [(JSONValue, Int)] = []
    #expect(
      try unsafe JSONParser.parse(elementsOf: array.span.bytes, limits) { value, start in
        seen.append((value, start))
        return true
      })
    #expect(seen.map(\.0) == [[1, 2], [3, 4], 5, 6] && seen.map(\.1) == [1, 7, 13, 16])
    #expect(throws: JSONError.self) {
      let tooMany = Array("[[1,2,3]]".utf8)
      return try unsafe JSONParser.parse(elementsOf: tooMany.span.bytes, limits) { _, _ in true }
    }
    var keys: [String] = []
    let object = Array(#" {"a":1,"b":[2,3],"c":?"#.utf8)
    #expect(
      try unsafe JSONParser.parse(membersOf: object.span.bytes, limits) { member in
        keys.append(member.key)
        return keys.count < 2
      })
    #expect(keys == ["a", "b"])
    #expect(try unsafe !JSONParser.parse(membersOf: array.span.bytes, limits) { _ in true })
    #expect(throws: JSONError.self) {
      let rest = Array("[1] 2".utf8)
      return try unsafe JSONParser.parse(elementsOf: rest.span.bytes, limits) { _, _ in true }
    }
  }

  @Test("what nobody sees is spelled where it is printed, and read back; a file keeps it")
  func hidden() throws {
    let text = "a\u{85}\u{9B}\u{202E}\u{2066}\u{200B}\u{200D}\u{2028}\u{FEFF}\u{E0041}\u{7F}é\u{2764}\u{FE0F}"
    let value: JSONValue = [.string(text), .object(object(text))]
    let kept = value.text(indented: false)
    #expect(kept.contains("\u{202E}\u{2066}") && kept.contains(#"\u007f"#))
    let spelled = value.text(indented: false, hidden: .spelled)
    #expect(
      spelled.hasPrefix(
        #"["a\u0085\u009b\u202e\u2066\u200b\u200d\u2028\ufeff\udb40\udc41\u007fé"# + "\u{2764}\u{FE0F}\""))
    #expect(try JSONParser.parse(spelled) == value && JSONParser.parse(kept) == value)
  }

  private func object(_ key: String) -> JSONObject {
    var object = JSONObject()
    object.append(.init(key: key, value: 1))
    return object
  }

  @Test("a document written in pieces has the bytes of the tree")
  func streamed() throws {
    let elements = (0..<5000).map { number -> JSONValue in ["name": .string("tensor \(number)"), "shape": [1, 2]] }
    var tree = JSONObject()
    tree.append(.init(key: "schema", value: "x"))
    tree.append(.init(key: "none", value: []))
    tree.append(.init(key: "tensors", value: .array(elements)))
    tree.append(.init(key: "end", value: .null))
    let document = JSONDocument([
      ("schema", .value("x")), ("none", .elements(count: 0) { _ in .null }),
      ("tensors", .elements(count: 5000) { elements[$0] }), ("end", .value(.null)),
    ])
    var pieces: [String] = []
    JSONWriter.write(document, .spelled) { pieces.append($0) }
    #expect(pieces.joined() == JSONValue.object(tree).text(hidden: .spelled))
    #expect(pieces.count > 3 && pieces.allSatisfy { $0.utf8.count < 70_000 })
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
