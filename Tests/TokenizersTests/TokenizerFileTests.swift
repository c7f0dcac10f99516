import JSON
import Testing
import Tokenizers

/// What a tokenizer file may say that is refused, one place at a time.
@Suite struct TokenizerFileTests {
  private func error(_ change: (inout Fixture) -> Void) -> TokenizerError? {
    let fixture = Fixture.with(change)
    return #expect(throws: TokenizerError.self) { try fixture.tokenizer() }
  }

  private func unsupported(_ what: String, _ change: (inout Fixture) -> Void) {
    guard case .unsupported(let place, let found) = error(change) else {
      Issue.record("\(what) was not refused by name")
      return
    }
    #expect(found == what)
    #expect(place.byteOffset > 0)
  }

  @Test func otherPipelinesAreRefusedByName() {
    unsupported("normalizer `Lowercase`") { $0.normalizer = ["type": "Lowercase"] }
    unsupported("normalizer `NFKC`") {
      $0.normalizer = ["type": "Sequence", "normalizers": [["type": "NFC"], ["type": "NFKC"]]]
    }
    unsupported("pre-tokenizer `Metaspace`") { $0.preTokenizer = ["type": "Metaspace"] }
    unsupported("a pre-tokenizer without `ByteLevel`") { $0.preTokenizer = ["type": "Sequence", "pretokenizers": []] }
    unsupported("`add_prefix_space` of pre-tokenizer `ByteLevel`") {
      $0.preTokenizer = ["type": "ByteLevel", "add_prefix_space": true]
    }
    unsupported("pre-tokenizer `ByteLevel` after `ByteLevel`") {
      $0.preTokenizer = ["type": "Sequence", "pretokenizers": [["type": "ByteLevel"], ["type": "ByteLevel"]]]
    }
    unsupported("split behavior `Contiguous`") { $0.preTokenizer = Fixture.split("a", behavior: "Contiguous") }
    unsupported("post-processor `BertProcessing`") { $0.postProcessor = ["type": "BertProcessing"] }
    unsupported("post-processor `TemplateProcessing` that adds tokens") {
      $0.postProcessor = [
        "type": "TemplateProcessing", "single": [["SpecialToken": ["id": "<s>"]], ["Sequence": ["id": "A"]]],
      ]
    }
    unsupported("decoder `WordPiece`") { $0.decoder = ["type": "WordPiece"] }
    unsupported("model `Unigram`") { $0.model = [("type", "Unigram")] }
    unsupported("`dropout`") { $0.model = [("dropout", .init(0.1))] }
    unsupported("`end_of_word_suffix`") { $0.model = [("end_of_word_suffix", "</w>")] }
  }

  @Test func harmlessStepsAreAccepted() throws {
    let fixture = Fixture.with {
      $0.normalizer = ["type": "Sequence", "normalizers": []]
      $0.postProcessor = [
        "type": "Sequence",
        "processors": [
          ["type": "ByteLevel"], ["type": "TemplateProcessing", "single": [["Sequence": ["id": "A", "type_id": 0]]]],
        ],
      ]
      $0.decoder = ["type": "Sequence", "decoders": [["type": "ByteLevel"]]]
      $0.model = [("dropout", .null), ("unk_token", .null), ("end_of_word_suffix", "")]
    }
    #expect(try fixture.tokenizer().encode("abc").count == 1)
  }

  @Test func patternsAreRefusedWithTheirPlace() {
    let error = error { $0.preTokenizer = Fixture.split("a(?<=b)") }
    guard case .pattern(let place, "a(?<=b)", 1, _) = error else {
      Issue.record("\(String(describing: error))")
      return
    }
    #expect(place.path == "pre_tokenizer.pretokenizers[0].pattern.Regex")
  }

