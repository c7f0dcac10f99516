package import JSON
package import Templates

/// Why a tokenizer file is refused, or what a caller asked that a tokenizer cannot give.
package enum TokenizerError: Error, Equatable {
  /// The files of a tokenizer, by their names beside the weights.
  package enum File: String, Sendable, CaseIterable {
    case tokenizer = "tokenizer.json", config = "tokenizer_config.json"
    case specialTokens = "special_tokens_map.json", addedTokens = "added_tokens.json"
    case template = "chat_template.jinja", toolTemplate = "additional_chat_templates/tool_use.jinja"
    /// Of models that take more than text.
    case processorTemplate = "chat_template.json"
  }

  /// A value in a file: `pre_tokenizer.pretokenizers[0].pattern`, and where its key, or the nearest one around it, starts.
  package struct Place: Sendable, Equatable {
    package let file: File
    package let path: String
    package let byteOffset: Int
  }

  /// The file is not JSON that we accept.
  case json(File, JSONError)
  /// A key that must be there is not.
  case missing(Place)
  case wrongKind(Place, expected: String, found: String)
  /// Something another library may know and this one would get wrong: "normalizer `Lowercase`".
  case unsupported(Place, what: String)
  /// A regular expression that is malformed or uses what the matcher lacks; `position` counts Unicode scalars.
  case pattern(Place, pattern: String, position: Int, reason: String)
  /// An id that is negative or above ``Vocabulary/maximumID``.
  case idOutOfRange(Place, token: String, id: Int)
  /// Two tokens claim one id.
  case repeatedID(Place, id: Int, first: String, second: String)
  /// A byte that text can contain has no token of its own, so some text could not be encoded.
  case missingByte(Place, byte: UInt8)
  /// Merge number `index`, from 0, is malformed or speaks of tokens that do not exist.
  case merge(Place, index: Int, reason: String)
  case addedToken(Place, token: String, reason: String)
  /// The config names a token, e.g. as `mask_token`, that the vocabulary lacks.
  case unknownSpecialToken(Place, token: String)
  /// The tokenizer has no token for this purpose: "mask".
  case noSpecialToken(purpose: String)
  /// An id to decode that stands for no token.
  case unknownID(Int, vocabularyCount: Int)
  /// The bytes to encode are not UTF-8.
  case invalidUTF8(byteOffset: Int)
  /// A pre-tokenizer's pattern for which this text takes too many steps.
  case slowPattern(String)
  /// The chat template of this file cannot be read or rendered.
  case template(File, TemplateError)
  /// The chat template is no UTF-8.
  case templateEncoding(File)
  /// Chat templates with these names, none of which is for conversations in general.
  case noDefaultTemplate(names: [String])
}

extension TokenizerError {
  /// Where in which file, or nil when the complaint is about a caller's input.
  package var place: Place? {
    switch self {
    case .json(let file, let error): Place(file: file, path: "", byteOffset: error.byteOffset)
    case .missing(let place), .wrongKind(let place, _, _), .unsupported(let place, _), .pattern(let place, _, _, _),
      .idOutOfRange(let place, _, _), .repeatedID(let place, _, _, _), .missingByte(let place, _),
      .merge(let place, _, _), .addedToken(let place, _, _), .unknownSpecialToken(let place, _):
      place
    case .noSpecialToken, .unknownID, .invalidUTF8, .slowPattern, .template, .templateEncoding, .noDefaultTemplate: nil
    }
  }

  /// How to mend it, where that is not obvious.
  package var hint: String? {
    switch self {
    case .json, .merge, .repeatedID: "the download is probably incomplete or was edited; fetch the file again"
    case .missing, .wrongKind, .missingByte: "only byte-level BPE tokenizers in the format of `tokenizers` are read"
    case .unsupported, .pattern, .slowPattern: "encode the text elsewhere and pass token ids instead"
    case .unknownSpecialToken: "`tokenizer.json` and `tokenizer_config.json` must come from the same checkpoint"
    case .noSpecialToken(let purpose):
      "masked diffusion needs a \(purpose) token; check that this is the tokenizer of the checkpoint"
    case .unknownID: "the ids must come from this tokenizer; padding rows of the embedding have no token"
    case .template(_, let error) where error.kind == .raised:
      "say it in the order that the template expects, or use --raw"
    case .template, .templateEncoding, .noDefaultTemplate:
      "`run --raw`, `run --tokens` and `verify --raw` use no chat template; Formats/chat-template.md says what is supported"
    case .idOutOfRange, .addedToken, .invalidUTF8: nil
    }
  }
}

extension TokenizerError: CustomStringConvertible {
  package var description: String {
    if case .template(let file, let error) = self {
      let member = file == .config || file == .processorTemplate ? ", `chat_template`" : ""
      return "\(reason)\n  in `\(file.rawValue)`\(member), line \(error.line)"
    }
    guard let place else { return reason }
    return "\(reason)\n  in `\(place.file.rawValue)`, byte \(place.byteOffset)"
  }

  private var reason: String {
    switch self {
    case .json(_, let error): "the file is not valid JSON: \(error.reason)"
    case .missing(let place): "`\(place.path)` is missing"
    case .wrongKind(let place, let expected, let found): "`\(place.path)` should be \(expected) but is \(found)"
    case .unsupported(_, let what): "\(what) is not supported"
    case .pattern(let place, let pattern, let position, let reason):
      "the regular expression `\(pattern)` of `\(place.path)` cannot be used: \(reason), at character \(position)"
    case .idOutOfRange(_, let token, let id): "token `\(token)` has id \(id), outside 0 to \(Vocabulary.maximumID)"
    case .repeatedID(_, let id, let first, let second): "tokens `\(first)` and `\(second)` both have id \(id)"
    case .missingByte(_, let byte): "the vocabulary has no token for byte \(byte)"
    case .merge(_, let index, let reason): "merge \(index) \(reason)"
    case .addedToken(_, let token, let reason): "added token `\(token)` \(reason)"
    case .unknownSpecialToken(let place, let token): "`\(place.path)` is `\(token)`, which is not in the vocabulary"
    case .noSpecialToken(let purpose): "the tokenizer has no \(purpose) token"
    case .unknownID(let id, let count): "token id \(id) stands for no token; the vocabulary has ids 0 to \(count - 1)"
    case .slowPattern(let pattern): "the pre-tokenizer's regular expression `\(pattern)` takes too long for this text"
    case .template(_, let error): Self.reason(error)
    case .templateEncoding(let file): "the chat template `\(file.rawValue)` is not valid UTF-8"
    case .noDefaultTemplate(let names):
      "the chat templates are named \(names.map { "`\($0)`" }.joined(separator: ", ")); none is the `default`"
    case .invalidUTF8(let byteOffset): "the text is not valid UTF-8 at byte \(byteOffset)"
    }
  }
  private static func reason(_ error: TemplateError) -> String {
    switch error.kind {
    case .malformed: "the chat template is not valid: \(error.reason)"
    case .unsupported: "the chat template uses \(error.reason), which is not supported"
    case .failed: "the chat template cannot be rendered: \(error.reason)"
    case .raised: "the chat template refuses the conversation: \(error.reason)"
    case .limit: "the chat template asks for too much: \(error.reason)"
    }
  }
}
