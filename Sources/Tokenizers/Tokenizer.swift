import Templates

/// Text to token ids and back, as the byte-level BPE tokenizers in the `tokenizers` format define it.
///
/// Everything is read from its files and fixed afterwards, so one tokenizer serves any number of threads. What
/// would be encoded differently from the library that wrote the file is refused by name when it is read. Settings that
/// belong to single calls, `truncation` and `padding`, are not read; neither is `clean_up_tokenization_spaces`, which
/// would change decoded text.
package final class Tokenizer: Sendable {
  private let vocabulary: Vocabulary
  private let model: BytePairEncoding
  private let normalizer: Normalizer
  private let preTokenizer: PreTokenizer
  private let rawFinder: AddedTokenFinder
  private let normalizedFinder: AddedTokenFinder
  private let specialIDs: Set<Int>
  /// Bytes of the longest token, or more: a byte may take several in the vocabulary's spelling.
  private let longestToken: Int

  /// The token that stands for positions not yet decoded: `mask_token` of the config, otherwise `<|mask|>` or SDAR's `<|MASK|>`.
  package let maskID: Int?
  /// The end of the text: `eos_token` of the config, otherwise `<|endoftext|>`.
  package let eosID: Int?
  /// Filler: `pad_token` of the config, otherwise the end of the text.
  package let padID: Int?
  /// The end of a turn, `<|role_end|>`.
  package let roleEndID: Int?
  /// How a conversation becomes a prompt.
  package let chatTemplate: ChatTemplate

  /// What the files say that has no effect here.
  package let notes: [Note]

  /// Reads `tokenizer.json` and those of the other files that are there.
  ///
  /// - Throws: the cases of ``TokenizerError`` that have a place.
  package init(tokenizerJSON: [UInt8], others: [TokenizerError.File: [UInt8]] = [:]) throws(TokenizerError) {
    let file = try Field.document(tokenizerJSON, .tokenizer)
    let settings = try Settings(others)
    let modelField = try file.required("model")
    if let type = try modelField.optional("type"), try type.string() != "BPE" {
      throw type.unsupported("model `\(try type.string())`")
    }
    var vocabulary = try Vocabulary(try modelField.required("vocab"))
    model = try BytePairEncoding(modelField, vocabulary)
    normalizer = try Normalizer(try file.optional("normalizer"))
    preTokenizer = try PreTokenizer(try file.required("pre_tokenizer"))
    try Self.checkPostProcessor(try file.optional("post_processor"))
    try Self.checkDecoder(try file.required("decoder"))

    let added = try Self.addedTokens(file, settings, &vocabulary)
    (rawFinder, normalizedFinder) = Self.finders(added, normalizer)
    specialIDs = Set(added.filter(\.isSpecial).map(\.id))
    longestToken = vocabulary.tokens.reduce(1) { max($0, $1?.utf8.count ?? 0) }

    let eos = try settings.id("eos_token", vocabulary) ?? vocabulary.id(of: "<|endoftext|>")
    eosID = eos
    padID = try settings.id("pad_token", vocabulary) ?? eos
    maskID = try settings.id("mask_token", vocabulary) ?? vocabulary.id(of: "<|mask|>") ?? vocabulary.id(of: "<|MASK|>")
    roleEndID = vocabulary.id(of: "<|role_end|>")
    chatTemplate = ChatTemplate(others, settings.config, specialTokens: try settings.variables())
    notes = try settings.notes(vocabulary)
    self.vocabulary = vocabulary
  }

  /// One more than the highest id. Embeddings may have more rows; these stand for no token.
  package var vocabularyCount: Int { vocabulary.count }

  /// Tokens that a text of so many bytes has at least: what tells that it is too long before it is encoded, which takes fifty
  /// times its room.
  package func leastTokenCount(ofByteCount byteCount: Int) -> Int {
    guard !preTokenizer.drops, !rawFinder.strips, !normalizedFinder.strips else { return 0 }
    // Composing makes one of three letters of Hangul, and shortens nothing by more.
    let composed = if case .nfc = normalizer { byteCount / 3 } else { byteCount }
    return composed / longestToken
  }

  /// The token with this id as the vocabulary spells it, each byte a letter: `Ġthe` for " the". Nil for ids without one.
  package func token(_ id: Int) -> String? { vocabulary.token(id) }

  /// The id of a token in the spelling of the vocabulary.
  package func id(of token: String) -> Int? { vocabulary.id(of: token) }

  /// What a special token is called, `<|endoftext|>`; nil for others.
  package func specialName(of id: Int) -> String? { specialIDs.contains(id) ? vocabulary.token(id) : nil }

  /// The ids of a text. Nothing is added at its ends.
  ///
  /// - Parameter findingSpecial: whether `<|mask|>` and the like in the text become special tokens, as in a prompt; set
  ///   it to false for text from strangers, where they are then encoded letter by letter.
  /// - Throws: ``TokenizerError/slowPattern(_:)``, as every encoding may.
  package func encode(_ text: String, findingSpecial: Bool = true) throws(TokenizerError) -> [Int] {
    try encode(validUTF8: Array(text.utf8), SpecialPlaces(isAnywhere: findingSpecial))
  }

  /// The ids of a conversation's prompt. Special tokens come from the template alone: what looks like one in a message is
  /// encoded letter by letter, so that nobody can end a turn or speak for another role. All else is as in ``encode(_:findingSpecial:)``
  /// of the whole prompt: where parts meet, pieces and merges go across.
  package func encode(
    conversation messages: [ChatTemplate.Message], _ options: ChatTemplate.Options = .init()
  ) throws(TokenizerError) -> [Int] {
    let prompt = try chatTemplate.prompt(for: messages, options)
    return try encode(validUTF8: prompt.bytes, SpecialPlaces(isAnywhere: true, contents: prompt.contents))
  }

  /// The ids of a text in UTF-8.
  ///
  /// - Throws: ``TokenizerError/invalidUTF8(byteOffset:)`` with the first byte that is not part of UTF-8.
  package func encode(utf8 bytes: [UInt8], findingSpecial: Bool = true) throws(TokenizerError) -> [Int] {
    if let byteOffset = firstInvalidByte(bytes) { throw .invalidUTF8(byteOffset: byteOffset) }
    return try encode(validUTF8: bytes, SpecialPlaces(isAnywhere: findingSpecial))
  }

  private func firstInvalidByte(_ bytes: [UInt8]) -> Int? {
    do throws(UTF8.ValidationError) {
      _ = try UTF8Span(validating: bytes.span)
      return nil
    } catch {
      return error.byteOffsets.lowerBound
    }
  }

  private func encode(validUTF8 text: [UInt8], _ special: SpecialPlaces) throws(TokenizerError) -> [Int] {
    var ids: [Int] = []
    ids.reserveCapacity(text.count / 3)
    var scratch = BytePairEncoding.Scratch()
    var matchers = preTokenizer.makeMatchers(byteCount: text.count)
    for segment in rawFinder.segments(of: text, text.indices, special) {
      guard case .text(let range) = segment else {
        if case .token(let id) = segment { ids.append(id) }
        continue
      }
      let part = range == text.indices ? normalizer.normalize(text) : normalizer.normalize(Array(text[range]))
      // Normalizing moves the places: a segment that holds something said is taken as said.
      let special = SpecialPlaces(isAnywhere: special.allows(range))
      for segment in normalizedFinder.segments(of: part, part.indices, special) {
        switch segment {
        case .token(let id): ids.append(id)
        case .text(let range):
          for piece in try preTokenizer.pieces(of: part, range, &matchers) {
            model.encode(part, piece, &scratch, into: &ids)
          }
        }
      }
    }
    return ids
  }

  /// The text of a sequence of ids. Tokens are bytes, so one token may hold part of a character; bytes that do not
  /// make up a character become U+FFFD.
  ///
  /// - Throws: ``TokenizerError/unknownID(_:vocabularyCount:)`` for the first id without a token.
  package func decode(_ ids: [Int], skippingSpecial: Bool = false) throws(TokenizerError) -> String {
    String(decoding: try bytes(of: ids, skippingSpecial: skippingSpecial), as: UTF8.self)
  }

  /// The bytes of a sequence of ids, for output that arrives in parts.
  package func bytes(of ids: [Int], skippingSpecial: Bool = false) throws(TokenizerError) -> [UInt8] {
    var bytes: [UInt8] = []
    for id in ids {
      guard let token = vocabulary.token(id) else { throw .unknownID(id, vocabularyCount: vocabulary.count) }
      if skippingSpecial, specialIDs.contains(id) { continue }
      bytes += ByteAlphabet.bytes(of: token)
    }
    return bytes
  }
}
