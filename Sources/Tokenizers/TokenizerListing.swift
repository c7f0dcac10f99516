import JSON

/// A tokenizer as lists, for formats that hold one so.
package struct TokenizerListing: Sendable {
  package enum Kind: Sendable {
    /// Of the vocabulary, each byte a letter.
    case normal
    /// Special: left out of text that is shown.
    case control
    /// Found in text as it is, and part of it.
    case added
  }

  package struct Token: Sendable {
    package let text: String
    package let kind: Kind
  }

  /// By id; nil for ids that are skipped.
  package let tokens: [Token?]
  /// Pairs with a space between them, the first to be joined first.
  package let merges: [String]
  /// The regular expression that cuts text into pieces; nil where there is another number of them than one.
  package let pattern: String?
  package let beginID: Int?
  package let endID: Int?
  package let padID: Int?
  package let maskID: Int?

  /// Reads what ``Tokenizer/init(tokenizerJSON:others:)`` does; what that refuses is refused here.
  package init(tokenizerJSON: [UInt8], others: [TokenizerError.File: [UInt8]]) throws(TokenizerError) {
    let tokenizer = try Tokenizer(tokenizerJSON: tokenizerJSON, others: others)
    let file = try Field.document(tokenizerJSON, .tokenizer)
    let settings = try Tokenizer.Settings(others)
    let model = try file.required("model")
    var vocabulary = try Vocabulary(try model.required("vocab"))
    let added = try Tokenizer.addedTokens(file, settings, &vocabulary)
    var kinds: [Int: Kind] = [:]
    for token in added { kinds[token.id] = token.isSpecial ? .control : .added }
    tokens = vocabulary.tokens.enumerated().map { id, text in
      text.map { Token(text: $0, kind: kinds[id] ?? .normal) }
    }
    merges = try model.required("merges").elements().compactMap { element in
      BytePairEncoding.pair(element.value).map { "\($0.0) \($0.1)" }
    }
    pattern = try Self.pattern(try file.required("pre_tokenizer"))
    beginID = try settings.id("bos_token", vocabulary)
    endID = tokenizer.eosID
    padID = tokenizer.padID
    maskID = tokenizer.maskID
  }

  private static func pattern(_ field: Field) throws(TokenizerError) -> String? {
    switch try field.type() {
    case "Split": return try field.required("pattern").optional("Regex")?.string()
    case "Sequence":
      var found: [String] = []
      for element in try field.required("pretokenizers").elements() {
        if let pattern = try pattern(element) { found.append(pattern) }
      }
      return found.count == 1 ? found[0] : nil
    default: return nil
    }
  }
}
