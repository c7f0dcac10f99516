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
}