  @Test func damagedVocabulariesAreRefused() {
    func check(_ change: (inout Fixture) -> Void, _ isExpected: (TokenizerError) -> Bool) {
      guard let error = error(change) else { return }
      #expect(isExpected(error), "\(error)")
    }
    func isMerge(_ index: Int) -> (TokenizerError) -> Bool {
      { if case .merge(_, index, _) = $0 { true } else { false } }
    }
    check({ $0.model = [("merges", [["a", "zz"]])] }, isMerge(0))
    check({ $0.model = [("merges", [["x", "y"]])] }, isMerge(0))
    check({ $0.model = [("merges", ["l l", "l  l"])] }, isMerge(1))
    check({ $0.model = [("merges", [["l"]])] }, isMerge(0))
    check({ $0.model = [("merges", [:])] }) {
      if case .wrongKind(_, "an array", "an object") = $0 { true } else { false }
    }
    check({ $0.model = [("vocab", ["a": 0])] }) { if case .missingByte(_, 0) = $0 { true } else { false } }
    check({ $0.model = [("vocab", ["a": 0, "b": 0])] }) {
      if case .repeatedID(_, 0, "a", "b") = $0 { true } else { false }
    }
    check({ $0.model = [("vocab", ["a": -1])] }) { if case .idOutOfRange(_, "a", -1) = $0 { true } else { false } }
    check({ $0.model = [("vocab", ["a": 1_000_000_000_000])] }) { if case .idOutOfRange = $0 { true } else { false } }
    check({ $0.model = [("vocab", ["a": "1"])] }) {
      if case .wrongKind(_, "an integer", "a string") = $0 { true } else { false }
    }
  }

  @Test func addedTokensThatContradictAreRefused() {
    func isAdded(_ content: String) -> (TokenizerError?) -> Bool {
      { if case .addedToken(_, content, _) = $0 { true } else { false } }
    }
    #expect(isAdded("a")(error { $0.addedTokens = [Fixture.added("a", 300)] }))
    #expect(isAdded("")(error { $0.addedTokens = [Fixture.added("", 300)] }))
    #expect(isAdded("<x>")(error { $0.addedTokens = [Fixture.added("<x>", 300), Fixture.added("<x>", 300)] }))
    guard case .repeatedID(_, 5, _, "<x>") = error({ $0.addedTokens = [Fixture.added("<x>", 5)] }) else {
      Issue.record("an id that a token of the vocabulary has")
      return
    }
  }

  @Test func filesCutShortAreRefused() {
    let bytes = Array(Fixture().text.utf8)
    for count in stride(from: 0, to: bytes.count - 1, by: 97) {
      let cut = Array(bytes[..<count])
      #expect(throws: TokenizerError.self) { try Tokenizer(tokenizerJSON: cut) }
    }
  }

  @Test("what is missing is named", arguments: ["model", "pre_tokenizer", "decoder"])
  func missing(key: String) throws {
    let whole = try JSONParser.parse(Fixture().text).object?.members ?? []
    var object = JSONObject()
    for member in whole where member.key != key { object.append(member) }
    let bytes = Array(JSONValue.object(object).text().utf8)
    let error = #expect(throws: TokenizerError.self) { try Tokenizer(tokenizerJSON: bytes) }
    guard case .missing(let place) = error else {
      Issue.record("\(String(describing: error))")
      return
    }
    #expect(place.path == key)
  }

  @Test func configsThatContradictAreRefused() throws {
    func error(_ config: JSONValue) -> TokenizerError? {
      #expect(throws: TokenizerError.self) { try Fixture().tokenizer(config: config) }
    }
    guard case .unknownSpecialToken(let place, "<m>") = error(["mask_token": "<m>"]) else {
      Issue.record("a mask token outside the vocabulary")
      return
    }
    #expect(place.file == .config && place.path == "mask_token" && place.byteOffset == 4)
    #expect(error(["mask_token": 3]) != nil)
    #expect(error(["added_tokens_decoder": ["7": ["content": "<|mask|>"]]]) != nil)
    #expect(error(["added_tokens_decoder": ["x": ["content": "<x>"]]]) != nil)
    let message = error(["eos_token": "<m>"])?.description
    #expect(message == "`eos_token` is `<m>`, which is not in the vocabulary\n  in `tokenizer_config.json`, byte 4")
  }
}
