import JSON

/// Every value of the document under its key, exactly as it stands there.
enum Listing {
  static func html(_ document: JSONValue) -> Markup {
    var rows: [Markup] = []
    list(document, path: "", into: &rows)
    guard !rows.isEmpty else { return "" }
    return """
      <p>Keys are those that gates use. Missing values are left out.</p>
      <details><summary>\(PageNumber.count(rows.count)) entries</summary>
      <div class="scroll" tabindex="0" role="region" aria-label="All numbers"><table class="sortable listing">
      <caption class="unseen">All numbers</caption>
      <thead><tr><th scope="col">key</th><th scope="col">value</th></tr></thead>
      <tbody>
      \(rows)</tbody></table></div></details>

      """
  }

  /// Longer arrays of plain objects, as the tokens of an output, take a line for each object.
  private static var longCount: Int { 24 }

  private static func list(_ value: JSONValue, path: String, into rows: inout [Markup]) {
    switch value {
    case .null: break
    case .object(let object):
      for member in object.members {
        list(member.value, path: path.isEmpty ? member.key : "\(path).\(member.key)", into: &rows)
      }
    case .array(let elements):
      for (index, element) in elements.enumerated() {
        let key = "\(path)[\(index)]"
        if elements.count > longCount, let line = line(element) {
          rows.append("<tr><td><code>\(key)</code></td><td>\(line)</td></tr>\n")
        } else {
          list(element, path: key, into: &rows)
        }
      }
    case .number(let text):
      rows.append("<tr><td><code>\(path)</code></td><td class=\"n\" data-v=\"\(text)\">\(text)</td></tr>\n")
    case .string(let text): rows.append("<tr><td><code>\(path)</code></td><td>\(text)</td></tr>\n")
    case .bool(let flag):
      rows.append("<tr><td><code>\(path)</code></td><td>\(flag ? "true" : "false")</td></tr>\n")
    }
  }

  /// An object of plain values in one line; nil where it holds more.
  private static func line(_ value: JSONValue) -> String? {
    guard let members = value.object?.members else { return nil }
    var parts: [String] = []
    for member in members {
      switch member.value {
      case .null: continue
      case .array, .object: return nil
      case let plain: parts.append("\(member.key) \(plain.string ?? plain.text())")
      }
    }
    return parts.joined(separator: ", ")
  }
}
