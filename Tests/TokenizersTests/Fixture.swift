import JSON
import Tokenizers

/// A small tokenizer file in memory, to be changed one place at a time.
struct Fixture {
  static let lingPattern =
    #"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"#

  /// Tokens after the 256 bytes, each made by the merge with the same number.
  var merges: [(String, String)] = [("l", "l"), ("Ġ", "a"), ("a", "b"), ("ab", "c"), ("b", "c"), ("Ġ", "Ġ")]
  var addedTokens: [JSONValue] = [
    added("<|endoftext|>", 262), added("<|mask|>", 263), added("<|role_end|>", 264),
    added("<think>", 265, special: false),
  ]
  var normalizer: JSONValue = .null
  var preTokenizer: JSONValue = Self.split(lingPattern)
  var postProcessor: JSONValue = .null
  var decoder: JSONValue = ["type": "ByteLevel"]
  /// Members of `model` that are added or replaced.
  var model: [(String, JSONValue)] = []

  /// The letter of each byte, as GPT-2 lists them: visible ones first in the vocabulary's order.
  static let letters: [String] = {
    let visible = Array(UInt32(0x21)...0x7E) + Array(UInt32(0xA1)...0xAC) + Array(UInt32(0xAE)...0xFF)
    return (visible + Array(UInt32(0x100)...0x143)).compactMap { Unicode.Scalar($0).map { String($0) } }
  }()

  static func added(
    _ content: String, _ id: Int, special: Bool = true, normalized: Bool = false, lstrip: Bool = false,
    rstrip: Bool = false, singleWord: Bool = false
  ) -> JSONValue {
    [
      "id": .init(id), "content": .init(content), "special": .init(special), "normalized": .init(normalized),
      "lstrip": .init(lstrip), "rstrip": .init(rstrip), "single_word": .init(singleWord),
    ]
  }

  static func split(_ pattern: String, behavior: String = "Isolated", invert: Bool = false) -> JSONValue {
    [
      "type": "Sequence",
      "pretokenizers": [
        [
          "type": "Split", "pattern": ["Regex": .init(pattern)], "behavior": .init(behavior), "invert": .init(invert),
        ],
        ["type": "ByteLevel", "add_prefix_space": false, "use_regex": false],
      ],
    ]
  }

  var text: String {
    var vocabulary = JSONObject()
    for (id, token) in (Self.letters + merges.map { $0.0 + $0.1 }).enumerated() {
      vocabulary.append(.init(key: token, value: .init(id)))
    }
    var modelObject = JSONObject()
    for (key, value) in model { modelObject.append(.init(key: key, value: value)) }
    modelObject.append(.init(key: "type", value: "BPE"))
    modelObject.append(.init(key: "vocab", value: .object(vocabulary)))
    modelObject.append(.init(key: "merges", value: .array(merges.map { [.init($0.0), .init($0.1)] })))
    let file: JSONValue = [
      "version": "1.0", "added_tokens": .array(addedTokens), "normalizer": normalizer, "pre_tokenizer": preTokenizer,
      "post_processor": postProcessor, "decoder": decoder, "model": .object(modelObject),
    ]
    return file.text()
  }

  func tokenizer(
    config: JSONValue? = nil, others: [TokenizerError.File: String] = [:]
  ) throws(TokenizerError) -> Tokenizer {
    var others = others.mapValues { Array($0.utf8) }
    if let config { others[.config] = Array(config.text().utf8) }
    return try Tokenizer(tokenizerJSON: Array(text.utf8), others: others)
  }

  /// A fixture with something changed.
  static func with(_ change: (inout Fixture) -> Void) -> Fixture {
    var fixture = Fixture()
    change(&fixture)
    return fixture
  }
}
