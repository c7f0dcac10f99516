/// The language part of LLaDA2.0-Uni and LLaDA-Image (`Formats/llada2.md` §2.2): LLaDA2 with tokens of images behind those of text,
/// under names of its own in one checkpoint with what sees and draws.
package enum LLaDA2Uni: Architecture {
  static let body = "model.language_model."
  static let head = "model.lm_head."

  package static let modelTypes = LLaDA2.modelTypes
  package static let names = LLaDA2.makeNames(body: body, head: head)
  package static let layouts = LLaDA2.makeLayouts(body: body)
  package static let conventions = LLaDA2.conventions

  /// Only a name of the language part must mean something.
  package static func passesThrough(_ name: String, further: Range<Int>) -> Bool {
    !name.hasPrefix(body) && !name.hasPrefix(head)
  }

  package static func decoder(_ configuration: ModelConfiguration) -> String { LLaDA2.decoder(configuration) }
}
