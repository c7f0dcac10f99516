// Functions and methods.

extension Renderer {
  func call(_ callee: Expression, _ arguments: Arguments, _ line: Int) throws(TemplateError) -> TemplateValue {
    if case .attribute(let base, let name) = callee.kind {
      let value = try evaluate(base)
      let arguments = try evaluate(arguments)
      self.line = line
      return try callMethod(name, of: value, arguments)
    }
    let function = try evaluate(callee)
    let arguments = try evaluate(arguments)
    self.line = line
    switch function {
    case .macro(let box): return try deeper { () throws(TemplateError) in try call(box.macro, arguments) }
    case .function(let function): return try call(function, arguments)
    case .undefined(let what): throw error(.failed, "\(what) is undefined, so it cannot be called")
    default: throw error(.failed, "\(function.kind) cannot be called")
    }
  }

  /// Arguments by their names; nil where one is not given.
  ///
  /// - Parameters:
  ///   - required: how many of them must be given.
  ///   - byName: whether they may be given by name.
  func bind(
    _ arguments: CallArguments, to names: [String], required: Int = 0, byName: Bool = true, of function: String
  ) throws(TemplateError) -> [TemplateValue?] {
    guard arguments.positional.count <= names.count else {
      throw error(.unsupported, "`\(function)` with \(arguments.positional.count) arguments")
    }
    var bound: [TemplateValue?] = arguments.positional
    bound += Array(repeating: nil, count: names.count - bound.count)
    for (name, value) in arguments.named {
      guard byName, let place = names.firstIndex(of: name), bound[place] == nil else {
        throw error(.unsupported, "`\(function)` with `\(name)=`")
      }
      bound[place] = value
    }
    guard bound.prefix(required).allSatisfy({ $0 != nil }) else {
      throw error(.failed, "`\(function)` lacks an argument")
    }
    return bound
  }

  private func call(_ function: TemplateFunction, _ arguments: CallArguments) throws(TemplateError) -> TemplateValue {
    switch function {
    case .range: return try range(arguments)
    case .dict, .namespace:
      guard arguments.positional.count <= 1 else { throw error(.failed, "`\(function.rawValue)` takes one mapping") }
      var members: [(TemplateText, TemplateValue)] = []
      if let first = arguments.positional.first {
        guard case .mapping(let mapping) = first else {
          throw error(.unsupported, "`\(function.rawValue)` of \(first.kind)")
        }
        members = Array(zip(mapping.keys, mapping.values))
      }
      for (name, value) in arguments.named { members.append((TemplateText(name), try plain(value))) }
      if function == .dict { return try mapping(members) }
      let namespace = TemplateNamespace()
      for (name, value) in members { namespace.values[name.string] = value }
      try make(members.reduce(64) { $0 + 64 + $1.0.count })
      return .namespace(namespace)
    case .raiseException:
      let message = try bind(arguments, to: ["message"], required: 1, of: function.rawValue)
      throw error(.raised, try string(of: message[0] ?? .none).string)
    case .strftimeNow:
      let format = try bind(arguments, to: ["format"], required: 1, of: function.rawValue)
      return .text(time(try text(format[0], of: function.rawValue).string))
    }
  }

  private func range(_ arguments: CallArguments) throws(TemplateError) -> TemplateValue {
    let given = try bind(arguments, to: ["start", "stop", "step"], required: 1, byName: false, of: "range")
    var numbers: [Int] = []
    for value in given.compactMap(\.self) {
      guard let number = try whole(value) else { throw error(.failed, "`range` of \(value.kind)") }
      numbers.append(number)
    }
    let (start, stop) = numbers.count == 1 ? (0, numbers[0]) : (numbers[0], numbers[1])
    let step = numbers.count > 2 ? numbers[2] : 1
    guard step != 0 else { throw error(.failed, "`range` cannot have steps of 0") }
    let (length, overflow) = stop.subtractingReportingOverflow(start)
    guard !overflow, step != .min, length != .min, abs(length) / abs(step) <= TemplateLimits.rangeCount else {
      throw error(.limit, "`range` has more than \(TemplateLimits.rangeCount) numbers")
    }
    return try list(stride(from: start, to: stop, by: step).map { .int($0) }, .range)
  }

  // MARK: Methods

