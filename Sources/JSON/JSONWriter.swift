import Text

/// Writes documents as text: members in their order, two spaces of indentation, `\n` between lines; compact on one line where
/// not indented. The same value always gives the same bytes.
package struct JSONWriter {
  /// What is done with characters that nobody sees (``Shown/isHidden(_:)``).
  package enum Hidden: Sendable {
    /// They stay, but for control characters of ASCII: for documents that are kept in files, whose bytes other things name.
    case kept
    /// They are spelled as `\u202e`: for what people may look at. A reader gets the same text.
    case spelled
  }

  private let hidden: Hidden
  private let sink: ((String) -> Void)?
  private var out = ""

  /// Text that is held back until it is worth a call.
  private static let pieceByteCount = 1 << 16

  private init(_ hidden: Hidden, to sink: ((String) -> Void)?) {
    self.hidden = hidden
    self.sink = sink
  }

  fileprivate static func text(_ value: JSONValue, indented: Bool, _ hidden: Hidden) -> String {
    var writer = JSONWriter(hidden, to: nil)
    writer.write(value, indent: indented ? 0 : nil)
    return writer.out
  }

  /// Writes a document piece by piece, so that its long arrays need not be held.
  package static func write(_ document: JSONDocument, _ hidden: Hidden, to sink: @escaping (String) -> Void) {
    var writer = JSONWriter(hidden, to: sink)
    let members = document.members
    writer.list("{", "}", count: members.count, indent: 0) { writer, index, indent in
      writer.write(key: members[index].key, indent: indent)
      switch members[index].part {
      case .value(let value): writer.write(value, indent: indent)
      case .elements(let count, let element):
        writer.list("[", "]", count: count, indent: indent) { writer, index, indent in
          writer.write(element(index), indent: indent)
        }
      }
    }
    sink(writer.out)
  }

  private mutating func write(_ value: JSONValue, indent: Int?) {
    switch value {
    case .null: out += "null"
    case .bool(let value): out += value ? "true" : "false"
    case .number(let text): out += text
    case .string(let value): write(quoted: value)
    case .array(let elements):
      // Arrays of scalars (shapes, offsets) stay on one line.
      let flat = elements.allSatisfy { $0.array == nil && $0.object == nil }
      list("[", "]", count: elements.count, indent: flat ? nil : indent) { writer, index, indent in
        writer.write(elements[index], indent: indent)
      }
    case .object(let object):
      list("{", "}", count: object.members.count, indent: indent) { writer, index, indent in
        writer.write(key: object.members[index].key, indent: indent)
        writer.write(object.members[index].value, indent: indent)
      }
    }
  }

  private mutating func write(key: String, indent: Int?) {
    write(quoted: key)
    out += indent == nil ? ":" : ": "
  }

  private mutating func list(
    _ open: String, _ close: String, count: Int, indent: Int?, _ each: (inout JSONWriter, Int, Int?) -> Void
  ) {
    out += open
    for position in 0..<count {
      if position > 0 { out += "," }
      if let indent { out += "\n" + String(repeating: "  ", count: indent + 1) }
      each(&self, position, indent.map { $0 + 1 })
      if let sink, out.utf8.count >= Self.pieceByteCount {
        sink(out)
        out = ""
      }
    }
    if let indent, count > 0 { out += "\n" + String(repeating: "  ", count: indent) }
    out += close
  }

  private mutating func write(quoted text: String) {
    out += "\""
    // Nearly all text is of this kind.
    if text.utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "\\") }) {
      out += text
    } else {
      for scalar in text.unicodeScalars { write(scalar) }
    }
    out += "\""
  }

  private mutating func write(_ scalar: Unicode.Scalar) {
    switch scalar {
    case "\"": out += "\\\""
    case "\\": out += "\\\\"
    case "\n": out += "\\n"
    case "\r": out += "\\r"
    case "\t": out += "\\t"
    case "\u{0}"..<"\u{20}", "\u{7F}": out += Self.spelled(scalar)
    case _ where hidden == .spelled && Shown.isHidden(scalar): out += Self.spelled(scalar)
    default: out.unicodeScalars.append(scalar)
    }
  }

  /// `\u001b`; beyond U+FFFF two surrogates.
  package static func spelled(_ scalar: Unicode.Scalar) -> String {
    var out = ""
    for unit in String(scalar).utf16 {
      let hex = String(unit, radix: 16)
      out += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
    }
    return out
  }
}

extension JSONValue {
  /// The document as text.
  package func text(indented: Bool = true, hidden: JSONWriter.Hidden = .kept) -> String {
    JSONWriter.text(self, indented: indented, hidden)
  }
}

/// A document some of whose arrays are made element by element when it is written.
package struct JSONDocument {
  package enum Part {
    case value(JSONValue)
    /// An array of objects.
    case elements(count: Int, (Int) -> JSONValue)
  }
  package let members: [(key: String, part: Part)]

  package init(_ members: [(key: String, part: Part)]) { self.members = members }

  package init(_ object: JSONObject) { members = object.members.map { ($0.key, .value($0.value)) } }
}
