// Attributes, items, slices, elements.

extension Renderer {
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
      try make(24 * text.count)
      let starts = text.scalarStarts
      return .text(text.slice(starts[place]..<starts[place + 1]))
    default: break
    }
    return .undefined("the item of \(value.kind)")
  }

  func bound(_ expression: Expression?) throws(TemplateError) -> Int? {
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

  func slice(
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
      try make(128 * text.count)
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
