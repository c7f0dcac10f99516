/// Text from a stranger's file, safe to print.
package enum Shown {
  /// Names of files in a text as people read them: a byte that is no UTF-8 in hexadecimal digits.
  package static func fileNames(in text: String) -> String {
    guard FileName.isEscaped(text) else { return text }
    return text.unicodeScalars.reduce(into: "") { out, scalar in
      if let byte = FileName.byte(of: scalar) { out += spelled(byte) } else { out.unicodeScalars.append(scalar) }
    }
  }

  private static func spelled(_ byte: UInt8) -> String { "\\x\(String(byte, radix: 16))" }

  /// What messages call an input that a person named: `-` is stdin.
  package static func input(_ path: String) -> String { path == "-" ? "stdin" : "`\(path)`" }

  /// Nothing that steers a terminal, and not endless.
  package static func text(_ text: String, limit: Int = 200) -> String {
    var out = ""
    for scalar in text.unicodeScalars.prefix(limit) {
      if let byte = FileName.byte(of: scalar) {
        out += spelled(byte)
      } else if isHidden(scalar) {
        out += spelled(scalar)
      } else {
        out.unicodeScalars.append(scalar)
      }
    }
    return text.unicodeScalars.count > limit ? out + "…" : out
  }

  /// What nobody sees, or what changes how its neighbours are seen: control characters (also U+0080–U+009F), marks and
  /// isolates of direction, all without width, the separators U+2028 and U+2029, U+FEFF, and what no font has. The terminal,
  /// JSON that is printed and the page spell these.
  package static func isHidden(_ scalar: Unicode.Scalar) -> Bool {
    if scalar.value >= 0x20 && scalar.value < 0x7F { return false }
    let properties = scalar.properties
    switch properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator, .privateUse, .unassigned, .surrogate: return true
    // Fillers and joiners that are letters or marks by name. What picks the picture of an emoji is seen in it.
    default: return properties.isDefaultIgnorableCodePoint && !properties.isVariationSelector
    }
  }

  /// `\u{202e}`.
  package static func spelled(_ scalar: Unicode.Scalar) -> String { "\\u{\(String(scalar.value, radix: 16))}" }
}
