import JSON
import Testing

/// The first place where two documents are not the same.
@Suite struct DifferenceTests {
  @Test(
    "the place and both values",
    arguments: [
      (#"{"a": 1}"#, #"{"a": 2}"#, "a", "1", "2"),
      (#"{"a": {"b": [1, {"c": 2}]}}"#, #"{"a": {"b": [1, {"c": 3}]}}"#, "a.b[1].c", "2", "3"),
      (#"{"a": [1, 2]}"#, #"{"a": [1]}"#, "a", "[1,2]", "[1]"),
      (#"{"a": [[1], [2]]}"#, #"{"a": [[1], [3]]}"#, "a[1][0]", "2", "3"),
      (#"{"a": 1, "b": 2}"#, #"{"a": 1}"#, "b", "2", "null"), (#"{"a": 1}"#, #"{"a": 1, "b": 2}"#, "b", "null", "2"),
      (#"{"a": {}}"#, #"{"a": []}"#, "a", "{}", "[]"), ("1", "2", "", "1", "2"),
    ])
  func found(first: String, second: String, path: String, own: String, other: String) throws {
    let found = try #require(try JSONParser.parse(first).difference(to: try JSONParser.parse(second)))
    #expect(found.path == path)
    #expect(found.own.text(indented: false) == own && found.other.text(indented: false) == other)
  }

  @Test("none", arguments: [#"{"a": [1, {"b": null}]}"#, "[]", "null", #"{"b": 1, "a": 2}"#])
  func same(text: String) throws {
    #expect(try JSONParser.parse(text).difference(to: try JSONParser.parse(text)) == nil)
  }
}
