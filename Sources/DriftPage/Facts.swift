/// Names and values, one to a line. What has no value is left out.
struct Facts {
  private var lines: [Markup] = []

  mutating func add(_ name: String, _ value: String?) { add(name, value.map { Markup(text: $0) }) }

  mutating func add(_ name: String, _ value: Markup?) {
    guard let value, !value.isEmpty else { return }
    lines.append("<dt>\(name)</dt><dd>\(value)</dd>\n")
  }

  var html: Markup { lines.isEmpty ? "" : "<dl>\n\(lines)</dl>\n" }
}
