import Drift
import Glibc
import Text

/// Numbers set for a page: real minus signs, powers of ten raised, units kept on their line.
enum PageNumber {
  /// What `Wording` writes, in type.
  static func typeset(_ text: String) -> String {
    let words = text.replacing(" %", with: "\u{A0}%").replacing(" dB", with: "\u{A0}dB")
      .split(separator: " ", omittingEmptySubsequences: false)
    let out = words.map { word -> String in
      guard let exponent = word.firstIndex(of: "e"), word[..<exponent].last?.isNumber == true,
        let power = Int(word[word.index(after: exponent)...])
      else { return String(word) }
      return "\(word[..<exponent])\u{A0}×\u{A0}10\(raised(power))"
    }.joined(separator: " ")
    // A minus sign stands before a digit and after no letter: hashes and names are not touched.
    var result = ""
    var previous: Character = " "
    var rest = out[...]
    while let character = rest.popFirst() {
      let isMinus = character == "-" && rest.first?.isNumber == true && (previous == " " || previous == "(")
      result.append(isMinus ? "−" : character)
      previous = character
    }
    return result
  }

  static func count(_ value: Int) -> String { typeset(Format.count(value)) }
  static func nats(_ value: Double) -> String { typeset(Wording.nats(value)) }
  static func signed(_ value: Double) -> String { typeset(Wording.signed(value)) }
  static func ratio(_ value: Double) -> String { typeset(Wording.ratio(value)) }
  static func percent(_ value: Double) -> String { typeset(Wording.percent(value)) }
  static func signedPercent(_ value: Double) -> String { typeset(Wording.signedPercent(value)) }

  /// A mean, and its interval in brackets; nil without a mean.
  static func estimate(_ estimate: Estimate?, _ write: (Double) -> String = nats) -> String? {
    guard let estimate else { return nil }
    guard let interval = estimate.ci95 else { return write(estimate.mean) }
    return "\(write(estimate.mean)) (\(write(interval.lowerBound)) to \(write(interval.upperBound)))"
  }

  /// A number as someone set it, without digits that say nothing: `0.95`, `1`.
  static func plain(_ value: Double) -> String {
    // Six digits after the point: a 32-bit number that was 0.95 is 0.95 again.
    let text = abs(value) < 1e-4 || abs(value) > 1e9 ? "\(value)" : "\((value * 1e6).rounded() / 1e6)"
    return typeset(text.hasSuffix(".0") ? String(text.dropLast(2)) : text)
  }

  /// A share that someone set: `75 %`.
  static func plainPercent(_ share: Double) -> String { plain((share * 1e6).rounded() / 1e4) + "\u{A0}%" }

  static func tick(_ value: Double, step: Double, percent: Bool) -> String {
    let step = percent ? step * 100 : step
    let digits = max(0, -Int((Glibc.log10(step) + 1e-9).rounded(.down)))
    guard digits <= 5 else { return value == 0 ? "0" : typeset(Format.significant(value, digits: 2)) }
    return typeset(Format.fixed(percent ? value * 100 : value, digits))
  }

  /// A power of ten on an axis: plain where that is short.
  static func decade(_ exponent: Int, percent: Bool) -> String {
    let exponent = percent ? exponent + 2 : exponent
    switch exponent {
    case -2: return "0.01"
    case -1: return "0.1"
    case 0: return "1"
    case 1: return "10"
    case 2: return "100"
    default: return "10\(raised(exponent))"
    }
  }

  private static func raised(_ exponent: Int) -> String {
    let digits = Array("⁰¹²³⁴⁵⁶⁷⁸⁹")
    let text = String(exponent.magnitude).compactMap(\.wholeNumberValue).map { String(digits[$0]) }.joined()
    return (exponent < 0 ? "⁻" : "") + text
  }

  /// A coordinate in a drawing: one digit is finer than any screen.
  static func coordinate(_ value: Double) -> String { Format.fixed(value, 1) }
}

extension Float {
  /// The number that its shortest text names: 0.95 of what was 0.95 in 32 bits.
  var decimal: Double { Double("\(self)") ?? Double(self) }
}
