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

  /// Nothing that steers a terminal, and not endless.
  package static func text(_ text: String, limit: Int = 200) -> String {
    var out = ""
    for scalar in text.unicodeScalars.prefix(limit) {
      if let byte = FileName.byte(of: scalar) {
        out += spelled(byte)
        continue
      }
      switch scalar.properties.generalCategory {
      case .control, .format, .lineSeparator, .paragraphSeparator, .privateUse, .unassigned, .surrogate:
        out += "\\u{\(String(scalar.value, radix: 16))}"
      default: out.unicodeScalars.append(scalar)
      }
    }
    return text.unicodeScalars.count > limit ? out + "…" : out
  }
}
