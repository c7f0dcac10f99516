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
}
