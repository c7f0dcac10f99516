/// A chat template: a bounded subset of Jinja, as `Formats/chat-template.md` defines it.
///
/// What it renders is what Jinja renders with the settings of Hugging Face's `apply_chat_template`; anything outside the
/// subset is refused by name and line. Nothing that it does outlasts a rendering or reaches anything but its variables.
package struct Template: Sendable {
  private let statements: [Statement]

  package init(_ source: String) throws(TemplateError) { statements = try TemplateParser.statements(of: source) }

  /// The text that the template makes of these variables.
  ///
  /// - Parameter time: what `strftime_now` writes for a format.
  package func render(
    _ variables: [(name: String, value: TemplateValue)], limits: TemplateLimits = TemplateLimits(),
    time: @escaping (_ format: String) -> String = LocalTime.text
  ) throws(TemplateError) -> TemplateText {
    let renderer = Renderer(variables, limits, time)
    return try renderer.text { renderer throws(TemplateError) in _ = try renderer.render(statements) }
  }
}
