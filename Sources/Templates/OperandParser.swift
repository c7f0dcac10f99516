// What operators stand between: values with what follows them.

extension TemplateParser {
  mutating func signed(takesFilters: Bool = true) throws(TemplateError) -> Expression {
    let line = line
    var value: Expression
    if kind == .symbol("-") || kind == .symbol("+") {
      let isNegative = take(symbol: "-")
      if !isNegative { advance() }
      let operand = try nested { parser throws(TemplateError) in try parser.signed(takesFilters: false) }
      value = Expression(line: line, kind: .sign(isNegative: isNegative, operand))
    } else {
      value = try primary()
    }
    return try chain { parser throws(TemplateError) in
      value = try parser.postfix(value)
      return takesFilters ? try parser.filtersAndTests(value) : value
    }
  }

  private mutating func primary() throws(TemplateError) -> Expression {
    let line = line
    switch kind {
    case .name(let name):
      advance()
      return switch name {
      case "true", "True": Expression(line: line, kind: .bool(true))
      case "false", "False": Expression(line: line, kind: .bool(false))
      case "none", "None": Expression(line: line, kind: .none)
      default: Expression(line: line, kind: .name(name))
      }
    case .text(var text):
      advance()
      while case .text(let more) = kind {
        text += more
        advance()
      }
      return Expression(line: line, kind: .text(TemplateText(text)))
    case .int(let value):
      advance()
      return Expression(line: line, kind: .int(value))
    case .float(let value):
      advance()
      return Expression(line: line, kind: .float(value))
    case .symbol("("):
      advance()
      let value = try nested { parser throws(TemplateError) in try parser.tuple(inParentheses: true) }
      try require(symbol: ")")
      return value
    case .symbol("["):
      advance()
      return Expression(line: line, kind: .list(try list(until: "]") { p throws(TemplateError) in try p.expression() }))
    case .symbol("{"):
      advance()
      let members = try list(until: "}") { parser throws(TemplateError) in
        let key = try parser.expression()
        try parser.require(symbol: ":")
        return (key: key, value: try parser.expression())
      }
      return Expression(line: line, kind: .mapping(members))
    default: throw unexpected("an expression")
    }
  }

  /// Elements between commas, up to and with what closes them.
  private mutating func list<Element>(
    until end: String, _ element: (inout TemplateParser) throws(TemplateError) -> Element
  ) throws(TemplateError) -> [Element] {
    var elements: [Element] = []
    while !take(symbol: end) {
      if !elements.isEmpty {
        try require(symbol: ",")
        if take(symbol: end) { break }
      }
      elements.append(try element(&self))
    }
    return elements
  }

  private mutating func postfix(_ value: Expression) throws(TemplateError) -> Expression {
    var value = value
    while true {
      let line = line
      if take(symbol: ".") {
        try deepen()
        if case .int(let index) = kind {
          advance()
          value = Expression(line: line, kind: .item(value, Expression(line: line, kind: .int(index))))
        } else {
          value = Expression(line: line, kind: .attribute(value, try name()))
        }
      } else if take(symbol: "[") {
        try deepen()
        value = try subscripted(value, line)
      } else if kind == .symbol("(") {
        try deepen()
        value = Expression(line: line, kind: .call(value, try arguments()))
      } else {
        return value
      }
    }
  }

  private mutating func subscripted(_ value: Expression, _ line: Int) throws(TemplateError) -> Expression {
    func part(_ parser: inout TemplateParser) throws(TemplateError) -> Expression? {
      parser.kind == .symbol(":") || parser.kind == .symbol("]") ? nil : try parser.expression()
    }
    let first = try part(&self)
    if take(symbol: ":") {
      let stop = try part(&self)
      let step: Expression? = take(symbol: ":") ? try part(&self) : nil
      try require(symbol: "]")
      return Expression(line: line, kind: .slice(value, start: first, stop: stop, step: step))
    }
    guard let first else { throw unexpected("an index") }
    if kind == .symbol(",") { throw error(.unsupported, "an index of several values") }
    try require(symbol: "]")
    return Expression(line: line, kind: .item(value, first))
  }

  mutating func arguments() throws(TemplateError) -> Arguments {
    try require(symbol: "(")
    var arguments = Arguments()
    while !take(symbol: ")") {
      if !arguments.positional.isEmpty || !arguments.named.isEmpty {
        try require(symbol: ",")
        if take(symbol: ")") { break }
      }
      if kind == .symbol("*") || kind == .symbol("**") { throw error(.unsupported, "arguments from a list or mapping") }
      if case .name(let name) = kind, following() == .symbol("=") {
        advance()
        advance()
        guard !arguments.named.contains(where: { $0.name == name }) else {
          throw error(.malformed, "the argument `\(name)` appears twice")
        }
        arguments.named.append((name, try expression()))
      } else {
        guard arguments.named.isEmpty else {
          throw error(.malformed, "an argument without name follows one with a name")
        }
        arguments.positional.append(try expression())
      }
    }
    return arguments
  }

  private mutating func filtersAndTests(_ value: Expression) throws(TemplateError) -> Expression {
    var value = value
    while true {
      let line = line
      if take(symbol: "|") {
        try deepen()
        value = Expression(line: line, kind: .filter(value, try filterCall()))
      } else if take(word: "is") {
        try deepen()
        value = try test(of: value, line)
      } else if kind == .symbol("(") {
        try deepen()
        value = Expression(line: line, kind: .call(value, try arguments()))
      } else {
        return value
      }
    }
  }

  /// Behind the bar.
  mutating func filterCall() throws(TemplateError) -> FilterCall {
    let line = line
    let name = try name()
    guard let filter = Filter(rawValue: name) else { throw error(.unsupported, "the filter `\(name)`", line: line) }
    return FilterCall(filter: filter, arguments: kind == .symbol("(") ? try arguments() : Arguments(), line: line)
  }

  /// Behind `is`.
  private mutating func test(of value: Expression, _ line: Int) throws(TemplateError) -> Expression {
    let isNegated = take(word: "not")
    let name = try name()
    guard let test = Test(rawValue: name) else { throw error(.unsupported, "the test `\(name)`", line: line) }
    var arguments = Arguments()
    if kind == .symbol("(") {
      arguments = try self.arguments()
    } else if startsOperand {
      if kind == .name("is") { throw error(.malformed, "one `is` follows another") }
      let operand = try primary()
      arguments.positional = [try chain { parser throws(TemplateError) in try parser.postfix(operand) }]
    }
    let result = Expression(line: line, kind: .test(value, test, arguments))
    return isNegated ? Expression(line: line, kind: .not(result)) : result
  }

  /// Whether the operand of a test without parentheses stands here.
  private var startsOperand: Bool {
    switch kind {
    case .name(let name): !["else", "or", "and"].contains(name)
    case .text, .int, .float, .symbol("["), .symbol("{"): true
    default: false
    }
  }
}
