/// An expression and the line it stands in.
struct Expression: Sendable {
  let line: Int
  let kind: Kind

  indirect enum Kind: Sendable {
    case none
    case bool(Bool)
    case int(Int)
    case float(Double)
    case text(TemplateText)
    case name(String)
    case list([Expression])
    case tuple([Expression])
    case mapping([(key: Expression, value: Expression)])
    /// `a.b`
    case attribute(Expression, String)
    /// `a[b]`
    case item(Expression, Expression)
    case slice(Expression, start: Expression?, stop: Expression?, step: Expression?)
    case call(Expression, Arguments)
    case filter(Expression, FilterCall)
    case test(Expression, Test, Arguments)
    case not(Expression)
    case sign(isNegative: Bool, Expression)
    case and(Expression, Expression)
    case or(Expression, Expression)
    /// `a < b <= c`: each holds between neighbours.
    case compare(Expression, [(comparison: Comparison, Expression)])
    case arithmetic(Arithmetic, Expression, Expression)
    /// `a ~ b`
    case concatenate([Expression])
    case conditional(Expression, condition: Expression, otherwise: Expression?)
  }
}

struct Arguments: Sendable {
  var positional: [Expression] = []
  var named: [(name: String, value: Expression)] = []
}

struct FilterCall: Sendable {
  let filter: Filter
  let arguments: Arguments
  let line: Int
}

enum Comparison: String, Sendable {
  case equal = "==", notEqual = "!=", less = "<", lessOrEqual = "<=", greater = ">", greaterOrEqual = ">="
  case isIn = "in", isNotIn = "not in"
}

enum Arithmetic: String, Sendable {
  case add = "+", subtract = "-", multiply = "*", divide = "/", divideDown = "//", remainder = "%", power = "**"
}

/// Filters by their name in Jinja.
enum Filter: String, Sendable {
  case capitalize, count, d, `default`, first, float, int, items, join, last, length, list, lower, map, reject
  case rejectattr, replace, reverse, select, selectattr, string, tojson, trim, upper
}

/// Tests by their name in Jinja.
enum Test: String, Sendable {
  case boolean, defined, divisibleby, equal = "==", eq, equalto, even, `false`, float, ge, greaterEqual = ">="
  case greater = ">", greaterthan, gt, `in`, integer, iterable, le, lessEqual = "<=", less = "<", lessthan, lt, mapping
  case ne, none, notEqual = "!=", number, odd, sequence, string, `true`, undefined
}

indirect enum Statement: Sendable {
  /// Text as it stands.
  case data(TemplateText)
  case output(Expression)
  case branches([(condition: Expression, body: [Statement])], otherwise: [Statement])
  case loop(Loop)
  case set(Target, Expression, line: Int)
  /// `{% set a %}…{% endset %}`
  case setBlock(Target, [FilterCall], [Statement], line: Int)
  case macro(Macro)
  /// `{% generation %}…{% endgeneration %}`: marks what a model is trained on, and has a scope of its own.
  case generation([Statement])
  case leave, goOn

  struct Loop: Sendable {
    let line: Int
    let target: Target
    let sequence: Expression
    let condition: Expression?
    let body: [Statement]
    let otherwise: [Statement]
  }
}

enum Target: Sendable {
  case name(String)
  /// `ns.name`, of a namespace.
  case attribute(namespace: String, String)
  case names([String])
}

struct Macro: Sendable {
  let name: String
  let parameters: [(name: String, otherwise: Expression?)]
  let body: [Statement]
}