  private func callMethod(
    _ name: String, of value: TemplateValue, _ arguments: CallArguments
  ) throws(TemplateError) -> TemplateValue {
    switch value {
    case .text(let text):
      if let result = try callMethod(name, of: text, arguments) { return result }
    case .mapping(let mapping):
      if let result = try callMethod(name, of: mapping, arguments) { return result }
    case .sequence(let sequence):
      if let result = try callMethod(name, of: sequence, arguments) { return result }
    case .loop(let loop) where name == "cycle":
      guard !arguments.positional.isEmpty, arguments.named.isEmpty else {
        throw error(.failed, "`cycle` has no values")
      }
      return arguments.positional[loop.index0 % arguments.positional.count]
    case .undefined(let what): throw error(.failed, "\(what) is undefined, so it has no `\(name)`")
    default: break
    }
    if PythonNames.of(value).contains(name) { throw error(.unsupported, "the method `\(name)` of \(value.kind)") }
    throw error(.failed, "\(value.kind) has no `\(name)` that can be called")
  }

  private func callMethod(
    _ name: String, of mapping: TemplateMapping, _ arguments: CallArguments
  ) throws(TemplateError) -> TemplateValue? {
    switch name {
    case "get":
      let given = try bind(arguments, to: ["key", "default"], required: 1, byName: false, of: name)
      guard case .text(let key)? = given[0] else { return given[1] ?? TemplateValue.none }
      return mapping[key] ?? given[1] ?? TemplateValue.none
    case "keys", "values", "items":
      _ = try bind(arguments, to: [], of: name)
      return try view(of: mapping, name)
    default: return nil
    }
  }

  func view(of mapping: TemplateMapping, _ name: String) throws(TemplateError) -> TemplateValue {
    switch name {
    case "keys": return try list(mapping.keys.map { .text($0) }, .view)
    case "values": return try list(mapping.values, .view)
    default: return try list(try pairs(of: mapping), .view)
    }
  }

  func pairs(of mapping: TemplateMapping) throws(TemplateError) -> [TemplateValue] {
    var pairs: [TemplateValue] = []
    for (key, value) in zip(mapping.keys, mapping.values) { pairs.append(try list([.text(key), value], .tuple)) }
    return pairs
  }

  private func callMethod(
    _ name: String, of sequence: TemplateSequence, _ arguments: CallArguments
  ) throws(TemplateError) -> TemplateValue? {
    guard name == "count", sequence.kind != .view else { return nil }
    let wanted = try bind(arguments, to: ["value"], required: 1, byName: false, of: name)[0] ?? .none
    var count = 0
    for value in sequence.values where try areEqual(value, wanted) { count += 1 }
    return .int(count)
  }

  /// Text that an argument must be.
  func text(_ value: TemplateValue?, of function: String) throws(TemplateError) -> TemplateText {
    guard case .text(let text)? = value else {
      throw error(.failed, "`\(function)` needs text, not \(value?.kind ?? "nothing")")
    }
    return text
  }

  func wholeArgument(_ value: TemplateValue?, of function: String) throws(TemplateError) -> Int? {
    guard let value else { return nil }
    guard let whole = try whole(value) else {
      throw error(.failed, "`\(function)` needs a whole number, not \(value.kind)")
    }
    return whole
  }

  private func callMethod(
    _ name: String, of text: TemplateText, _ arguments: CallArguments
  ) throws(TemplateError) -> TemplateValue? {
    try look(at: 8 * text.count)
    func bound(_ names: String..., required: Int = 0, byName: Bool = false) throws(TemplateError) -> [TemplateValue?] {
      try bind(arguments, to: names, required: required, byName: byName, of: name)
    }
    switch name {
    case "strip", "lstrip", "rstrip":
      let characters = try bound("chars")[0]
      return .text(
        try trimmed(text, characters, leading: name != "rstrip", trailing: name != "lstrip", of: name))
    case "startswith", "endswith":
      let parts: [TemplateValue]
      switch try bound("affix", required: 1)[0] {
      case .sequence(let sequence)? where sequence.kind == .tuple: parts = sequence.values
      case let part: parts = [part ?? .none]
      }
      for part in parts {
        let part = try self.text(part, of: name).bytes
        if name == "startswith" ? text.bytes.starts(with: part) : text.bytes.suffix(part.count).elementsEqual(part) {
          return .bool(true)
        }
      }
      return .bool(false)
    case "removeprefix", "removesuffix":
      let part = try self.text(try bound("affix", required: 1)[0], of: name).bytes
      try make(text.count)
      if name == "removeprefix" {
        return .text(text.bytes.starts(with: part) ? text.slice(part.count..<text.count) : text)
      }
      let isThere = text.bytes.suffix(part.count).elementsEqual(part)
      return .text(isThere ? text.slice(0..<text.count - part.count) : text)
    case "split": return try split(text, try bound("sep", "maxsplit", byName: true))
    case "replace":
      let given = try bound("old", "new", "count", required: 2)
      let (old, new) = (try self.text(given[0], of: name), try self.text(given[1], of: name))
      return .text(try replaced(text, old, new, try wholeArgument(given[2], of: name)))
    case "upper", "lower", "capitalize":
      _ = try bound()
      return .text(try cased(text, name))
    case "find", "count":
      let part = try self.text(try bound("sub", required: 1)[0], of: name)
      if name == "find" {
        guard let found = text.firstRange(of: part.bytes) else { return .int(-1) }
        return .int(text.slice(0..<found.lowerBound).scalarCount)
      }
      if part.isEmpty { return .int(text.scalarCount + 1) }
      var (count, start) = (0, 0)
      while let found = text.firstRange(of: part.bytes, from: start) { (count, start) = (count + 1, found.upperBound) }
      return .int(count)
    case "join":
      return .text(
        try joined(try elements(of: try bound("iterable", required: 1)[0] ?? .none), by: text) {
          value throws(TemplateError) in try self.text(value, of: name)
        })
    default: return nil
    }
  }

