package import JSON
package import Templates

/// How a conversation is written down for the model: by the template that stands in its files.
package struct ChatTemplate: Sendable {
  package struct Message: Sendable, Equatable {
    package enum Role: String, Sendable { case system, user, assistant }
    package let role: Role
    package let content: String

    package init(_ role: Role, _ content: String) {
      self.role = role
      self.content = content
    }
  }

  /// What a prompt is asked for beside its messages.
  package struct Options: Sendable {
    /// Functions that the model may call, an array.
    package var tools: JSONValue?
    /// Whether it is to think before it answers; nil leaves that to the template.
    package var thinking: Bool?
    /// Whether the prompt ends with the opening of the assistant's turn, to be answered.
    package var opensAnswer = true

    package init(tools: JSONValue? = nil, thinking: Bool? = nil, opensAnswer: Bool = true) {
      (self.tools, self.thinking, self.opensAnswer) = (tools, thinking, opensAnswer)
    }
  }

  /// Templates by name, each with the file that it stands in; one that cannot be read is an error when it is needed.
  private var named: [String: Result<(template: Template, file: TokenizerError.File), TokenizerError>] = [:]
  /// Variables beside the conversation: `eos_token` and the like.
  private let specialTokens: [(name: String, value: JSONValue)]

  /// Whether no file has one, so that prompts follow ``builtIn``.
  package var isAbsent: Bool { named.isEmpty }

  /// Why the template for conversations without tools cannot be used; what only shows as it is rendered is not known.
  var fault: TokenizerError? {
    do throws(TokenizerError) { _ = try entry(hasTools: false) } catch { return error }
    return nil
  }

  /// Reads the templates from where `transformers` takes them: files of their own replace those in the configuration.
  init(_ files: [TokenizerError.File: [UInt8]], _ config: Field?, specialTokens: [(name: String, value: JSONValue)]) {
    self.specialTokens = specialTokens
    for (file, name) in [(TokenizerError.File.template, "default"), (.toolTemplate, "tool_use")] {
      guard let bytes = files[file] else { continue }
      named[name] = Self.read(file) { () throws(TokenizerError) in
        guard let text = String(validating: bytes, as: UTF8.self) else { throw TokenizerError.templateEncoding(file) }
        return text
      }
    }
    if named.isEmpty, let config { readMember(of: config) }
    if named.isEmpty, let bytes = files[.processorTemplate] {
      do throws(TokenizerError) { readMember(of: try Field.document(bytes, .processorTemplate)) } catch {
        named["default"] = .failure(error)
      }
    }
  }

  /// From the member `chat_template`, which is a text, or a list of texts with names.
  private mutating func readMember(of document: Field) {
    do throws(TokenizerError) {
      guard let field = try document.optional("chat_template") else { return }
      guard case .array = field.value else {
        named["default"] = Self.read(field.file) { () throws(TokenizerError) in try field.string() }
        return
      }
      for element in try field.elements() {
        let name = try element.required("name").string()
        named[name] = Self.read(field.file) { () throws(TokenizerError) in try element.required("template").string() }
      }
    } catch { named["default"] = .failure(error) }
  }

  private static func read(
    _ file: TokenizerError.File, _ text: () throws(TokenizerError) -> String
  ) -> Result<(template: Template, file: TokenizerError.File), TokenizerError> {
    Result { () throws(TokenizerError) in
      let text = try text()
      do throws(TemplateError) { return (try Template(text), file) } catch { throw .template(file, error) }
    }
  }

  /// Whether a template can be given this.
  package static func canPass(_ json: JSONValue) -> Bool { TemplateValue(json, isContent: true) != nil }

  /// The prompt of a conversation, which knows the parts that somebody said.
  ///
  /// - Throws: ``TokenizerError/template(_:_:)`` where the model's template cannot be rendered.
  package func prompt(
    for messages: [Message], _ options: Options = Options()
  ) throws(TokenizerError) -> TemplateText {
    let entry = try entry(hasTools: options.tools != nil)
    do throws(TemplateError) { return try entry.template.render(variables(messages, options)) } catch {
      throw .template(entry.file, error)
    }
  }

  private func entry(hasTools: Bool) throws(TokenizerError) -> (template: Template, file: TokenizerError.File) {
    if hasTools, let entry = named["tool_use"] { return try entry.get() }
    if let entry = named["default"] { return try entry.get() }
    guard named.isEmpty else { throw .noDefaultTemplate(names: named.keys.sorted()) }
    do throws(TemplateError) { return (try Template(Self.builtIn), .template) } catch {
      throw .template(.template, error)
    }
  }

  private func variables(_ messages: [Message], _ options: Options) -> [(name: String, value: TemplateValue)] {
    var variables = specialTokens.map { (name: $0.name, value: TemplateValue($0.value, isContent: false) ?? .none) }
    variables.append(("messages", .list(messages.map(Self.value))))
    // A tool holds what its author said.
    variables.append(("tools", options.tools.flatMap { TemplateValue($0, isContent: true) } ?? .none))
    variables.append(("documents", .none))
    variables.append(("add_generation_prompt", .bool(options.opensAnswer)))
    if let thinking = options.thinking {
      variables.append(("enable_thinking", .bool(thinking)))
      variables.append(("thinking_option", .text(TemplateText(thinking ? "on" : "off"))))
    }
    return variables
  }

  private static func value(_ message: Message) -> TemplateValue {
    .members([
      ("role", .text(TemplateText(message.role.rawValue))),
      ("content", .text(TemplateText(message.content, isContent: true))),
    ])
  }

  /// The prompts that LLaDA2 was trained with, for files without a template: those of Ling 2.0 without tools.
  static let builtIn = #"""
    <role>SYSTEM</role>
    {%- if messages and messages[0].role == 'system' %}{{ messages[0].content + '\n' }}{% endif -%}
    detailed thinking off<|role_end|>
    {%- set last = namespace(question=messages | length - 1) -%}
    {%- for message in messages[::-1] -%}
      {%- set isTool = message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>') -%}
      {%- if message.role == 'user' and not isTool -%}
        {%- set last.question = loop.revindex0 -%}
        {%- break -%}
      {%- endif -%}
    {%- endfor -%}
    {%- for message in messages -%}
      {%- set content = message.content -%}
      {%- if message.role == 'assistant' -%}
        <role>ASSISTANT</role>
        {%- if '</think>' in content -%}
          {%- set thoughts = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].strip('\n') -%}
          {%- set content = content.split('</think>')[-1].lstrip('\n') -%}
          {%- if thoughts and loop.index0 > last.question %}{{ '\n<think>\n' + thoughts + '\n</think>\n\n' }}{% endif -%}
        {%- endif -%}
        {{- content }}<|role_end|>
      {%- elif message.role == 'user' -%}
        <role>HUMAN</role>{{ content }}<|role_end|>
      {%- elif not loop.first -%}
        <role>SYSTEM</role>{{ content }}<|role_end|>
      {%- endif -%}
    {%- endfor -%}
    {%- if add_generation_prompt %}<role>ASSISTANT</role>{% endif -%}
    """#
}
