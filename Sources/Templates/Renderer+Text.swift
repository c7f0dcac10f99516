// Values as text: what `str`, `repr` and `json.dumps` of Python write.

extension Renderer {
  func string(of value: TemplateValue) throws(TemplateError) -> TemplateText {
    switch value {
    case .text(let text): return text
    case .undefined: return TemplateText()
    default:
      var writer = ValueWriter(style: .python)
      try writer.write(value, self)
      return writer.text
    }
  }

  /// - Parameter options: `ensure_ascii`, `indent`, `separators` and `sort_keys`.
  func json(_ value: TemplateValue, _ options: [TemplateValue?]) throws(TemplateError) -> TemplateText {
    var writer = ValueWriter(style: .json)
    if let isASCII = options[0] { writer.escapesNonASCII = try isTrue(isASCII) }
    switch options[1] {
    case nil, .some(.none): break
    case .text(let text)?: writer.indentation = text.string
    case let indent:
      let width = try wholeArgument(indent, of: "tojson") ?? 0
      guard width <= 64 else { throw error(.limit, "`tojson` indents by \(width)") }
      writer.indentation = String(repeating: " ", count: max(0, width))
    }
    if writer.indentation != nil { writer.comma = "," }
    switch options[2] {
    case nil, .some(.none): break
    case .sequence(let pair)? where pair.values.count == 2:
      writer.comma = try text(pair.values[0], of: "tojson").string
      writer.colon = try text(pair.values[1], of: "tojson").string
    default: throw error(.failed, "the `separators` of `tojson` are no two texts")
    }
    if let sorts = options[3] { writer.sortsKeys = try isTrue(sorts) }
    try writer.write(value, self)
    return writer.text
  }
}

/// Writes a value; what holds somebody's words is theirs as a whole.
private struct ValueWriter {
  enum Style { case python, json }

  let style: Style
  var escapesNonASCII = false
  var indentation: String?
  var comma = ", "
  var colon = ": "
  var sortsKeys = false

  private var result = ""
  private var hasContent = false
  private var level = 0

  init(style: Style) { self.style = style }

  var text: TemplateText { TemplateText(result, isContent: hasContent) }

  private mutating func put(_ text: String, _ renderer: Renderer) throws(TemplateError) {
    try renderer.look()
    try renderer.make(text.utf8.count)
    result += text
  }

  mutating func write(_ value: TemplateValue, _ renderer: Renderer) throws(TemplateError) {
    let isJSON = style == .json
    switch value {
    case .none: try put(isJSON ? "null" : "None", renderer)
    case .bool(let value): try put(isJSON ? value ? "true" : "false" : value ? "True" : "False", renderer)
    case .int(let value): try put("\(value)", renderer)
    case .float(let value): try put(Self.float(value, isJSON: isJSON), renderer)
    case .text(let text): try write(text, renderer)
    case .undefined(let what):
      if isJSON { throw renderer.error(.failed, "\(what) is undefined and has no JSON") }
      try put("Undefined", renderer)
    case .sequence(let sequence) where sequence.kind == .list || sequence.kind == .tuple:
      let isTuple = sequence.kind == .tuple && !isJSON
      try writeList(sequence.values, isTuple ? "(" : "[", isTuple ? ")" : "]", renderer) {
        writer, value throws(TemplateError) in try writer.write(value, renderer)
      }
      // Python writes a tuple of one element as `(1,)`.
      if isTuple, sequence.values.count == 1 {
        result.removeLast()
        result += ",)"
      }
    case .mapping(let mapping):
      var members = Array(zip(mapping.keys, mapping.values))
      if isJSON, sortsKeys { members.sort { $0.0.bytes.lexicographicallyPrecedes($1.0.bytes) } }
      try writeList(members, "{", "}", renderer) { writer, member throws(TemplateError) in
        try writer.write(member.0, renderer)
        try writer.put(writer.colon, renderer)
        try writer.write(member.1, renderer)
      }
    default:
      throw renderer.error(
        isJSON ? .failed : .unsupported, isJSON ? "\(value.kind) has no JSON" : "\(value.kind) written as text")
    }
  }

