import Text

/// HTML under construction. Its literal parts stand as they are; whatever is interpolated as text is escaped, so names and
/// tokens from strangers' files cannot become markup.
struct Markup: ExpressibleByStringInterpolation, Sendable {
  private(set) var html: String

  init(stringLiteral value: StaticString) { html = value.description }
  init(stringInterpolation: StringInterpolation) { html = stringInterpolation.html }

  /// Text, escaped.
  init(text: String) { html = Self.escaped(text) }

  /// Pieces after one another.
  init(_ parts: [Markup]) { html = parts.map(\.html).joined() }

  /// What is HTML already; only for the embedded document, the style and the script.
  init(trusted html: String) { self.html = html }

  var isEmpty: Bool { html.isEmpty }

  static func + (a: Markup, b: Markup) -> Markup { Markup([a, b]) }
  static func += (a: inout Markup, b: Markup) { a.html += b.html }

  struct StringInterpolation: StringInterpolationProtocol {
    fileprivate var html = ""

    init(literalCapacity: Int, interpolationCount: Int) { html.reserveCapacity(literalCapacity * 2) }

    mutating func appendLiteral(_ literal: StaticString) { html += literal.description }
    mutating func appendInterpolation(_ text: String) { html += Markup.escaped(text) }
    mutating func appendInterpolation(_ number: Int) { html += String(number) }
    mutating func appendInterpolation(_ markup: Markup) { html += markup.html }
    mutating func appendInterpolation(_ parts: [Markup]) { for part in parts { html += part.html } }
    /// Nothing where there is nothing.
    mutating func appendInterpolation(_ markup: Markup?) { html += markup?.html ?? "" }
  }

  /// Safe between tags and in quoted attributes. What cannot be seen or turns the direction of its neighbours is spelled.
  static func escaped(_ text: String) -> String {
    var out = ""
    out.reserveCapacity(text.utf8.count + 16)
    for scalar in text.unicodeScalars {
      switch scalar {
      case "&": out += "&amp;"
      case "<": out += "&lt;"
      case ">": out += "&gt;"
      case "\"": out += "&quot;"
      case "'": out += "&#39;"
      case "\n", "\t": out.unicodeScalars.append(scalar)
      case let scalar where Shown.isHidden(scalar): out += Shown.spelled(scalar)
      default: out.unicodeScalars.append(scalar)
      }
    }
    return out
  }
}
