extension JSONValue {
  /// The document as text: members in their order, two spaces of indentation, `\n` between lines; compact on one
  /// line when `indented` is false. The same value always gives the same bytes.
  package func text(indented: Bool = true) -> String {
    var out = ""
    write(to: &out, indent: indented ? 0 : nil)
    return out
  }

  private func write(to out: inout String, indent: Int?) {
    switch self {
    case .null: out += "null"
    case .bool(let value): out += value ? "true" : "false"
    case .number(let text): out += text
    case .string(let value): Self.writeQuoted(value, to: &out)
    case .array(let elements):
      // Arrays of scalars (shapes, offsets) stay on one line.
      let flat = elements.allSatisfy { $0.array == nil && $0.object == nil }
      Self.writeList(elements, "[", "]", indent: flat ? nil : indent, to: &out) { element, out, indent in
        element.write(to: &out, indent: indent)
      }
    case .object(let object):
      Self.writeList(object.members, "{", "}", indent: indent, to: &out) { member, out, indent in
        Self.writeQuoted(member.key, to: &out)
        out += indent == nil ? ":" : ": "
        member.value.write(to: &out, indent: indent)
      }
    }
  }

  private static func writeList<Element>(
    _ elements: [Element], _ open: String, _ close: String, indent: Int?, to out: inout String,
    _ each: (Element, inout String, Int?) -> Void
  ) {
    out += open
    for (position, element) in elements.enumerated() {
      if position > 0 { out += "," }
      if let indent { out += "\n" + String(repeating: "  ", count: indent + 1) }
      each(element, &out, indent.map { $0 + 1 })
    }
    if let indent, !elements.isEmpty { out += "\n" + String(repeating: "  ", count: indent) }
    out += close
  }

  private static func writeQuoted(_ text: String, to out: inout String) {
    out += "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": out += "\\\""
      case "\\": out += "\\\\"
      case "\n": out += "\\n"
      case "\r": out += "\\r"
      case "\t": out += "\\t"
      case "\u{0}"..<"\u{20}", "\u{7F}":
        let hex = String(scalar.value, radix: 16)
        out += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
      default: out.unicodeScalars.append(scalar)
      }
    }
    out += "\""
  }
}
