// Filters and tests.

extension Renderer {
  func apply(_ call: FilterCall, to value: TemplateValue) throws(TemplateError) -> TemplateValue {
    let arguments = try evaluate(call.arguments)
    line = call.line
    return try deeper { () throws(TemplateError) in try apply(call.filter, to: value, arguments) }
  }

  private func apply(
    _ filter: Filter, to value: TemplateValue, _ arguments: CallArguments
  ) throws(TemplateError) -> TemplateValue {
    func bound(_ names: String..., required: Int = 0) throws(TemplateError) -> [TemplateValue?] {
      try bind(arguments, to: names, required: required, of: filter.rawValue)
    }
    switch filter {
    case .default, .d:
      let given = try bound("default_value", "boolean")
      if case .undefined = value { return given[0] ?? .text("") }
      let replacesFalse = try given[1].map { flag throws(TemplateError) in try isTrue(flag) } ?? false
      guard replacesFalse, !(try isTrue(value)) else { return value }
      return given[0] ?? .text("")
    case .trim:
      let text = try string(of: value)
      return .text(try trimmed(text, try bound("chars")[0], of: filter.rawValue))
    case .upper, .lower, .capitalize:
      _ = try bound()
      return .text(try cased(try string(of: value), filter.rawValue))
    case .string:
      _ = try bound()
      return .text(try string(of: value))
    case .replace:
      let given = try bound("old", "new", "count", required: 2)
      let (old, new) = (try string(of: given[0] ?? .none), try string(of: given[1] ?? .none))
      var most = given[2]
      if case .some(.none) = most { most = nil }
      return .text(try replaced(try string(of: value), old, new, try wholeArgument(most, of: filter.rawValue)))
    case .length, .count:
      _ = try bound()
      return .int(try length(of: value))
    case .join:
      let given = try bound("d", "attribute")
      guard given[1] == nil else { throw error(.unsupported, "`join` with an attribute") }
      let separator = try string(of: given[0] ?? .text(""))
      return .text(
        try joined(try elements(of: value), by: separator) { value throws(TemplateError) in try string(of: value) })
    case .first:
      _ = try bound()
      if case .iterator(let iterator) = value { return iterator.takeFirst() ?? .undefined("the first of nothing") }
      return try elements(of: value).first ?? .undefined("the first of nothing")
    case .last:
      _ = try bound()
      if case .iterator = value { throw error(.failed, "an iterator has no last element") }
      return try elements(of: value).last ?? .undefined("the last of nothing")
    case .list:
      _ = try bound()
      return try list(try elements(of: value))
    case .reverse:
      _ = try bound()
      if case .text(let text) = value {
        return .text(
          try joined(try elements(of: .text(text)).reversed(), by: TemplateText()) { v throws(TemplateError) in
            try string(of: v)
          })
      }
      return try iterator(try elements(of: value).reversed())
    case .items:
      _ = try bound()
      switch value {
      case .undefined: return try iterator([])
      case .mapping(let mapping): return try iterator(try pairs(of: mapping))
      default: throw error(.failed, "`items` needs a mapping, not \(value.kind)")
      }
    case .int:
      let given = try bound("default", "base")
      guard given[1] == nil else { throw error(.unsupported, "`int` with a base") }
      return try whole(from: value, otherwise: given[0] ?? .int(0))
    case .float:
      return try real(from: value, otherwise: try bound("default")[0] ?? .float(0))
    case .tojson:
      let given = try bound("ensure_ascii", "indent", "separators", "sort_keys")
      return .text(try json(value, given))
    case .map: return try map(value, arguments)
    case .select, .reject: return try select(value, arguments, byAttribute: false, filter == .select)
    case .selectattr, .rejectattr: return try select(value, arguments, byAttribute: true, filter == .selectattr)
    }
  }

  private func length(of value: TemplateValue) throws(TemplateError) -> Int {
    switch value {
    case .undefined: return 0
    case .text(let text):
      try look(at: text.count)
      return text.scalarCount
    case .sequence(let sequence): return sequence.values.count
    case .mapping(let mapping): return mapping.keys.count
    default: throw error(.failed, "\(value.kind) has no length")
    }
  }

  // MARK: Numbers from text

