/// Parts of Markdown as GitHub and Hugging Face show it.
package enum MarkdownText {
  /// Text that stands for itself: nothing in it is markup.
  package static func escaped(_ text: String) -> String {
    var out = ""
    for character in text {
      switch character {
      case "<": out += "&lt;"
      case "&": out += "&amp;"
      case "\\", "`", "*", "_", "[", "]", "|": out += "\\\(character)"
      case _ where character.isNewline: out += " "
      default: out.append(character)
      }
    }
    return out
  }

  /// Rows as a table, the first of which is its head; columns named in `right` are flush right.
  package static func table(_ rows: [[String]], right: Set<Int> = []) -> [String] {
    guard let head = rows.first else { return [] }
    func line(_ cells: [String]) -> String {
      let missing = Array(repeating: "", count: max(0, head.count - cells.count))
      return "| " + (cells + missing).joined(separator: " | ") + " |"
    }
    let rule = head.indices.map { right.contains($0) ? "---:" : "---" }
    return [line(head.map(escaped)), line(rule)] + rows.dropFirst().map { line($0.map(escaped)) }
  }
}
