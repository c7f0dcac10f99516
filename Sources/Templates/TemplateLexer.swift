/// A template cut into words, with Jinja's rules for white space where `trim_blocks` and `lstrip_blocks` are set.
struct TemplateLexer {
  struct Token {
    enum Kind: Equatable {
      case data(String), name(String), text(String), int(Int), float(Double), symbol(String)
      case outputStart, outputEnd, blockStart, blockEnd, end
    }
    let kind: Kind
    let line: Int
  }

  private let source: [UInt8]
  private var offset = 0
  private var line = 1
  private var tokens: [Token] = []

  /// - Parameter text: of the template; ends of lines become `\n` and one at its end is left out, as Jinja does.
  private init(_ text: String) {
    var source: [UInt8] = []
    var afterReturn = false
    for byte in text.utf8 {
      if !(byte == UInt8(ascii: "\n") && afterReturn) { source.append(byte == 0x0D ? UInt8(ascii: "\n") : byte) }
      afterReturn = byte == 0x0D
    }
    if source.last == UInt8(ascii: "\n") { source.removeLast() }
    self.source = source
  }

  static func tokens(of text: String) throws(TemplateError) -> [Token] {
    var lexer = TemplateLexer(text)
    try lexer.run()
    return lexer.tokens
  }

  private func error(_ kind: TemplateError.Kind, _ reason: String, line: Int? = nil) -> TemplateError {
    TemplateError(kind, reason, line: line ?? self.line)
  }

  private func peek(_ distance: Int = 0) -> UInt8? {
    offset + distance < source.count ? source[offset + distance] : nil
  }

  private func sees(_ text: StaticString) -> Bool {
    let bytes = text.description.utf8
    return source.count - offset >= bytes.count && source[offset..<offset + bytes.count].elementsEqual(bytes)
  }

  private mutating func advance(_ count: Int) {
    for byte in source[offset..<offset + count] where byte == UInt8(ascii: "\n") { line += 1 }
    offset += count
  }

  private mutating func skipSpace() {
    while offset < source.count, case let next = source.scalar(at: offset), TemplateText.isSpace(next.value) {
      advance(next.count)
    }
  }

  private mutating func emit(_ kind: Token.Kind) { tokens.append(Token(kind: kind, line: line)) }

  private mutating func run() throws(TemplateError) {
    while offset < source.count {
      let start = offset
      var end = offset
      while end < source.count, !startsTag(end) { end += 1 }
      guard end < source.count else {
        data(start..<end)
        break
      }
      let tag = source[end + 1]
      let sign = end + 2 < source.count ? source[end + 2] : 0
      let isSigned = sign == UInt8(ascii: "-") || sign == UInt8(ascii: "+")
      data(start..<end, before: tag, sign: sign)
      advance(isSigned ? 3 : 2)
      switch tag {
      case UInt8(ascii: "#"): try comment()
      case UInt8(ascii: "%"):
        emit(.blockStart)
        try words(until: "%}", .blockEnd, trimsLine: true)
      default:
        emit(.outputStart)
        try words(until: "}}", .outputEnd, trimsLine: false)
      }
    }
    emit(.end)
  }

  private func startsTag(_ place: Int) -> Bool {
    guard source[place] == UInt8(ascii: "{"), place + 1 < source.count else { return false }
    return [UInt8(ascii: "%"), UInt8(ascii: "#"), UInt8(ascii: "{")].contains(source[place + 1])
  }

  /// Text before a tag; what of it is left out depends on the tag.
  private mutating func data(_ range: Range<Int>, before tag: UInt8? = nil, sign: UInt8 = 0) {
    var end = range.upperBound
    if tag != nil, sign == UInt8(ascii: "-") {
      while end > range.lowerBound, case let before = source.scalarStart(before: end),
        TemplateText.isSpace(source.scalar(at: before).value)
      { end = before }
    } else if let tag, sign != UInt8(ascii: "+"), tag != UInt8(ascii: "{") {
      // White space between the start of the line and the tag.
      var start = end
      while start > range.lowerBound, source[start - 1] != UInt8(ascii: "\n") {
        start = source.scalarStart(before: start)
      }
      let startsLine = start > range.lowerBound || start == 0 || source[start - 1] == UInt8(ascii: "\n")
      let rest = TemplateText(bytes: Array(source[start..<end]), isContent: false)
      if startsLine, rest.trimmed(TemplateText.isSpace).isEmpty { end = start }
    }
    if range.lowerBound < end { emit(.data(String(decoding: source[range.lowerBound..<end], as: UTF8.self))) }
    advance(range.count)
  }

