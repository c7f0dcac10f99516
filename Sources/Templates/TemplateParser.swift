/// Reads the words of a template: the blocks.
struct TemplateParser {
  private let tokens: [TemplateLexer.Token]
  private var position = 0
  private var nesting = 0
  /// `break` and `continue` are allowed.
  private var isInLoop = false
  /// Blocks in which a macro would have to remember more than the template's own variables.
  private var isInScope = false

  static func statements(of text: String) throws(TemplateError) -> [Statement] {
    guard text.utf8.count <= TemplateLimits.sourceByteCount else {
      throw TemplateError(.limit, "it is longer than \(TemplateLimits.sourceByteCount) bytes", line: 1)
    }
    var parser = TemplateParser(tokens: try TemplateLexer.tokens(of: text))
    let statements = try parser.body(until: [])
    return statements
  }

  private init(tokens: [TemplateLexer.Token]) { self.tokens = tokens }

  // MARK: Words

  var kind: TemplateLexer.Token.Kind { tokens[position].kind }
  var line: Int { tokens[position].line }
  func following() -> TemplateLexer.Token.Kind { tokens[min(position + 1, tokens.count - 1)].kind }

  func error(_ kind: TemplateError.Kind, _ reason: String, line: Int? = nil) -> TemplateError {
    TemplateError(kind, reason, line: line ?? self.line)
  }

  func unexpected(_ wanted: String) -> TemplateError { error(.malformed, "\(wanted) was expected, not \(shown)") }

  private var shown: String {
    switch kind {
    case .data: "text"
    case .name(let name): "`\(name)`"
    case .text: "a text in quotes"
    case .int(let value): "`\(value)`"
    case .float(let value): "`\(value)`"
    case .symbol(let symbol): "`\(symbol)`"
    case .outputStart: "`{{`"
    case .outputEnd: "`}}`"
    case .blockStart: "`{%`"
    case .blockEnd: "`%}`"
    case .end: "the end of the template"
    }
  }

  mutating func advance() { if position < tokens.count - 1 { position += 1 } }

  mutating func take(_ wanted: TemplateLexer.Token.Kind) -> Bool {
    guard kind == wanted else { return false }
    advance()
    return true
  }

  mutating func take(symbol: String) -> Bool { take(.symbol(symbol)) }
  mutating func take(word: String) -> Bool { take(.name(word)) }

  mutating func require(_ wanted: TemplateLexer.Token.Kind, _ words: String) throws(TemplateError) {
    guard take(wanted) else { throw unexpected(words) }
  }

  mutating func require(symbol: String) throws(TemplateError) { try require(.symbol(symbol), "`\(symbol)`") }

  mutating func name() throws(TemplateError) -> String {
    guard case .name(let name) = kind else { throw unexpected("a name") }
    advance()
    return name
  }

  /// Counts one level more while something is read.
  mutating func nested<Result>(
    _ read: (inout TemplateParser) throws(TemplateError) -> Result
  ) throws(TemplateError) -> Result {
    try deepen()
    defer { nesting -= 1 }
    return try read(&self)
  }

  /// One level more, for the left side of what is read from left to right.
  mutating func deepen() throws(TemplateError) {
    nesting += 1
    guard nesting <= TemplateLimits.nesting else {
      throw error(.limit, "it is nested deeper than \(TemplateLimits.nesting) levels")
    }
  }

  /// What is read from left to right is as deep on its left as it is long.
  mutating func chain<Result>(
    _ read: (inout TemplateParser) throws(TemplateError) -> Result
  ) throws(TemplateError) -> Result {
    let before = nesting
    defer { nesting = before }
    return try read(&self)
  }

  // MARK: Blocks

  /// Statements up to a block that begins with one of these words, which is left to the caller; none: to the end.
  private mutating func body(until ends: Set<String>) throws(TemplateError) -> [Statement] {
    try nested { (parser: inout TemplateParser) throws(TemplateError) in
      var statements: [Statement] = []
      while true {
        switch parser.kind {
        case .data(let text):
          statements.append(.data(TemplateText(text)))
          parser.advance()
        case .outputStart:
          parser.advance()
          statements.append(.output(try parser.tuple()))
          try parser.require(.outputEnd, "`}}`")
        case .blockStart:
          if case .name(let word) = parser.following(), ends.contains(word) {
            parser.advance()
            return statements
          }
          parser.advance()
          statements.append(try parser.block())
        case .end:
          guard ends.isEmpty else {
            throw parser.unexpected("`{% \(ends.sorted().joined(separator: " %}` or `{% ")) %}`")
          }
          return statements
        default: throw parser.unexpected("text or a tag")
        }
      }
    }
  }