  func trimmed(
    _ text: TemplateText, _ characters: TemplateValue?, leading: Bool = true, trailing: Bool = true, of name: String
  ) throws(TemplateError) -> TemplateText {
    try make(text.count)
    switch characters {
    case nil, .some(.none): return text.trimmed(leading: leading, trailing: trailing, TemplateText.isSpace)
    case let characters:
      let scalars = Set(try self.text(characters, of: name).string.unicodeScalars.map(\.value))
      return text.trimmed(leading: leading, trailing: trailing) { scalars.contains($0) }
    }
  }

  private func split(_ text: TemplateText, _ given: [TemplateValue?]) throws(TemplateError) -> TemplateValue {
    let most = try wholeArgument(given[1], of: "split").flatMap { $0 < 0 ? nil : $0 } ?? .max
    try make(2 * text.count)
    switch given[0] {
    case nil, .some(.none): return try list(text.words(limit: most).map { .text($0) })
    case let separator:
      let separator = try self.text(separator, of: "split")
      guard !separator.isEmpty else { throw error(.failed, "`split` cannot cut at empty text") }
      return try list(text.split(by: separator, limit: most).map { .text($0) })
    }
  }

  func replaced(
    _ text: TemplateText, _ old: TemplateText, _ new: TemplateText, _ most: Int?
  ) throws(TemplateError) -> TemplateText {
    guard !old.isEmpty else { throw error(.unsupported, "`replace` of empty text") }
    let limit = most.flatMap { $0 < 0 ? nil : $0 } ?? .max
    try make(2 * text.count)
    let parts = text.split(by: old, limit: limit).map { TemplateValue.text($0) }
    return try joined(parts, by: new) { value throws(TemplateError) in try self.text(value, of: "replace") }
  }

  func joined(
    _ values: [TemplateValue], by separator: TemplateText,
    _ part: (TemplateValue) throws(TemplateError) -> TemplateText
  ) throws(TemplateError) -> TemplateText {
    var result = TemplateText()
    for (index, value) in values.enumerated() {
      let part = try part(value)
      try look()
      try make(part.count + separator.count)
      if index > 0 { result.append(separator) }
      result.append(part)
    }
    return result
  }

  /// `upper`, `lower` or `capitalize`.
  func cased(_ text: TemplateText, _ name: String) throws(TemplateError) -> TemplateText {
    // As scalars, and up to three for one in another case.
    try make(16 * text.count)
    try look(at: 64 * text.count)
    return text.mapped { scalars, index in
      let properties = scalars[index].properties
      if name == "upper" { return properties.uppercaseMapping }
      if name == "capitalize", index == 0 { return properties.titlecaseMapping }
      // A sigma at the end of a word.
      if scalars[index] == "Σ", Self.endsWord(scalars, index) { return "ς" }
      return properties.lowercaseMapping
    }
  }

  private static func endsWord(_ scalars: [Unicode.Scalar], _ index: Int) -> Bool {
    let before = scalars[..<index].last { !$0.properties.isCaseIgnorable }
    let after = scalars[(index + 1)...].first { !$0.properties.isCaseIgnorable }
    return before?.properties.isCased == true && after?.properties.isCased != true
  }
}