  private mutating func comment() throws(TemplateError) {
    let start = line
    while offset < source.count {
      if try ends("#}", trimsLine: true) { return }
      advance(1)
    }
    throw error(.malformed, "the comment has no end", line: start)
  }

  /// Takes the end of a tag, if it stands here, and the white space behind it that goes with it.
  private mutating func ends(_ mark: StaticString, trimsLine: Bool) throws(TemplateError) -> Bool {
    let sign = peek()
    let isSigned = sign == UInt8(ascii: "-") || sign == UInt8(ascii: "+") && trimsLine
    guard let next = peek(1), peek(2) != nil || !isSigned else { return false }
    let bytes = Array(mark.description.utf8)
    if isSigned, next == bytes[0], peek(2) == bytes[1] {
      advance(3)
      if sign == UInt8(ascii: "-") { skipSpace() }
      return true
    }
    guard sees(mark) else { return false }
    advance(2)
    if trimsLine, peek() == UInt8(ascii: "\n") { advance(1) }
    return true
  }

  private mutating func words(until mark: StaticString, _ end: Token.Kind, trimsLine: Bool) throws(TemplateError) {
    var open: [UInt8] = []
    let (start, first) = (line, tokens.count)
    while offset < source.count {
      if open.isEmpty, try ends(mark, trimsLine: trimsLine) { return emit(end) }
      let next = source.scalar(at: offset)
      if TemplateText.isSpace(next.value) {
        advance(next.count)
      } else if (0x30...0x39).contains(next.value) {
        try number()
      } else if next.value == UInt32(UInt8(ascii: "'")) || next.value == UInt32(UInt8(ascii: "\"")) {
        try text(quote: source[offset])
      } else if Self.isLetter(source[offset]) {
        let end = source[offset...].firstIndex { !Self.isLetter($0) && !(0x30...0x39).contains($0) } ?? source.count
        let name = String(decoding: source[offset..<end], as: UTF8.self)
        if name == "raw", tokens.count == first, mark.description == "%}" { throw error(.unsupported, "`{% raw %}`") }
        emit(.name(name))
        advance(end - offset)
      } else {
        try symbol(&open)
      }
    }
    throw error(.malformed, "the tag has no end", line: start)
  }

  private static func isLetter(_ byte: UInt8) -> Bool {
    byte == UInt8(ascii: "_") || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
  }

  private mutating func symbol(_ open: inout [UInt8]) throws(TemplateError) {
    let byte = source[offset]
    let pair = peek(1).map { String(decoding: [byte, $0], as: UTF8.self) }
    if let pair, ["//", "**", "==", "!=", ">=", "<="].contains(pair) {
      emit(.symbol(pair))
      return advance(2)
    }
    let symbol = byte < 0x80 ? String(Unicode.Scalar(byte)) : ""
    guard "+-/*%~[](){}><=.:|,;".contains(symbol), !symbol.isEmpty else {
      let scalar = Unicode.Scalar(source.scalar(at: offset).value).map { String($0) } ?? ""
      if byte >= 0x80 { throw error(.unsupported, "a name with `\(scalar)`") }
      throw error(.malformed, "`\(scalar)` was not expected here")
    }
    switch byte {
    case UInt8(ascii: "("): open.append(UInt8(ascii: ")"))
    case UInt8(ascii: "["), UInt8(ascii: "{"): open.append(byte + 2)
    case UInt8(ascii: ")"), UInt8(ascii: "]"), UInt8(ascii: "}"):
      guard open.popLast() == byte else { throw error(.malformed, "`\(symbol)` closes nothing") }
    default: break
    }
    emit(.symbol(symbol))
    advance(1)
  }