  /// A block, from its first word to behind its end.
  private mutating func block() throws(TemplateError) -> Statement {
    let line = line
    let word = try name()
    switch word {
    case "if": return try branches()
    case "for": return try loop(line)
    case "set": return try assignment(line)
    case "macro": return try macro(line)
    case "generation":
      try bodyStart()
      let body = try scoped(inLoop: false, until: ["endgeneration"])
      try end("endgeneration")
      return .generation(body)
    case "break", "continue":
      guard isInLoop else { throw error(.malformed, "`{% \(word) %}` stands in no loop", line: line) }
      try blockEnd()
      return word == "break" ? .leave : .goOn
    case "elif", "else", "endif", "endfor", "endset", "endmacro", "endgeneration":
      throw error(.malformed, "`{% \(word) %}` ends nothing", line: line)
    default: throw error(.unsupported, "`{% \(word) %}`", line: line)
    }
  }

  private mutating func blockEnd() throws(TemplateError) { try require(.blockEnd, "`%}`") }

  /// The end of a tag behind which a body follows; a colon may stand before it, as in Python.
  private mutating func bodyStart() throws(TemplateError) {
    _ = take(symbol: ":")
    try blockEnd()
  }

  private mutating func end(_ word: String) throws(TemplateError) {
    try require(.name(word), "`{% \(word) %}`")
    try blockEnd()
  }

  /// A body whose variables are its own.
  private mutating func scoped(inLoop: Bool, until ends: Set<String>) throws(TemplateError) -> [Statement] {
    let before = (isInLoop, isInScope)
    defer { (isInLoop, isInScope) = before }
    (isInLoop, isInScope) = (inLoop, true)
    return try body(until: ends)
  }

  private mutating func branches() throws(TemplateError) -> Statement {
    var branches: [(Expression, [Statement])] = []
    while true {
      let condition = try tuple(conditional: false)
      try bodyStart()
      branches.append((condition, try body(until: ["elif", "else", "endif"])))
      if take(word: "elif") { continue }
      var otherwise: [Statement] = []
      if take(word: "else") {
        try bodyStart()
        otherwise = try body(until: ["endif"])
      }
      try end("endif")
      return .branches(branches, otherwise: otherwise)
    }
  }

  private mutating func loop(_ line: Int) throws(TemplateError) -> Statement {
    let target = try target(isNamespaceAllowed: false)
    try require(.name("in"), "`in`")
    let sequence = try tuple(conditional: false)
    let condition: Expression? = take(word: "if") ? try expression() : nil
    if kind == .name("recursive") { throw error(.unsupported, "`{% for … recursive %}`") }
    try bodyStart()
    let body = try scoped(inLoop: true, until: ["else", "endfor"])
    var otherwise: [Statement] = []
    if take(word: "else") {
      try bodyStart()
      otherwise = try scoped(inLoop: isInLoop, until: ["endfor"])
    }
    try end("endfor")
    return .loop(
      .init(
        line: line, target: target, sequence: sequence, condition: condition, body: body, otherwise: otherwise))
  }

  private mutating func target(isNamespaceAllowed: Bool) throws(TemplateError) -> Target {
    let first = try assignable()
    if isNamespaceAllowed, take(symbol: ".") { return .attribute(namespace: first, try name()) }
    guard kind == .symbol(",") else { return .name(first) }
    var names = [first]
    while take(symbol: ","), case .name(let next) = kind, next != "in" { names.append(try assignable()) }
    if kind == .symbol(".") { throw error(.unsupported, "a namespace among several names") }
    return .names(names)
  }

  private mutating func assignable() throws(TemplateError) -> String {
    if kind == .symbol("(") { throw error(.unsupported, "names in parentheses that are assigned to") }
    let name = try name()
    guard !["true", "false", "none", "True", "False", "None"].contains(name) else {
      throw error(.malformed, "`\(name)` cannot be assigned to")
    }
    return name
  }

  private mutating func assignment(_ line: Int) throws(TemplateError) -> Statement {
    let target = try target(isNamespaceAllowed: true)
    if take(symbol: "=") {
      let value = try tuple()
      try blockEnd()
      return .set(target, value, line: line)
    }
    var filters: [FilterCall] = []
    while take(symbol: "|") { filters.append(try filterCall()) }
    try bodyStart()
    let body = try scoped(inLoop: isInLoop, until: ["endset"])
    try end("endset")
    return .setBlock(target, filters, body, line: line)
  }

  private mutating func macro(_ line: Int) throws(TemplateError) -> Statement {
    guard !isInScope else { throw error(.unsupported, "`{% macro %}` in another block than `{% if %}`", line: line) }
    let name = try assignable()
    try require(symbol: "(")
    var parameters: [(name: String, otherwise: Expression?)] = []
    while kind != .symbol(")") {
      if !parameters.isEmpty { try require(symbol: ",") }
      let parameter = try assignable()
      let otherwise: Expression? = take(symbol: "=") ? try expression() : nil
      guard otherwise != nil || parameters.last?.otherwise == nil else {
        throw error(.malformed, "the parameter `\(parameter)` without a value stands behind one with a value")
      }
      guard !parameters.contains(where: { $0.name == parameter }) else {
        throw error(.malformed, "the parameter `\(parameter)` appears twice")
      }
      parameters.append((parameter, otherwise))
    }
    advance()
    try bodyStart()
    let body = try scoped(inLoop: false, until: ["endmacro"])
    try end("endmacro")
    return .macro(Macro(name: name, parameters: parameters, body: body))
  }
}
