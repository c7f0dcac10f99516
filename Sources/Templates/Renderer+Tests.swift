// Tests, as in `x is defined`.

extension Renderer {
  func holds(_ test: Test, _ value: TemplateValue, _ arguments: CallArguments) throws(TemplateError) -> Bool {
    let operandCount: Int =
      switch test {
      case .divisibleby, .equal, .eq, .equalto, .ge, .greaterEqual, .greater, .greaterthan, .gt, .in, .le, .lessEqual,
        .less, .lessthan, .lt, .ne, .notEqual:
        1
      default: 0
      }
    guard arguments.named.isEmpty, arguments.positional.count == operandCount else {
      throw error(.failed, "the test `\(test.rawValue)` takes \(operandCount) operands")
    }
    let operand = arguments.positional.first ?? .none
    switch test {
    case .defined: if case .undefined = value { return false } else { return true }
    case .undefined: if case .undefined = value { return true } else { return false }
    case .none: if case .none = value { return true } else { return false }
    case .boolean: if case .bool = value { return true } else { return false }
    case .true: if case .bool(true) = value { return true } else { return false }
    case .false: if case .bool(false) = value { return true } else { return false }
    case .integer: if case .int = value { return true } else { return false }
    case .float: if case .float = value { return true } else { return false }
    case .string: if case .text = value { return true } else { return false }
    case .mapping: if case .mapping = value { return true } else { return false }
    case .number:
      switch value {
      case .int, .float, .bool: return true
      default: return false
      }
    case .iterable:
      switch value {
      case .undefined, .text, .sequence, .mapping, .iterator, .loop: return true
      default: return false
      }
    case .sequence:
      switch value {
      case .undefined, .text, .mapping: return true
      case .sequence(let sequence): return sequence.kind != .view
      default: return false
      }
    case .equal, .eq, .equalto: return try compare(.equal, value, operand)
    case .notEqual, .ne: return try compare(.notEqual, value, operand)
    case .less, .lt, .lessthan: return try compare(.less, value, operand)
    case .lessEqual, .le: return try compare(.lessOrEqual, value, operand)
    case .greater, .gt, .greaterthan: return try compare(.greater, value, operand)
    case .greaterEqual, .ge: return try compare(.greaterOrEqual, value, operand)
    case .in: return try contains(operand, value)
    case .odd, .even, .divisibleby:
      let divisor = test == .divisibleby ? operand : .int(2)
      guard case .int(let rest) = try arithmetic(.remainder, value, divisor) else { return false }
      return test == .odd ? rest == 1 : rest == 0
    }
  }
}
