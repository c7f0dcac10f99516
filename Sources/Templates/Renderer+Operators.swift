// Truth, comparison and arithmetic, as Python has them.

extension Renderer {
  func isTrue(_ value: TemplateValue) throws(TemplateError) -> Bool {
    switch value {
    case .undefined, .none: false
    case .bool(let value): value
    case .int(let value): value != 0
    case .float(let value): value != 0
    case .text(let text): !text.isEmpty
    case .sequence(let sequence): !sequence.values.isEmpty
    case .mapping(let mapping): !mapping.keys.isEmpty
    case .iterator, .namespace, .loop, .macro, .function: true
    }
  }

  func compare(
    _ comparison: Comparison, _ left: TemplateValue, _ right: TemplateValue
  ) throws(TemplateError) -> Bool {
    switch comparison {
    case .equal: return try areEqual(left, right)
    case .notEqual: return !(try areEqual(left, right))
    case .isIn: return try contains(right, left)
    case .isNotIn: return !(try contains(right, left))
    case .less, .greater, .lessOrEqual, .greaterOrEqual:
      switch (left, right) {
      case (.undefined(let what), _), (_, .undefined(let what)): throw error(.failed, "\(what) is undefined")
      case (.text(let left), .text(let right)):
        try look(at: min(left.count, right.count))
        let isLess = left.bytes.lexicographicallyPrecedes(right.bytes)
        return switch comparison {
        case .less: isLess
        case .lessOrEqual: isLess || left == right
        case .greaterOrEqual: !isLess
        default: !isLess && left != right
        }
      default: break
      }
      if let left = try whole(left), let right = try whole(right) {
        return switch comparison {
        case .less: left < right
        case .lessOrEqual: left <= right
        case .greaterOrEqual: left >= right
        default: left > right
        }
      }
      guard let first = try real(left), let second = try real(right) else {
        throw error(.unsupported, "`\(comparison.rawValue)` between \(left.kind) and \(right.kind)")
      }
      return switch comparison {
      case .less: first < second
      case .lessOrEqual: first <= second
      case .greaterOrEqual: first >= second
      default: first > second
      }
    }
  }

  func areEqual(_ left: TemplateValue, _ right: TemplateValue) throws(TemplateError) -> Bool {
    try look()
    switch (left, right) {
    case (.undefined, .undefined), (.none, .none): return true
    case (.text(let left), .text(let right)):
      try look(at: min(left.count, right.count))
      return left == right
    case (.sequence(let left), .sequence(let right)):
      guard left.kind != .view, right.kind != .view else { throw error(.unsupported, "`==` with a view of a mapping") }
      guard left.kind == right.kind, left.values.count == right.values.count else { return false }
      for (left, right) in zip(left.values, right.values) where !(try areEqual(left, right)) { return false }
      return true
    case (.mapping(let left), .mapping(let right)):
      guard left.keys.count == right.keys.count else { return false }
      for (key, value) in zip(left.keys, left.values) {
        guard let other = right[key], try areEqual(value, other) else { return false }
      }
      return true
    case (.namespace(let left), .namespace(let right)): return left === right
    case (.iterator, .iterator), (.loop, .loop), (.macro, .macro), (.function, .function):
      throw error(.unsupported, "`==` between \(left.kind) and \(right.kind)")
    case (.float(let float), _):
      guard let whole = try whole(right) else { break }
      return Int(exactly: float) == whole
    case (_, .float(let float)):
      guard let whole = try whole(left) else { break }
      return Int(exactly: float) == whole
    default: break
    }
    if let left = try whole(left), let right = try whole(right) { return left == right }
    if case .float(let left) = left, case .float(let right) = right { return left == right }
    return false
  }

  /// `element in container`.
  func contains(_ container: TemplateValue, _ element: TemplateValue) throws(TemplateError) -> Bool {
    switch (container, element) {
    case (.text(let text), .text(let part)):
      try look(at: 8 * (text.count + part.count))
      try prepare(toFind: part)
      return text.firstRange(of: part.bytes) != nil
    case (.text, .undefined(let what)): throw error(.failed, "\(what) is undefined")
    case (.text, _): throw error(.failed, "\(element.kind) cannot be looked for in text")
    case (.mapping(let mapping), .text(let key)): return mapping[key] != nil
    case (.mapping, _): return false
    case (.undefined, _), (.sequence, _), (.iterator, _):
      for value in try elements(of: container) where try areEqual(value, element) { return true }
      return false
    default: throw error(.failed, "nothing can be looked for in \(container.kind)")
    }
  }

  private func real(_ value: TemplateValue) throws(TemplateError) -> Double? {
    if case .float(let value) = value { return value }
    return try whole(value).map { Double($0) }
  }

  func number(_ value: TemplateValue) throws(TemplateError) -> TemplateValue {
    if case .float = value { return value }
    guard let whole = try whole(value) else { throw error(.failed, "\(described(value)) is no number") }
    return .int(whole)
  }

