// Expressions, from what binds least to what binds most.

extension TemplateParser {
  /// One expression, or several between commas.
  ///
  /// - Parameter conditional: whether `a if b` may be one; not where `if` follows with another meaning.
  mutating func tuple(conditional: Bool = true, inParentheses: Bool = false) throws(TemplateError) -> Expression {
    let line = line
    var elements: [Expression] = []
    var isTuple = false
    while !isTupleEnd {
      elements.append(conditional ? try expression() : try nested { p throws(TemplateError) in try p.or() })
      guard take(symbol: ",") else { break }
      isTuple = true
    }
    if !isTuple, let only = elements.first { return only }
    guard isTuple || inParentheses else { throw unexpected("an expression") }
    return Expression(line: line, kind: .tuple(elements))
  }

  private var isTupleEnd: Bool { kind == .outputEnd || kind == .blockEnd || kind == .symbol(")") }

  mutating func expression() throws(TemplateError) -> Expression {
    try nested { parser throws(TemplateError) in
      try parser.chain { parser throws(TemplateError) in
        var value = try parser.or()
        while case let line = parser.line, parser.take(word: "if") {
          try parser.deepen()
          let condition = try parser.or()
          let otherwise: Expression? = parser.take(word: "else") ? try parser.expression() : nil
          value = Expression(line: line, kind: .conditional(value, condition: condition, otherwise: otherwise))
        }
        return value
      }
    }
  }

  mutating func or() throws(TemplateError) -> Expression {
    try chain { parser throws(TemplateError) in
      var left = try parser.and()
      while case let line = parser.line, parser.take(word: "or") {
        try parser.deepen()
        left = Expression(line: line, kind: .or(left, try parser.and()))
      }
      return left
    }
  }

  private mutating func and() throws(TemplateError) -> Expression {
    try chain { parser throws(TemplateError) in
      var left = try parser.not()
      while case let line = parser.line, parser.take(word: "and") {
        try parser.deepen()
        left = Expression(line: line, kind: .and(left, try parser.not()))
      }
      return left
    }
  }

  private mutating func not() throws(TemplateError) -> Expression {
    guard case let line = line, take(word: "not") else { return try comparison() }
    return Expression(line: line, kind: .not(try nested { p throws(TemplateError) in try p.not() }))
  }

  private mutating func comparison() throws(TemplateError) -> Expression {
    let line = line
    let first = try sum()
    var others: [(comparison: Comparison, Expression)] = []
    while let comparison = takeComparison() { others.append((comparison, try sum())) }
    return others.isEmpty ? first : Expression(line: line, kind: .compare(first, others))
  }

  private mutating func takeComparison() -> Comparison? {
    if case .symbol(let symbol) = kind, let comparison = Comparison(rawValue: symbol) {
      advance()
      return comparison
    }
    if take(word: "in") { return .isIn }
    guard kind == .name("not"), following() == .name("in") else { return nil }
    advance()
    advance()
    return .isNotIn
  }

  /// Terms between operators that are taken from left to right.
  private mutating func terms(
    _ symbols: [String], _ term: (inout TemplateParser) throws(TemplateError) -> Expression
  ) throws(TemplateError) -> Expression {
    try chain { parser throws(TemplateError) in
      var left = try term(&parser)
      while case .symbol(let symbol) = parser.kind, symbols.contains(symbol), let sign = Arithmetic(rawValue: symbol) {
        let line = parser.line
        parser.advance()
        try parser.deepen()
        left = Expression(line: line, kind: .arithmetic(sign, left, try term(&parser)))
      }
      return left
    }
  }

  private mutating func sum() throws(TemplateError) -> Expression {
    try terms(["+", "-"]) { parser throws(TemplateError) in try parser.concatenation() }
  }

  private mutating func concatenation() throws(TemplateError) -> Expression {
    let line = line
    var parts = [try product()]
    while take(symbol: "~") { parts.append(try product()) }
    return parts.count == 1 ? parts[0] : Expression(line: line, kind: .concatenate(parts))
  }

  private mutating func product() throws(TemplateError) -> Expression {
    try terms(["*", "/", "//", "%"]) { parser throws(TemplateError) in
      try parser.terms(["**"]) { parser throws(TemplateError) in try parser.signed() }
    }
  }

  private mutating func signed(takesFilters: Bool = true) throws(TemplateError) -> Expression {
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
