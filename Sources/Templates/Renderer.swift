/// One rendering: variables, output, and what is left of its limits.
final class Renderer {
  private var stepsLeft: Int
  private(set) var bytesLeft: Int
  private var depth = 0
  /// Where the statement or expression under work stands.
  var line = 1
  private var output = TemplateText()
  private var scope: Scope
  /// What macros see beside their parameters.
  private let top: Scope
  let time: (String) -> String

  init(
    _ variables: [(name: String, value: TemplateValue)], _ limits: TemplateLimits, _ time: @escaping (String) -> String
  ) {
    stepsLeft = limits.steps
    let inputByteCount = variables.reduce(0) { $0 + $1.value.byteCount }
    bytesLeft = limits.bytes + inputByteCount * limits.bytesPerInputByte
    let given = Scope(parent: nil)
    for (name, value) in variables { given[name] = value }
    top = Scope(parent: given)
    scope = top
    self.time = time
  }

  // MARK: Limits

  func error(_ kind: TemplateError.Kind, _ reason: String) -> TemplateError { TemplateError(kind, reason, line: line) }

  /// Counts work that makes nothing.
  func look(at byteCount: Int = 0) throws(TemplateError) {
    stepsLeft -= 1 + byteCount / 256
    guard stepsLeft >= 0 else { throw error(.limit, "it takes too many steps") }
  }

  /// Counts bytes that are about to be made.
  func make(_ byteCount: Int) throws(TemplateError) {
    bytesLeft -= byteCount
    guard bytesLeft >= 0 else { throw error(.limit, "it makes too much text") }
  }

  /// Counts one level more while something is done.
  func deeper<Result>(_ work: () throws(TemplateError) -> Result) throws(TemplateError) -> Result {
    depth += 1
    defer { depth -= 1 }
    guard depth <= TemplateLimits.depth else {
      throw error(.limit, "blocks, calls and expressions stand in each other too deep")
    }
    return try work()
  }

  // MARK: Output and scopes

  func write(_ text: TemplateText) throws(TemplateError) {
    try make(text.count)
    output.append(text)
  }

  /// What is written while something is done, which then appears nowhere else.
  func text(of work: (Renderer) throws(TemplateError) -> Void) throws(TemplateError) -> TemplateText {
    let before = output
    output = TemplateText()
    defer { output = before }
    try work(self)
    return output
  }

  private func scoped<Result>(
    in parent: Scope? = nil, _ work: () throws(TemplateError) -> Result
  ) throws(TemplateError) -> Result {
    let before = scope
    scope = Scope(parent: parent ?? before)
    defer { scope = before }
    return try work()
  }

  func variable(_ name: String) -> TemplateValue? { scope[name] }

  // MARK: Statements

  enum Flow { case next, leave, goOn }

  func render(_ statements: [Statement]) throws(TemplateError) -> Flow {
    try deeper { () throws(TemplateError) in
      for statement in statements {
        try look()
        let flow = try render(statement)
        if flow != .next { return flow }
      }
      return .next
    }
  }

  private func render(_ statement: Statement) throws(TemplateError) -> Flow {
    switch statement {
    case .data(let text): try write(text)
    case .output(let expression): try write(try string(of: try evaluate(expression)))
    case .branches(let branches, let otherwise):
      for (condition, body) in branches where try isTrue(try evaluate(condition)) { return try render(body) }
      return try render(otherwise)
    case .loop(let loop): return try render(loop)
    case .set(let target, let expression, let line):
      let value = try evaluate(expression)
      self.line = line
      try assign(value, to: target)
    case .setBlock(let target, let filters, let body, let line):
      var flow = Flow.next
      let text = try text { renderer throws(TemplateError) in
        flow = try renderer.scoped { () throws(TemplateError) in try renderer.render(body) }
      }
      guard flow == .next else { return flow }
      var value = TemplateValue.text(text)
      for call in filters { value = try apply(call, to: value) }
      self.line = line
      try assign(value, to: target)
    case .macro(let macro): scope[macro.name] = .macro(MacroBox(macro))
    case .generation(let body): return try scoped { () throws(TemplateError) in try render(body) }
    case .leave: return .leave
    case .goOn: return .goOn
    }
    return .next
  }

