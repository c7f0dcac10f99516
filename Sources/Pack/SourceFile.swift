/// The checkpoint's small files that a pack takes along, by their names in both.
package enum SourceFile {
  private static let prefix = "source/"
  /// Beside `config.json`, those that are taken along where they are there and not empty.
  package static let companions = [
    "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json",
    "additional_chat_templates/tool_use.jinja",
  ]
  /// A pack's names have no directories, so what lies in this one stands beside the others.
  private static let directory = (path: "additional_chat_templates/", name: "chat_template_")

  /// What a pack calls the file at a path in the checkpoint.
  package static func name(inPack path: String) -> String {
    guard path.hasPrefix(directory.path) else { return prefix + path }
    return prefix + directory.name + path.dropFirst(directory.path.count)
  }

  /// The path in the checkpoint of a pack's file, nil for those that come from elsewhere.
  package static func path(inCheckpoint name: String) -> String? {
    guard name.hasPrefix(prefix) else { return nil }
    let file = name.dropFirst(prefix.count)
    return file.hasPrefix(directory.name) ? directory.path + file.dropFirst(directory.name.count) : String(file)
  }
}