  private func described(_ value: TemplateValue) -> String {
    if case .undefined(let what) = value { "\(what), which is undefined," } else { value.kind }
  }

  func arithmetic(
    _ sign: Arithmetic, _ left: TemplateValue, _ right: TemplateValue, sign isSign: Bool = false
  ) throws(TemplateError) -> TemplateValue {
    if sign == .add, let sum = try joined(left, right) { return sum }
    if sign == .multiply, let repeated = try repeated(left, right) { return repeated }
    if sign == .remainder, case .text = left { throw error(.unsupported, "`%` with text") }
    if let left = try whole(left), let right = try whole(right) { return try arithmetic(sign, left, right) }
    guard let first = try real(left), let second = try real(right) else {
      if isSign { throw error(.failed, "\(described(right)) is no number") }
      throw error(.failed, "`\(sign.rawValue)` cannot be used between \(described(left)) and \(described(right))")
    }
    switch sign {
    case .add: return .float(first + second)
    case .subtract: return .float(isSign ? -second : first - second)
    case .multiply: return .float(first * second)
    case .divide:
      guard second != 0 else { throw error(.failed, "it divides by 0") }
      return .float(first / second)
    case .divideDown, .remainder, .power: throw error(.unsupported, "`\(sign.rawValue)` with a fraction")
    }
  }

  private func arithmetic(_ sign: Arithmetic, _ left: Int, _ right: Int) throws(TemplateError) -> TemplateValue {
    if right == 0, sign == .divide || sign == .divideDown || sign == .remainder {
      throw error(.failed, "it divides by 0")
    }
    let result: (partialValue: Int, overflow: Bool)
    switch sign {
    case .add: result = left.addingReportingOverflow(right)
    case .subtract: result = left.subtractingReportingOverflow(right)
    case .multiply: result = left.multipliedReportingOverflow(by: right)
    case .divide:
      guard abs(Double(left)) < 9e15, abs(Double(right)) < 9e15 else {
        throw error(.unsupported, "`/` with so large numbers")
      }
      return .float(Double(left) / Double(right))
    case .divideDown, .remainder:
      // Python rounds down.
      guard right != -1 else {
        result = sign == .remainder ? (0, false) : Int(0).subtractingReportingOverflow(left)
        break
      }
      let (quotient, rest) = left.quotientAndRemainder(dividingBy: right)
      let isBelow = rest != 0 && (rest < 0) != (right < 0)
      result = (sign == .divideDown ? quotient - (isBelow ? 1 : 0) : rest + (isBelow ? right : 0), false)
    case .power:
      guard right >= 0 else { throw error(.unsupported, "`**` with a negative exponent") }
      result = try power(left, right)
    }
    guard !result.overflow else { throw error(.unsupported, "a number of more than 64 bits") }
    return .int(result.partialValue)
  }

  private func power(_ base: Int, _ exponent: Int) throws(TemplateError) -> (partialValue: Int, overflow: Bool) {
    if exponent == 0 || base == 1 { return (1, false) }
    if base == 0 { return (0, false) }
    if base == -1 { return (exponent.isMultiple(of: 2) ? 1 : -1, false) }
    var (result, overflow) = (1, false)
    for _ in 0..<min(exponent, 64) where !overflow { (result, overflow) = result.multipliedReportingOverflow(by: base) }
    return (result, overflow)
  }

  /// `+` between texts, and between lists.
  private func joined(_ left: TemplateValue, _ right: TemplateValue) throws(TemplateError) -> TemplateValue? {
    switch (left, right) {
    case (.text(var text), .text(let other)):
      try make(text.count + other.count)
      text.append(other)
      return .text(text)
    case (.sequence(let left), .sequence(let right)):
      guard left.kind == right.kind, left.kind == .list || left.kind == .tuple else { return nil }
      return try list(left.values + right.values, left.kind)
    default: return nil
    }
  }

  /// `*` between text or a list and a number.
  private func repeated(_ left: TemplateValue, _ right: TemplateValue) throws(TemplateError) -> TemplateValue? {
    func times(_ value: TemplateValue, _ size: Int) throws(TemplateError) -> Int? {
      guard let count = try whole(value) else { return nil }
      let (bytes, overflow) = max(size, 1).multipliedReportingOverflow(by: max(count, 0))
      try make(overflow ? .max : bytes)
      return max(count, 0)
    }
    switch (left, right) {
    case (.text(let text), let count), (let count, .text(let text)):
      guard let count = try times(count, text.count) else { return nil }
      return .text(text.repeated(count))
    case (.sequence(let sequence), let count), (let count, .sequence(let sequence)):
      guard sequence.kind == .list || sequence.kind == .tuple,
        let count = try times(count, 32 * sequence.values.count)
      else { return nil }
      return try list(Array((0..<count).map { _ in sequence.values }.joined()), sequence.kind)
    default: return nil
    }
  }
}
