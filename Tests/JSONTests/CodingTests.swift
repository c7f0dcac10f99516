import JSON
import TestSupport
import Testing

/// Types as documents and back.
@Suite struct CodingTests {
  private struct Inner: Codable, Equatable {
    var relativeRMSE: Double
    var ci95: ClosedRange<Double>?
  }

  private struct Outer: Codable, Equatable {
    var top1Agreement: Inner?
    var isThere: Bool
    var name: String?
    var threshold: Float
    var seed: UInt64
    var byLayer: [Inner]
    var p999: Int?
    var firstKDenseReplace: Int
  }

  private let value = Outer(
    top1Agreement: Inner(relativeRMSE: 0.1, ci95: 0.5...1), isThere: true, name: nil, threshold: 0.95, seed: .max,
    byLayer: [Inner(relativeRMSE: 1, ci95: nil)], p999: 3, firstKDenseReplace: 1)
  private let text =
    #"{"top1_agreement":{"relative_rmse":0.1,"ci95":[0.5,1.0]},"is_there":true,"name":null,"threshold":0.95,"#
    + #""seed":18446744073709551615,"by_layer":[{"relative_rmse":1.0,"ci95":null}],"p999":3,"first_k_dense_replace":1}"#

  @Test func everyPropertyIsAKey() throws {
    #expect(JSONValue(encoding: value).text(indented: false) == text)
    #expect(try JSONParser.parse(text).decoded(as: Outer.self) == value)
    #expect(JSONValue(encoding: [1, 2]) == [1, 2])
    #expect(JSONValue(encoding: Int?.none) == .null)
  }

  @Test(
    "what is not of the type is named by its path",
    arguments: [
      (#""threshold":0.95"#, #""threshold":"0.95""#, "`threshold` is a string, not a finite number"),
      (#""threshold":0.95,"#, "", "`threshold` is missing"),
      (#""p999":3"#, #""p999":3.5"#, "`p999` is a number, not a whole number"),
      (#""is_there":true"#, #""is_there":null"#, "`is_there` is null, not true or false"),
      (#"[0.5,1.0]"#, "[1.5,1.0]", "`top1_agreement.ci95` does not make sense"),
      (#"[0.5,1.0]"#, "[1.5]", "`top1_agreement.ci95` has 1 elements, which are too few"),
      (#"[0.5,1.0]"#, "[0.5,1e999]", "`top1_agreement.ci95[1]` is a number, not a finite number"),
      (
        #"[{"relative_rmse":1.0"#, #"[{"relative_rmse":[]"#,
        "`by_layer[0].relative_rmse` is an array, not a finite number"
      ),
      ("18446744073709551615", "18446744073709551616", "`seed` is a number, not a whole number from 0"),
    ])
  func errors(part: String, other: String, message: String) throws {
    let document = try JSONParser.parse(text.replacing(part, with: other))
    let error = #expect(throws: JSONTypeError.self) { try document.decoded(as: Outer.self) }
    #expect(error?.description == message)
  }

  @Test func leniencyLeavesOutWhatMayBeMissing() throws {
    let broken = text.replacing("[0.5,1.0]", with: "7").replacing(#""name":null"#, with: #""name":4"#)
    var found: [String] = []
    let outer = try JSONParser.parse(broken).decoded(as: Outer.self) { found.append($0.path) }
    #expect(found == ["top1_agreement.ci95", "name"])
    #expect(outer.top1Agreement?.relativeRMSE == 0.1 && outer.top1Agreement?.ci95 == nil && outer.name == nil)
    // What may not be missing is an error all the same.
    #expect(throws: JSONTypeError.self) {
      try JSONParser.parse(text.replacing("true", with: "1")).decoded(as: Outer.self) { _ in }
    }
  }
}
