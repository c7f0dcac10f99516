import JSON

/// The parts of a tokenizer that several files speak about, and the parts that are only checked.
extension Tokenizer {
  /// Accepts what adds no tokens: none, `ByteLevel`, which only moves offsets, and a template of the text alone.
  static func checkPostProcessor(_ field: Field?) throws(TokenizerError) {
    guard let field else { return }
    let type = try field.type()
    switch type {
    case "ByteLevel": return
    case "Sequence": for element in try field.required("processors").elements() { try checkPostProcessor(element) }
    case "TemplateProcessing":
      let single = try field.required("single")
      for element in try single.elements() where try element.optional("SpecialToken") != nil {
        throw single.unsupported("post-processor `TemplateProcessing` that adds tokens")
      }
      guard try single.elements().count == 1 else { throw single.unsupported("this template of the post-processor") }
    default: throw field.unsupported("post-processor `\(type)`")
    }
  }

  static func checkDecoder(_ field: Field) throws(TokenizerError) {
    let type = try field.type()
    if type == "Sequence" {
      let steps = try field.required("decoders").elements()
      guard steps.count == 1 else { throw field.unsupported("a sequence of \(steps.count) decoders") }
      return try checkDecoder(steps[0])
    }
    guard type == "ByteLevel" else { throw field.unsupported("decoder `\(type)`") }
  }

  /// The added tokens of all files, new ones also entered into the vocabulary.
  ///
  /// The others may repeat the tokens of tokenizer.json, add further ones with their ids, and name tokens of the
  /// vocabulary as special, which makes them found in text as well.
  static func addedTokens(
    _ file: Field, _ settings: Settings, _ vocabulary: inout Vocabulary
  ) throws(TokenizerError) -> [AddedToken] {
    var added: [AddedToken] = []
    var known: Set<Int> = []
    for element in try file.optional("added_tokens")?.elements() ?? [] {
      let token = try AddedToken(element, id: try element.required("id").int())
      try enter(token, try element.required("content").place, &vocabulary)
      guard known.insert(token.id).inserted else {
        throw .addedToken(element.place, token: token.content, reason: "is listed twice")
      }
      added.append(token)
    }
    if let decoder = try settings.config?.optional("added_tokens_decoder") {
      for member in try decoder.object().members {
        let element = try decoder.required(member.key)
        guard let id = Int(member.key) else { throw element.unsupported("an id that is not a number") }
        let token = try AddedToken(element, id: id)
        try enter(token, element.place, &vocabulary)
        if known.insert(id).inserted { added.append(token) }
      }
    } else if let others = settings.addedTokens {
      for member in try others.object().members {
        let element = try others.required(member.key)
        guard !member.key.isEmpty else { throw .addedToken(element.place, token: "", reason: "is empty") }
        let token = AddedToken(id: try element.int(), content: member.key)
        try enter(token, element.place, &vocabulary)
        if known.insert(token.id).inserted { added.append(token) }
      }
    }
    for content in try settings.specialContents() {
      guard let id = vocabulary.id(of: content) else { continue }
      if known.insert(id).inserted { added.append(AddedToken(id: id, content: content, isSpecial: true)) }
    }
    return added
  }

  /// Checks a token against the vocabulary and adds it if it is new.
  private static func enter(
    _ token: AddedToken, _ place: TokenizerError.Place, _ vocabulary: inout Vocabulary
  ) throws(TokenizerError) {
    guard let id = vocabulary.id(of: token.content) else {
      return try vocabulary.insert(token.content, id: token.id, place: place)
    }
    guard id == token.id else {
      throw .addedToken(place, token: token.content, reason: "has id \(token.id) here but \(id) elsewhere")
    }
  }

  /// Those to find in text as given, and those to find after normalizing.
  static func finders(_ tokens: [AddedToken], _ normalizer: Normalizer) -> (raw: AddedTokenFinder, AddedTokenFinder) {
    var raw = AddedTokenFinder()
    var normalized = AddedTokenFinder()
    for token in tokens {
      let content = Array(token.content.utf8)
      if token.isNormalized {
        normalized.insert(token, pattern: normalizer.normalize(content))
      } else {
        raw.insert(token, pattern: content)
      }
    }
    return (raw, normalized)
  }
}
