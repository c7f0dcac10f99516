import Text
import Tokenizers

/// What a line of a batch goes on from, and what it says of the chat template; nil is left to the command line.
struct BatchPrompt {
  enum Content {
    case text(String)
    case messages([ChatTemplate.Message])
    case tokens([Int])
  }

  let content: Content
  let raw: Bool?
  let system: String?

  /// Whether the chat template has to do with it.
  func usesTemplate(raw: Bool) -> Bool {
    if case .tokens = content { false } else { !(self.raw ?? raw) }
  }

  /// Its tokens.
  ///
  /// - Parameters:
  ///   - raw, system: what the command line says.
  ///   - reader: of the line, for complaints.
  ///   - mayBeEmpty: whether a text without a template may have no character.
  func ids(
    _ model: RunModel, raw: Bool, system: String?, _ prompting: ChatTemplate.Options, place: String, _ kind: BatchKind,
    mayBeEmpty: Bool = false
  ) throws(Failure) -> [Int] {
    let failure = { (detail: String) in Failure(batchLine: detail, place: place, kind) }
    let raw = self.raw ?? raw
    let system = (self.system ?? system).map { [ChatTemplate.Message(.system, $0)] } ?? []
    let messages: [ChatTemplate.Message]
    switch content {
    case .tokens where self.system != nil:
      throw failure("`prompt_tokens` goes without `system`: there is no chat template to put it in")
    case .tokens(let ids): return ids
    case .text where raw && !system.isEmpty, .messages where raw && !system.isEmpty:
      throw failure("`raw` goes without `system`: there is no chat template to put it in")
    case .text(let text):
      guard !text.isEmpty || raw && mayBeEmpty else { throw failure("`prompt` is empty") }
      if raw {
        return try model.ids(of: text.utf8.count, from: place) { tokenizer throws(TokenizerError) in
          try tokenizer.encode(text)
        }
      }
      messages = system + [.init(.user, text)]
    case .messages(let own):
      guard !raw else { throw failure("`messages` goes without `raw`: it needs the chat template") }
      guard system.isEmpty || !own.contains(where: { $0.role == .system }) else {
        throw failure("`messages` has a message of the system, and `system` is given, too")
      }
      messages = system + own
    }
    let byteCount = messages.reduce(0) { $0 + $1.content.utf8.count }
    return try model.ids(of: byteCount, from: place) { tokenizer throws(TokenizerError) in
      try tokenizer.encode(conversation: messages, prompting)
    }
  }
}