  private mutating func writeList<Element>(
    _ elements: [Element], _ open: String, _ close: String, _ renderer: Renderer,
    _ each: (inout ValueWriter, Element) throws(TemplateError) -> Void
  ) throws(TemplateError) {
    try put(open, renderer)
    level += 1
    for (index, element) in elements.enumerated() {
      if index > 0 { try put(comma, renderer) }
      try startLine(renderer)
      try each(&self, element)
    }
    level -= 1
    if !elements.isEmpty { try startLine(renderer) }
    try put(close, renderer)
  }

  private mutating func startLine(_ renderer: Renderer) throws(TemplateError) {
    guard let indentation else { return }
    try renderer.make(indentation.utf8.count * level)
    try put("\n" + String(repeating: indentation, count: level), renderer)
  }

  private mutating func write(_ text: TemplateText, _ renderer: Renderer) throws(TemplateError) {
    hasContent = hasContent || text.hasContent
    try renderer.make(8 * text.count)
    let string = text.string
    let hasQuote = string.utf8.contains(UInt8(ascii: "'")) && !string.utf8.contains(UInt8(ascii: "\""))
    let quote = style == .json || hasQuote ? "\"" : "'"
    var quoted = quote
    for scalar in string.unicodeScalars { write(scalar, quote, to: &quoted) }
    try put(quoted + quote, renderer)
  }

  private func write(_ scalar: Unicode.Scalar, _ quote: String, to out: inout String) {
    switch scalar {
    case "\\": out += "\\\\"
    case "\n": out += "\\n"
    case "\r": out += "\\r"
    case "\t": out += "\\t"
    case "\u{8}" where style == .json: out += "\\b"
    case "\u{C}" where style == .json: out += "\\f"
    case _ where String(scalar) == quote: out += "\\" + quote
    case _ where style == .json:
      if scalar.value < 0x20 || escapesNonASCII && scalar.value > 0x7E {
        for unit in String(scalar).utf16 { out += "\\u" + Self.hex(UInt32(unit), 4) }
      } else {
        out.unicodeScalars.append(scalar)
      }
    case _ where Self.isPrintable(scalar): out.unicodeScalars.append(scalar)
    case _ where scalar.value < 0x100: out += "\\x" + Self.hex(scalar.value, 2)
    case _ where scalar.value < 0x10000: out += "\\u" + Self.hex(scalar.value, 4)
    default: out += "\\U" + Self.hex(scalar.value, 8)
    }
  }

  private static func hex(_ value: UInt32, _ width: Int) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: max(0, width - digits.count)) + digits
  }

  private static func isPrintable(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.properties.generalCategory {
    case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator: false
    case .spaceSeparator: scalar == " "
    default: true
    }
  }

  /// The shortest digits that read back as the same number, with an exponent where Python has one.
  private static func float(_ value: Double, isJSON: Bool) -> String {
    if value.isNaN { return isJSON ? "NaN" : "nan" }
    if value.isInfinite { return (value < 0 ? "-" : "") + (isJSON ? "Infinity" : "inf") }
    var text = "\(value.magnitude)"
    var exponent = 0
    if let mark = text.firstIndex(of: "e") {
      exponent = Int(text[text.index(after: mark)...].drop { $0 == "+" }) ?? 0
      text = String(text[..<mark])
    }
    let point = text.firstIndex(of: ".")
    let wholeDigits = point.map { text.distance(from: text.startIndex, to: $0) } ?? text.count
    var digits = text.filter { $0 != "." }
    // The number is 0.DIGITS · 10^place.
    var place = wholeDigits + exponent
    while digits.count > 1, digits.last == "0" { digits.removeLast() }
    while digits.count > 1, digits.first == "0" {
      digits.removeFirst()
      place -= 1
    }
    let sign = value.sign == .minus ? "-" : ""
    if digits == "0" { return sign + "0.0" }
    guard (-3...16).contains(place) else {
      let power = place - 1
      let fraction = digits.count > 1 ? "." + digits.dropFirst() : ""
      let shown = (power < 0 ? "-" : "+") + (abs(power) < 10 ? "0" : "") + "\(abs(power))"
      return "\(sign)\(digits.prefix(1))\(fraction)e\(shown)"
    }
    if place <= 0 { return sign + "0." + String(repeating: "0", count: -place) + digits }
    if digits.count <= place { return sign + digits + String(repeating: "0", count: place - digits.count) + ".0" }
    return sign + digits.prefix(place) + "." + digits.dropFirst(place)
  }
}
