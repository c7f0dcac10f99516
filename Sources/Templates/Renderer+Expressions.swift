/// Arguments of a call, evaluated.
struct CallArguments {
  var positional: [TemplateValue] = []
  var named: [(name: String, value: TemplateValue)] = []
}

extension Renderer {
  func evaluate(_ expression: Expression) throws(TemplateError) -> TemplateValue {
    try deeper { () throws(TemplateError) in
      line = expression.line
      try look()
      let value = try evaluate(expression.kind, expression.line)
      line = expression.line
      return value
    }
  }

  private func evaluate(_ kind: Expression.Kind, _ line: Int) throws(TemplateError) -> TemplateValue {
    switch kind {
    case .none: return .none
    case .bool(let value): return .bool(value)
    case .int(let value): return .int(value)
    case .float(let value): return .float(value)
    case .text(let value): return .text(value)
    case .name(let name): return try value(of: name)
    case .list(let elements): return try list(try evaluate(elements))
    case .tuple(let elements): return try list(try evaluate(elements), .tuple)
    case .mapping(let members): return try mapping(members)
    case .attribute(let base, let name):
      let value = try evaluate(base)
      self.line = line
      return try attribute(name, of: value)
    case .item(let base, let key):
      let (value, key) = (try evaluate(base), try evaluate(key))
      self.line = line
      return try item(key, of: value)
    case .slice(let base, let start, let stop, let step):
      let value = try evaluate(base)
      let bounds = (try bound(start), try bound(stop), try bound(step))
      self.line = line
      return try slice(value, bounds.0, bounds.1, bounds.2 ?? 1)
    case .call(let callee, let arguments): return try call(callee, arguments, line)
    case .filter(let base, let call): return try apply(call, to: try evaluate(base))
    case .test(let base, let test, let arguments):
      let value = try evaluate(base)
      let operands = try evaluate(arguments)
      self.line = line
      return .bool(try holds(test, value, operands))
    case .not(let operand): return .bool(!(try isTrue(try evaluate(operand))))
    case .sign(let isNegative, let operand):
      let value = try evaluate(operand)
      self.line = line
      return isNegative ? try arithmetic(.subtract, .int(0), value, sign: true) : try number(value)
    case .and(let left, let right):
      let value = try evaluate(left)
      return try isTrue(value) ? try evaluate(right) : value
    case .or(let left, let right):
      let value = try evaluate(left)
      return try isTrue(value) ? value : try evaluate(right)
    case .compare(let first, let others):
      var left = try evaluate(first)
      for (comparison, other) in others {
        let right = try evaluate(other)
        self.line = line
        guard try compare(comparison, left, right) else { return .bool(false) }
        left = right
      }
      return .bool(true)
    case .arithmetic(let sign, let left, let right):
      let (left, right) = (try evaluate(left), try evaluate(right))
      self.line = line
      return try arithmetic(sign, left, right)
    case .concatenate(let parts):
      var text = TemplateText()
      for part in parts {
        let next = try string(of: try evaluate(part))
        try make(next.count)
        text.append(next)
      }
      return .text(text)
    case .conditional(let value, let condition, let otherwise):
      if try isTrue(try evaluate(condition)) { return try evaluate(value) }
      guard let otherwise else { return .undefined("the value of an `if` without `else`") }
      return try evaluate(otherwise)
    }
  }

  private func evaluate(_ expressions: [Expression]) throws(TemplateError) -> [TemplateValue] {
    var values: [TemplateValue] = []
    for expression in expressions { values.append(try evaluate(expression)) }
    return values
  }

  func evaluate(_ arguments: Arguments) throws(TemplateError) -> CallArguments {
    var result = CallArguments(positional: try evaluate(arguments.positional))
    for (name, value) in arguments.named { result.named.append((name, try evaluate(value))) }
    return result
  }

  private func value(of name: String) throws(TemplateError) -> TemplateValue {
    if let value = variable(name) { return value }
    if let function = TemplateFunction(rawValue: name) { return .function(function) }
    if ["cycler", "joiner", "lipsum", "self", "caller", "varargs", "kwargs"].contains(name) {
      throw error(.unsupported, "`\(name)`")
    }
    return .undefined("`\(name)`")
  }

  private func mapping(_ members: [(key: Expression, value: Expression)]) throws(TemplateError) -> TemplateValue {
    var evaluated: [(TemplateText, TemplateValue)] = []
    for (key, value) in members {
      guard case .text(let key) = try evaluate(key) else { throw error(.unsupported, "a key that is no text") }
      evaluated.append((key, try plain(try evaluate(value))))
    }
    return try mapping(evaluated)
  }

  // MARK: Making lists and mappings

  func list(
    _ values: [TemplateValue], _ kind: TemplateSequence.Kind = .list
  ) throws(TemplateError) -> TemplateValue {
    for value in values { _ = try plain(value) }
    try make(64 + 32 * values.count)
    return try bounded(.sequence(TemplateSequence(values, kind)))
  }

  func iterator(_ values: [TemplateValue]) throws(TemplateError) -> TemplateValue {
    for value in values { _ = try plain(value) }
    try make(64 + 32 * values.count)
    return try bounded(.iterator(TemplateIterator(values)))
  }

  func mapping(_ members: [(TemplateText, TemplateValue)]) throws(TemplateError) -> TemplateValue {
    try make(members.reduce(0) { $0 + 128 + $1.0.count })
    return try bounded(.mapping(TemplateMapping(members)))
  }

  private func bounded(_ value: TemplateValue) throws(TemplateError) -> TemplateValue {
    guard value.depth <= TemplateLimits.valueDepth else {
      throw error(.limit, "lists and mappings stand in each other deeper than \(TemplateLimits.valueDepth) levels")
    }
    return value
  }

  /// Refuses what only a variable may hold: kept elsewhere it could refer to itself.
  func plain(_ value: TemplateValue) throws(TemplateError) -> TemplateValue {
    switch value {
    case .namespace, .loop, .macro, .function:
      throw error(.unsupported, "\(value.kind) as a part of a list, mapping or namespace")
    default: return value
    }
  }
}
