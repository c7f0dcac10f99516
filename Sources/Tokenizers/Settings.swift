import JSON

extension Tokenizer {
  /// What the files of a tokenizer say that has no effect here.
  package enum Note: Sendable, Equatable {
    /// `special_tokens_map.json` names another token than `tokenizer_config.json`, which decides.
    case otherToken(key: String)
    /// Extra special tokens that the vocabulary lacks.
    case unknownTokens([String])
  }

  /// Reads the files beside `tokenizer.json` without a vocabulary, which takes seconds to build.
  ///
  /// - Returns: why no prompt can be written with the chat template; nil where one can be.
  /// - Throws: where ``init(tokenizerJSON:others:)`` would, of these files alone.
  package static func checkSettings(
    _ files: [TokenizerError.File: [UInt8]]
  ) throws(TokenizerError) -> TokenizerError? {
    let settings = try Settings(files)
    _ = try settings.specialContents()
    _ = try settings.contradictions()
    return ChatTemplate(files, settings.config, specialTokens: try settings.variables()).fault
  }

  /// The files beside `tokenizer.json`.
  struct Settings {
    let config: Field?
    private let map: Field?
    let addedTokens: Field?

    init(_ files: [TokenizerError.File: [UInt8]]) throws(TokenizerError) {
      func document(_ file: TokenizerError.File) throws(TokenizerError) -> Field? {
        guard let bytes = files[file] else { return nil }
        return try Field.document(bytes, file)
      }
      config = try document(.config)
      map = try document(.specialTokens)
      addedTokens = try document(.addedTokens)
    }

    private static let keys = [
      "bos_token", "eos_token", "pad_token", "mask_token", "unk_token", "cls_token", "sep_token",
    ]

    /// A token by its purpose; the map stands in where the config names none.
    private func token(_ key: String) throws(TokenizerError) -> (content: String, field: Field)? {
      for file in [config, map] {
        if let field = try file?.optional(key) { return (try Self.content(field), field) }
      }
      return nil
    }

    /// A token is given as a string, or as an object with its content.
    private static func content(_ field: Field) throws(TokenizerError) -> String {
      if case .object = field.value { return try field.required("content").string() }
      return try field.string()
    }

    /// Further special tokens, in lists or by names of their own.
    private func extras() throws(TokenizerError) -> [(name: String?, content: String)] {
      var extras: [(name: String?, content: String)] = []
      for file in [config, map] {
        for key in ["additional_special_tokens", "extra_special_tokens"] {
          guard let field = try file?.optional(key) else { continue }
          if let object = field.value.object {
            for member in object.members {
              extras.append((member.key, try Self.content(try field.required(member.key))))
            }
          } else {
            for element in try field.elements() { extras.append((nil, try Self.content(element))) }
          }
        }
      }
      return extras
    }

    /// All that is named as special.
    func specialContents() throws(TokenizerError) -> [String] {
      var contents: [String] = []
      for key in Self.keys { if let token = try token(key) { contents.append(token.content) } }
      return contents + (try extras()).map(\.content)
    }

    /// The id of a token by its purpose, nil where none is named.
    func id(_ key: String, _ vocabulary: Vocabulary) throws(TokenizerError) -> Int? {
      guard let (content, field) = try token(key) else { return nil }
      guard let id = vocabulary.id(of: content) else { throw .unknownSpecialToken(field.place, token: content) }
      return id
    }

    /// As chat templates find them.
    func variables() throws(TokenizerError) -> [(name: String, value: JSONValue)] {
      var variables: [(name: String, value: JSONValue)] = []
      for key in Self.keys { if let token = try token(key) { variables.append((key, .string(token.content))) } }
      let extras = try extras()
      for case (let name?, let content) in extras { variables.append((name, .string(content))) }
      let list = extras.filter { $0.name == nil }.map { JSONValue($0.content) }
      if !list.isEmpty { variables.append(("additional_special_tokens", .array(list))) }
      return variables
    }

    /// Where the two files name different tokens.
    func contradictions() throws(TokenizerError) -> [Note] {
      var notes: [Note] = []
      for key in Self.keys {
        guard let own = try config?.optional(key), let other = try map?.optional(key) else { continue }
        if try Self.content(own) != Self.content(other) { notes.append(.otherToken(key: key)) }
      }
      return notes
    }

    func notes(_ vocabulary: Vocabulary) throws(TokenizerError) -> [Note] {
      var notes = try contradictions()
      let unknown = try extras().map(\.content).filter { vocabulary.id(of: $0) == nil }
      if !unknown.isEmpty { notes.append(.unknownTokens(unknown)) }
      return notes
    }
  }
}