  /// Decimal numbers; a fraction needs digits on both sides of its point.
  private mutating func number() throws(TemplateError) {
    let start = offset
    func digits(_ place: Int) -> Int { source[place...].firstIndex { !(0x30...0x39).contains($0) } ?? source.count }
    var end = digits(offset)
    var isFloat = false
    if start == 0 || source[start - 1] != UInt8(ascii: ".") {
      if end + 1 < source.count, source[end] == UInt8(ascii: "."), digits(end + 1) > end + 1 {
        end = digits(end + 1)
        isFloat = true
      }
      if end < source.count, source[end] | 0x20 == UInt8(ascii: "e") {
        let sign = end + 1 < source.count && [UInt8(ascii: "+"), UInt8(ascii: "-")].contains(source[end + 1]) ? 1 : 0
        if end + 1 + sign < source.count, digits(end + 1 + sign) > end + 1 + sign {
          end = digits(end + 1 + sign)
          isFloat = true
        }
      }
    }
    let text = String(decoding: source[start..<end], as: UTF8.self)
    if end < source.count, Self.isLetter(source[end]) { throw error(.unsupported, "a number written like `\(text)…`") }
    if isFloat, let value = Double(text) {
      emit(.float(value))
    } else {
      guard text == "0" || text.utf8.first != UInt8(ascii: "0") else {
        throw error(.malformed, "`\(text)` is no number")
      }
      guard let value = Int(text) else {
        throw error(.unsupported, "the number \(text), which needs more than 64 bits")
      }
      emit(.int(value))
    }
    advance(end - start)
  }

  private mutating func text(quote: UInt8) throws(TemplateError) {
    let start = line
    var bytes: [UInt8] = []
    advance(1)
    while let byte = peek() {
      if byte == quote {
        tokens.append(Token(kind: .text(String(decoding: bytes, as: UTF8.self)), line: start))
        return advance(1)
      }
      if byte == UInt8(ascii: "\\") { try escape(into: &bytes) } else { bytes.append(byte); advance(1) }
    }
    throw error(.malformed, "the text in quotes has no end", line: start)
  }

  /// As in Python: an escape that it does not know stays as it is.
  private mutating func escape(into bytes: inout [UInt8]) throws(TemplateError) {
    guard let letter = peek(1) else { throw error(.malformed, "the text in quotes has no end") }
    let simple: [UInt8: UInt8?] = [
      UInt8(ascii: "n"): 0x0A, UInt8(ascii: "t"): 0x09, UInt8(ascii: "r"): 0x0D, UInt8(ascii: "\\"): 0x5C,
      UInt8(ascii: "'"): 0x27, UInt8(ascii: "\""): 0x22, UInt8(ascii: "a"): 0x07, UInt8(ascii: "b"): 0x08,
      UInt8(ascii: "f"): 0x0C, UInt8(ascii: "v"): 0x0B, UInt8(ascii: "\n"): nil as UInt8?,
    ]
    if let meaning = simple[letter] {
      if let meaning { bytes.append(meaning) }
      return advance(2)
    }
    let digitCount =
      switch letter {
      case UInt8(ascii: "x"): 2
      case UInt8(ascii: "u"): 4
      case UInt8(ascii: "U"): 8
      default: 0
      }
    guard digitCount > 0 else {
      let isRefused = letter >= 0x80 || letter == UInt8(ascii: "N") || (0x30...0x37).contains(letter)
      let shown = Unicode.Scalar(source.scalar(at: offset + 1).value).map { String($0) } ?? ""
      if isRefused { throw error(.unsupported, "the escape `\\\(shown)`") }
      bytes += [UInt8(ascii: "\\"), letter]
      return advance(2)
    }
    let digits = source[offset + 2..<min(source.count, offset + 2 + digitCount)]
    let isHex = digits.allSatisfy { $0 < 0x80 && Character(Unicode.Scalar($0)).isHexDigit }
    guard digits.count == digitCount, isHex, let value = UInt32(String(decoding: digits, as: UTF8.self), radix: 16),
      let scalar = Unicode.Scalar(value)
    else { throw error(.malformed, "an escape in quotes names no character") }
    bytes += String(scalar).utf8
    advance(2 + digitCount)
  }
}