  private func assign(_ value: TemplateValue, to target: Target) throws(TemplateError) {
    switch target {
    case .name(let name): scope[name] = value
    case .names(let names):
      let values = try elements(of: value)
      guard values.count == names.count else {
        throw error(.failed, "\(values.count) values cannot be assigned to \(names.count) names")
      }
      for (name, value) in zip(names, values) { scope[name] = value }
    case .attribute(let name, let attribute):
      guard case .namespace(let namespace)? = scope[name] else {
        throw error(.failed, "`\(name).\(attribute)` cannot be assigned to: `\(name)` is no namespace")
      }
      namespace.values[attribute] = try plain(value)
    }
  }

  private func render(_ loop: Statement.Loop) throws(TemplateError) -> Flow {
    let values = try elements(of: try evaluate(loop.sequence))
    line = loop.line
    let state = LoopState(values, loop, scope)
    var isEmpty = true
    while let item = try next(of: state) {
      isEmpty = false
      let flow = try scoped { () throws(TemplateError) in
        try look()
        scope["loop"] = .loop(state)
        try assign(item, to: loop.target)
        return try render(loop.body)
      }
      line = loop.line
      if flow == .leave { break }
    }
    return isEmpty ? try scoped { () throws(TemplateError) in try render(loop.otherwise) } : .next
  }

  // MARK: Loops

  private func next(of loop: LoopState) throws(TemplateError) -> TemplateValue? {
    let ahead = loop.takeAhead()
    guard let item = ahead != nil ? ahead : try pull(loop) else { return nil }
    loop.enter(item)
    return item
  }

  /// The next value that the loop's condition admits. It is asked only when the value is needed, as Jinja does.
  private func pull(_ loop: LoopState) throws(TemplateError) -> TemplateValue? {
    while let item = loop.takeRest() {
      guard let condition = loop.syntax.condition else { return item }
      let isAdmitted = try scoped(in: loop.scope) { () throws(TemplateError) in
        try assign(item, to: loop.syntax.target)
        return try isTrue(try evaluate(condition))
      }
      if isAdmitted { return item }
    }
    return nil
  }

  /// The item after the one under work, which stays the next one.
  private func peek(_ loop: LoopState) throws(TemplateError) -> TemplateValue? {
    if loop.ahead.isEmpty, let item = try pull(loop) { loop.ahead.append(item) }
    return loop.ahead.first
  }

  func attribute(_ name: String, of loop: LoopState) throws(TemplateError) -> TemplateValue {
    func length() throws(TemplateError) -> Int {
      while let item = try pull(loop) { loop.ahead.append(item) }
      return loop.index0 + 1 + loop.ahead.count
    }
    switch name {
    case "index": return .int(loop.index0 + 1)
    case "index0": return .int(loop.index0)
    case "revindex": return .int(try length() - loop.index0)
    case "revindex0": return .int(try length() - loop.index0 - 1)
    case "first": return .bool(loop.index0 == 0)
    case "last": return .bool(try peek(loop) == nil)
    case "length": return .int(try length())
    case "previtem": return loop.previous ?? .undefined("`loop.previtem` of the first item")
    case "nextitem": return try peek(loop) ?? .undefined("`loop.nextitem` of the last item")
    case "depth", "depth0", "changed", "cycle": throw error(.unsupported, "`loop.\(name)` used like this")
    default: return .undefined("`loop.\(name)`")
    }
  }

  // MARK: Macros

  func call(_ macro: Macro, _ arguments: CallArguments) throws(TemplateError) -> TemplateValue {
    guard arguments.positional.count <= macro.parameters.count else {
      throw error(
        .failed, "`\(macro.name)` takes \(macro.parameters.count) arguments, not \(arguments.positional.count)")
    }
    let names = macro.parameters.map(\.name)
    for (name, _) in arguments.named where !names.dropFirst(arguments.positional.count).contains(name) {
      throw error(.failed, "`\(macro.name)` has no argument `\(name)`, or has it twice")
    }
    let text = try text { renderer throws(TemplateError) in
      try renderer.scoped(in: top) { () throws(TemplateError) in
        for (index, parameter) in macro.parameters.enumerated() {
          if index < arguments.positional.count {
            scope[parameter.name] = arguments.positional[index]
          } else if let given = arguments.named.first(where: { $0.name == parameter.name }) {
            scope[parameter.name] = given.value
          } else if let otherwise = parameter.otherwise {
            scope[parameter.name] = try evaluate(otherwise)
          } else {
            scope[parameter.name] = .undefined("the argument `\(parameter.name)` of `\(macro.name)`")
          }
        }
        _ = try renderer.render(macro.body)
      }
    }
    return .text(text)
  }
}
