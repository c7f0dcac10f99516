import JSON
import TestSupport
import Testing
import Tokenizers

/// Beside the package, or one folder up where the package is a work tree.
private let shared = ["../shared", "../../shared"].first { exists("\($0)/goldens") } ?? "../shared"

/// The ids and the text that the original tokenizer gave, for the test checkpoints.
@Suite(.enabled(if: exists("\(shared)/goldens"))) struct TokenizerGoldenTests {
  @Test("the test checkpoints' tokenizers agree with the recorded ids", arguments: ["pico", "nano"])
  func goldens(model: String) throws {
    let tokenizer = try Tokenizer(
      tokenizerJSON: contents(of: "\(shared)/checkpoints/\(model)/tokenizer.json"),
      configJSON: contents(of: "\(shared)/checkpoints/\(model)/tokenizer_config.json"))
    let text = String(decoding: try contents(of: "\(shared)/goldens/\(model)/tokenizer.json"), as: UTF8.self)
    let cases = try JSONParser.parse(text).array ?? []
    #expect(cases.count >= 14)
    for value in cases {
      let text = try #require(value.object?["text"]?.string)
      let ids = try #require(value.object?["ids"]?.array?.compactMap { $0.int })
      let decoded = try #require(value.object?["decoded"]?.string)
      #expect(tokenizer.encode(text) == ids)
      #expect(try tokenizer.decode(ids).utf8.elementsEqual(decoded.utf8))
    }
    #expect(tokenizer.chatTemplate.templateIsKnown)
    #expect(try tokenizer.requireMaskID() == tokenizer.id(of: "<|mask|>"))
  }
}