  private func whole(from value: TemplateValue, otherwise: TemplateValue) throws(TemplateError) -> TemplateValue {
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

  private func real(from value: TemplateValue, otherwise: TemplateValue) throws(TemplateError) -> TemplateValue {
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

  // MARK: Choosing

  private func part(_ path: TemplateText, of value: TemplateValue) throws(TemplateError) -> TemplateValue {
    var value = value
    for name in path.split(by: TemplateText(".")) {
      value = try item(Int(name.string).map { .int($0) } ?? .text(name), of: value)
    }
    return value
  }

  private func map(_ value: TemplateValue, _ arguments: CallArguments) throws(TemplateError) -> TemplateValue {
    var results: [TemplateValue] = []
    if arguments.positional.isEmpty {
      let given = try bind(arguments, to: ["attribute", "default"], required: 1, of: "map")
      let path = try text(given[0], of: "map")
      for element in try elements(of: value) {
        try look()
        let result = try part(path, of: element)
        if case .undefined = result, let otherwise = given[1] {
          results.append(otherwise)
        } else {
          results.append(result)
        }
      }
    } else {
      let name = try text(arguments.positional[0], of: "map").string
      guard let filter = Filter(rawValue: name) else { throw error(.unsupported, "the filter `\(name)`") }
      let rest = CallArguments(positional: Array(arguments.positional.dropFirst()), named: arguments.named)
      for element in try elements(of: value) {
        try look()
        results.append(try deeper { () throws(TemplateError) in try apply(filter, to: element, rest) })
      }
    }
    return try iterator(results)
  }

  private func select(
    _ value: TemplateValue, _ arguments: CallArguments, byAttribute: Bool, _ keeps: Bool
  ) throws(TemplateError) -> TemplateValue {
    guard arguments.named.isEmpty else { throw error(.unsupported, "`select` with a named argument") }
    var rest = arguments.positional[...]
    var path: TemplateText?
    if byAttribute {
      guard let first = rest.popFirst() else { throw error(.failed, "`selectattr` lacks the name of an attribute") }
      path = try text(first, of: "selectattr")
    }
    var test: Test?
    if let name = rest.popFirst() {
      let name = try text(name, of: "select").string
      guard let found = Test(rawValue: name) else { throw error(.unsupported, "the test `\(name)`") }
      test = found
    }
    var results: [TemplateValue] = []
    for element in try elements(of: value) {
      try look()
      let subject = if let path { try part(path, of: element) } else { element }
      let isKept =
        if let test { try holds(test, subject, CallArguments(positional: Array(rest))) } else { try isTrue(subject) }
      if isKept == keeps { results.append(element) }
    }
    return try iterator(results)
  }

  // MARK: Tests

  func holds(_ test: Test, _ value: TemplateValue, _ arguments: CallArguments) throws(TemplateError) -> Bool {
    let operandCount: Int =
      switch test {
      case .divisibleby, .equal, .eq, .equalto, .ge, .greaterEqual, .greater, .greaterthan, .gt, .in, .le, .lessEqual,
        .less, .lessthan, .lt, .ne, .notEqual:
        1
      default: 0
      }
    guard arguments.named.isEmpty, arguments.positional.count == operandCount else {
      throw error(.failed, "the test `\(test.rawValue)` takes \(operandCount) operands")
    }
    let operand = arguments.positional.first ?? .none
    switch test {
    case .defined: if case .undefined = value { return false } else { return true }
    case .undefined: if case .undefined = value { return true } else { return false }
    case .none: if case .none = value { return true } else { return false }
    case .boolean: if case .bool = value { return true } else { return false }
    case .true: if case .bool(true) = value { return true } else { return false }
    case .false: if case .bool(false) = value { return true } else { return false }
    case .integer: if case .int = value { return true } else { return false }
    case .float: if case .float = value { return true } else { return false }
    case .string: if case .text = value { return true } else { return false }
    case .mapping: if case .mapping = value { return true } else { return false }
    case .number:
      switch value {
      case .int, .float, .bool: return true
      default: return false
      }
    case .iterable:
      switch value {
      case .undefined, .text, .sequence, .mapping, .iterator, .loop: return true
      default: return false
      }
    case .sequence:
      switch value {
      case .undefined, .text, .mapping: return true
      case .sequence(let sequence): return sequence.kind != .view
      default: return false
      }
    case .equal, .eq, .equalto: return try compare(.equal, value, operand)
    case .notEqual, .ne: return try compare(.notEqual, value, operand)
    case .less, .lt, .lessthan: return try compare(.less, value, operand)
    case .lessEqual, .le: return try compare(.lessOrEqual, value, operand)
    case .greater, .gt, .greaterthan: return try compare(.greater, value, operand)
    case .greaterEqual, .ge: return try compare(.greaterOrEqual, value, operand)
    case .in: return try contains(operand, value)
    case .odd, .even, .divisibleby:
      let divisor = test == .divisibleby ? operand : .int(2)
      guard case .int(let rest) = try arithmetic(.remainder, value, divisor) else { return false }
      return test == .odd ? rest == 1 : rest == 0
    }
  }
}
