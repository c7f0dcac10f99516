// Filters.

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
}
