import Text

/// Text laid out in rows of a terminal.
struct TerminalText {
  enum Style: String {
    case settled = ""
    /// Written by the last step.
    case fresh = "1"
    case mask = "2"
    case status = "2;3"
  }

  private let columns: Int
  private let coloured: Bool
  private(set) var rows = [""]
  private var column = 0

  init(columns: Int, coloured: Bool) {
    self.columns = max(1, columns)
    self.coloured = coloured
  }

  mutating func append(_ bytes: [UInt8], _ style: Style) {
    guard !bytes.isEmpty else { return }
    let escape = coloured && style != .settled
    if escape { rows[rows.count - 1] += "\u{1B}[\(style.rawValue)m" }
    for character in Self.printable(bytes) {
      if character == "\n" {
        rows.append("")
        column = 0
        continue
      }
      let text = character == "\t" ? String(repeating: " ", count: 8 - column % 8) : String(character)
      let width = character == "\t" ? text.count : Self.width(character)
      if column + width > columns {
        rows.append("")
        column = 0
      }
      rows[rows.count - 1] += text
      column += width
    }
    if escape { rows[rows.count - 1] += "\u{1B}[0m" }
  }

  /// Text of a model with nothing that steers a terminal: line ends and tabs stay, and so do joiners, which are in words of Persian and Hindi and
  /// in emoji; other hidden characters are spelled.
  static func printable(_ bytes: [UInt8]) -> String {
    var out = ""
    for scalar in String(decoding: bytes, as: UTF8.self).unicodeScalars {
      switch scalar {
      case "\n", "\t": out.unicodeScalars.append(scalar)
      case "\r": continue
      case "\u{200C}", "\u{200D}": out.unicodeScalars.append(scalar)
      default: if Shown.isHidden(scalar) { out += Shown.spelled(scalar) } else { out.unicodeScalars.append(scalar) }
      }
    }
    return out
  }

  /// Columns that most terminals give a character.
  static func width(_ character: Character) -> Int {
    character.unicodeScalars.map(width).max() ?? 0
  }

  private static func width(_ scalar: Unicode.Scalar) -> Int {
    switch scalar.properties.generalCategory {
    case .nonspacingMark, .enclosingMark, .format: return 0
    default: break
    }
    if scalar.properties.isEmojiPresentation { return 2 }
    let isWide = wide.contains { $0.contains(scalar.value) }
    return isWide ? 2 : 1
  }

  /// East Asian Wide and Fullwidth, roughly.
  private static let wide: [ClosedRange<UInt32>] = [
    0x1100...0x115F, 0x2E80...0x303E, 0x3041...0x4DBF, 0x4E00...0xA4CF, 0xA960...0xA97C, 0xAC00...0xD7A3,
    0xF900...0xFAFF, 0xFE30...0xFE6F, 0xFF00...0xFF60, 0xFFE0...0xFFE6, 0x17000...0x18CFF, 0x1B000...0x1B2FF,
    0x20000...0x3FFFD,
  ]
}
