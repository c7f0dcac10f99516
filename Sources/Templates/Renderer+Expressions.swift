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
    try make(32 * values.count)
    return try bounded(.sequence(TemplateSequence(values, kind)))
  }

  func iterator(_ values: [TemplateValue]) throws(TemplateError) -> TemplateValue {
    for value in values { _ = try plain(value) }
    try make(32 * values.count)
    return try bounded(.iterator(TemplateIterator(values)))
  }

  func mapping(_ members: [(TemplateText, TemplateValue)]) throws(TemplateError) -> TemplateValue {
    try make(members.reduce(0) { $0 + 64 + $1.0.count })
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

  // MARK: Attributes, items and slices

  func attribute(_ name: String, of value: TemplateValue) throws(TemplateError) -> TemplateValue {
    if name.hasPrefix("__") { throw error(.unsupported, "the attribute `\(name)`") }
    switch value {
    case .undefined(let what): throw error(.failed, "\(what) is undefined, so it has no `\(name)`")
    case .namespace(let namespace): return namespace.values[name] ?? .undefined("`\(name)` of a namespace")
    case .loop(let loop): return try attribute(name, of: loop)
    case .mapping(let mapping):
      if !PythonNames.mapping.contains(name), let member = mapping[TemplateText(name)] { return member }
    case .iterator, .function, .macro: throw error(.unsupported, "the attribute `\(name)` of \(value.kind)")
    default: break
    }
    guard !PythonNames.of(value).contains(name) else {
      throw error(.unsupported, "`\(name)` of \(value.kind) used like this")
    }
    return .undefined("`\(name)` of \(value.kind)")
  }

  func item(_ key: TemplateValue, of value: TemplateValue) throws(TemplateError) -> TemplateValue {
    switch (value, key) {
    case (.undefined(let what), _): throw error(.failed, "\(what) is undefined, so it has no items")
    case (.mapping(let mapping), .text(let key)):
      if let member = mapping[key] { return member }
      return try attribute(key.string, of: value)
    case (_, .text(let name)): return try attribute(name.string, of: value)
    case (.sequence(let sequence), .int), (.sequence(let sequence), .bool):
      guard sequence.kind != .view, let index = try whole(key) else { break }
      let place = index < 0 ? index + sequence.values.count : index
      if sequence.values.indices.contains(place) { return sequence.values[place] }
    case (.text(let text), .int), (.text(let text), .bool):
      try look(at: text.count)
      let count = text.scalarCount
      guard let index = try whole(key) else { break }
      let place = index < 0 ? index + count : index
      guard (0..<count).contains(place) else { break }
      try make(8 * text.count)
      let starts = text.scalarStarts
      return .text(text.slice(starts[place]..<starts[place + 1]))
    default: break
    }
    return .undefined("the item of \(value.kind)")
  }

  private func bound(_ expression: Expression?) throws(TemplateError) -> Int? {
    guard let expression else { return nil }
    let value = try evaluate(expression)
    if case .none = value { return nil }
    guard let whole = try whole(value) else { throw error(.failed, "\(value.kind) is no bound of a slice") }
    return whole
  }

  /// An integer, or a boolean as one.
  func whole(_ value: TemplateValue) throws(TemplateError) -> Int? {
    switch value {
    case .int(let value): value
    case .bool(let value): value ? 1 : 0
    default: nil
    }
  }

  private func slice(
    _ value: TemplateValue, _ start: Int?, _ stop: Int?, _ step: Int
  ) throws(TemplateError) -> TemplateValue {
    guard step != 0 else { throw error(.failed, "a slice cannot have steps of 0") }
    switch value {
    case .undefined(let what): throw error(.failed, "\(what) is undefined, so it has no slices")
    case .sequence(let sequence) where sequence.kind != .view:
      let places = Self.places(start, stop, step, count: sequence.values.count)
      return try list(places.map { sequence.values[$0] }, sequence.kind)
    case .text(let text):
      try make(17 * text.count)
      let starts = text.scalarStarts
      let places = Array(Self.places(start, stop, step, count: starts.count - 1))
      if step == 1 {
        guard let first = places.first, let last = places.last else { return .text("") }
        return .text(text.slice(starts[first]..<starts[last + 1]))
      }
      try look(at: 256 * places.count)
      return .text(places.reduce(into: TemplateText()) { $0.append(text.slice(starts[$1]..<starts[$1 + 1])) })
    default: return .undefined("a slice of \(value.kind)")
    }
  }

  /// The places that a slice takes, as in Python.
  private static func places(_ start: Int?, _ stop: Int?, _ step: Int, count: Int) -> StrideTo<Int> {
    func place(_ bound: Int) -> Int {
      let place = bound < 0 ? bound + count : bound
      return step > 0 ? min(max(place, 0), count) : min(max(place, -1), count - 1)
    }
    let first = start.map(place) ?? (step > 0 ? 0 : count - 1)
    let end = stop.map(place) ?? (step > 0 ? count : -1)
    // A step beyond the length takes one place.
    return stride(from: first, to: end, by: step.magnitude > UInt(count) ? (step > 0 ? count + 1 : -count - 1) : step)
  }

  // MARK: Going through values

  func elements(of value: TemplateValue) throws(TemplateError) -> [TemplateValue] {
    switch value {
    case .undefined: return []
    case .sequence(let sequence): return sequence.values
    case .mapping(let mapping): return mapping.keys.map { .text($0) }
    case .iterator(let iterator): return iterator.take()
    case .text(let text):
      try make(48 * text.count)
      let starts = text.scalarStarts
      return zip(starts, starts.dropFirst()).map { .text(text.slice($0..<$1)) }
    default: throw error(.failed, "\(value.kind) has no elements")
    }
  }
}

/// Names that Python's values have of themselves; a template that reads one gets a method.
enum PythonNames {
  static let mapping: Set = [
    "clear", "copy", "fromkeys", "get", "items", "keys", "pop", "popitem", "setdefault", "update", "values",
  ]
  private static let list: Set = [
    "append", "clear", "copy", "count", "extend", "index", "insert", "pop", "remove", "reverse", "sort",
  ]
  private static let text: Set = [
    "capitalize", "casefold", "center", "count", "encode", "endswith", "expandtabs", "find", "format", "format_map",
    "index", "isalnum", "isalpha", "isascii", "isdecimal", "isdigit", "isidentifier", "islower", "isnumeric",
    "isprintable", "isspace", "istitle", "isupper", "join", "ljust", "lower", "lstrip", "maketrans", "partition",
    "removeprefix", "removesuffix", "replace", "rfind", "rindex", "rjust", "rpartition", "rsplit", "rstrip", "split",
    "splitlines", "startswith", "strip", "swapcase", "title", "translate", "upper", "zfill",
  ]
  private static let number: Set = [
    "as_integer_ratio", "bit_count", "bit_length", "conjugate", "denominator", "from_bytes", "fromhex", "hex", "imag",
    "is_integer", "numerator", "real", "to_bytes",
  ]

  static func of(_ value: TemplateValue) -> Set<String> {
    switch value {
    case .mapping: mapping
    case .text: text
    case .bool, .int, .float: number
    case .sequence(let sequence):
      switch sequence.kind {
      case .list: list
      case .tuple: ["count", "index"]
      case .range: ["count", "index", "start", "step", "stop"]
      case .view: ["isdisjoint", "mapping"]
      }
    default: []
    }
  }
}
