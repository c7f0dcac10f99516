// Numbers from text, for the filters `int` and `float`.

extension Renderer {
  func whole(from value: TemplateValue, otherwise: TemplateValue) throws(TemplateError) -> TemplateValue {
    switch value {
    case .undefined(let what): throw error(.failed, "\(what) is undefined")
    case .text(let text):
      let word = try numeral(text)
      if let whole = Int(word) { return .int(whole) }
      guard let value = real(from: word) else { return otherwise }
      return try rounded(value)
    case .float(let value): return try rounded(value)
    default: return try whole(value).map { .int($0) } ?? otherwise
    }
  }

  private func rounded(_ value: Double) throws(TemplateError) -> TemplateValue {
    guard let whole = Int(exactly: value.rounded(.towardZero)) else {
      throw error(.unsupported, "a number of more than 64 bits")
    }
    return .int(whole)
  }

  func real(from value: TemplateValue, otherwise: TemplateValue) throws(TemplateError) -> TemplateValue {
    switch value {
    case .undefined(let what): throw error(.failed, "\(what) is undefined")
    case .text(let text): return real(from: try numeral(text)).map { .float($0) } ?? otherwise
    case .float: return value
    default: return try whole(value).map { .float(Double($0)) } ?? otherwise
    }
  }

  /// Text without white space around; refused where Python would read a spelling of a number that is not read here.
  private func numeral(_ text: TemplateText) throws(TemplateError) -> String {
    let word = text.trimmed(TemplateText.isSpace).string
    let unsigned = word.drop { $0 == "+" || $0 == "-" }
    let isSpecial = ["inf", "infinity", "nan"].contains(unsigned.lowercased())
    let isGrouped = word.utf8.contains(UInt8(ascii: "_")) && real(from: word.filter { $0 != "_" }) != nil
    let isForeign = word.unicodeScalars.contains { $0.value >= 0x80 && $0.properties.numericType == .decimal }
    let isSpacedOddly = text.bytes.contains { (0x1C...0x1F).contains($0) }
    if isSpecial || isGrouped || isForeign || isSpacedOddly || word.utf8.count > 400 {
      throw error(.unsupported, "a number written like this")
    }
    return word
  }

  /// Digits with a point and an exponent, as far as there are any.
  private func real(from word: String) -> Double? {
    let isPlain = word.utf8.allSatisfy { (0x30...0x39).contains($0) || "+-.eE".utf8.contains($0) }
    guard isPlain, word.utf8.contains(where: { (0x30...0x39).contains($0) }) else { return nil }
    // Swift wants a digit on both sides of the point.
    var full = ""
    for character in word {
      if character == ".", full.last?.isNumber != true { full += "0" }
      if full.last == ".", !character.isNumber { full += "0" }
      full.append(character)
    }
    return Double(full.last == "." ? full + "0" : full)
  }
}
