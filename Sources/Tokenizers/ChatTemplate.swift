import JSON

/// How a conversation is written down for the model.
///
/// The Jinja text of `chat_template` is not run. It is compared with the templates that this type reproduces; for any
/// other, ``match`` says so and prompts follow the template that LLaDA2 inherited from Ling 2.0.
package struct ChatTemplate: Sendable, Equatable {
  package struct Message: Sendable, Equatable {
    package enum Role: String, Sendable { case system, user, assistant }
    package let role: Role
    package let content: String

    package init(_ role: Role, _ content: String) {
      self.role = role
      self.content = content
    }
  }

  /// How the file's template relates to the one that prompts follow.
  package enum Match: Sendable, Equatable {
    /// Byte for byte one whose prompts are reproduced.
    case known
    /// The file has none.
    case absent
    /// Another one: prompts may differ from what the model was trained with.
    case different
  }

  package let match: Match
  /// The template of test checkpoints, which writes turns down as they are and ignores system text that comes first.
  private let isPlain: Bool

  /// Whether system text that comes first is left out of the prompt, as the file's own template does.
  package var ignoresLeadingSystem: Bool { isPlain }

  /// From the text of `chat_template`, nil where there is none.
  package init(template: String?) {
    let digest = template.map(Self.digest)
    isPlain = digest == Self.plainDigest
    match = digest == nil ? .absent : isPlain || digest == Self.lingDigest ? .known : .different
  }

  init(_ config: Field?) throws(TokenizerError) {
    // Some files hold a list of named templates instead of one.
    let field = try config?.optional("chat_template")
    self.init(template: field.map { $0.value.string ?? "" })
  }

  /// A part of a prompt.
  package struct Piece: Sendable, Equatable {
    package let text: String
    /// Whether somebody said it, so that nothing in it is a control token; otherwise it is the template's.
    package let isContent: Bool
  }

  /// The prompt of a conversation.
  ///
  /// - Parameter opensAnswer: whether it ends with the opening of the assistant's turn, to be answered.
  package func prompt(for messages: [Message], opensAnswer: Bool = true) -> String {
    pieces(for: messages, opensAnswer: opensAnswer).reduce(into: "") { $0 += $1.text }
  }

  /// ``prompt(for:opensAnswer:)``, part by part.
  package func pieces(for messages: [Message], opensAnswer: Bool = true) -> [Piece] {
    var pieces: [Piece] = []
    func add(_ text: String, isContent: Bool = false) { pieces.append(Piece(text: text, isContent: isContent)) }
    add("<role>SYSTEM</role>")
    if !isPlain, let first = messages.first, first.role == .system { add(first.content + "\n", isContent: true) }
    add("detailed thinking off<|role_end|>")
    // Answers after the last question keep their thoughts.
    let lastQuestion = messages.lastIndex { $0.role == .user && !Self.isToolResponse($0.content) } ?? messages.count - 1
    for (index, message) in messages.enumerated() {
      var content = message.content
      switch message.role {
      case .system:
        if index == 0 { continue }
        add("<role>SYSTEM</role>")
      case .user: add("<role>HUMAN</role>")
      case .assistant:
        if !isPlain { content = Self.answer(content, keepsThoughts: index > lastQuestion) }
        add("<role>ASSISTANT</role>")
      }
      add(content, isContent: true)
      add("<|role_end|>")
    }
    if opensAnswer { add("<role>ASSISTANT</role>") }
    return pieces
  }

  private static func isToolResponse(_ content: String) -> Bool {
    content.utf8.starts(with: "<tool_response>".utf8)
      && content.utf8.reversed().starts(with: "</tool_response>".utf8.reversed())
  }

  /// An assistant's turn without what stands up to `</think>`, or with it in the template's spacing.
  private static func answer(_ content: String, keepsThoughts: Bool) -> String {
    let parts = content.split(exactly: "</think>")
    guard parts.count > 1 else { return content }
    let thoughts = parts[0].trimmingNewlines(leading: false).split(exactly: "<think>").last ?? ""
    let answer = (parts.last ?? "").trimmingNewlines(trailing: false)
    let trimmed = thoughts.trimmingNewlines()
    return keepsThoughts && !trimmed.isEmpty ? "\n<think>\n\(trimmed)\n</think>\n\n\(answer)" : answer
  }

  /// FNV-1a of 64 bits. Templates are recognised by it instead of being repeated here.
  static func digest(_ text: String) -> UInt64 {
    text.utf8.reduce(0xCBF2_9CE4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
  }

  private static var plainDigest: UInt64 { 0x4DAE_D865_C7C6_65CB }
  /// Ling 2.0, `config_sft/tokenizer_config.json`.
  private static var lingDigest: UInt64 { 0xF713_CE92_A3DD_EA76 }
}

/// String operations on scalars; `\r\n` is one `Character` and would hide its newline.
extension String {
  fileprivate func split(exactly separator: String) -> [String] {
    let (text, separator) = (Array(utf8), Array(separator.utf8))
    var parts: [String] = []
    var (start, offset) = (0, 0)
    while offset + separator.count <= text.count {
      if text[offset..<offset + separator.count].elementsEqual(separator) {
        parts.append(String(decoding: text[start..<offset], as: UTF8.self))
        offset += separator.count
        start = offset
      } else {
        offset += 1
      }
    }
    return parts + [String(decoding: text[start...], as: UTF8.self)]
  }

  fileprivate func trimmingNewlines(leading: Bool = true, trailing: Bool = true) -> String {
    var scalars = Substring(self).unicodeScalars
    while leading, scalars.first == "\n" { scalars.removeFirst() }
    while trailing, scalars.last == "\n" { scalars.removeLast() }
    return String(scalars)
  }
}
