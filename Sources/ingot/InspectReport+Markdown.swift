import Text

extension InspectReport {
  /// What `inspect --markdown` prints: the facts and tables of the screen.
  ///
  /// - Parameter name: what the file is called.
  func markdown(name: String) -> [String] {
    ["# \(MarkdownText.escaped(name))", ""] + MarkdownText.table([["", ""]] + facts(name: name))
      + sizesMarkdown(heading: "##") + worstMarkdown(heading: "##")
  }

  func sizesMarkdown(heading: String) -> [String] {
    ["", "\(heading) Sizes", ""] + MarkdownText.table(sizeRows, right: Self.numbersOfSizes)
  }

  /// The tensors that lost the most; empty where none lost anything.
  func worstMarkdown(heading: String) -> [String] {
    let rows = worstRows
    return rows.isEmpty
      ? [] : ["", "\(heading) Largest errors", ""] + MarkdownText.table(rows, right: Self.numbersOfWorst)
  }
}
