/// Why a regular expression cannot be used, and at which of its Unicode scalars.
package struct RegexError: Error, Equatable {
  package let reason: String
  package let position: Int
}

/// A regular expression as a tree.
indirect enum RegexNode {
  case set(ScalarSet)
  case sequence([RegexNode])
  case alternatives([RegexNode])
  case repeated(RegexNode, min: Int, max: Int?, isPossessive: Bool)
  case lookahead(RegexNode, isNegative: Bool)
  case assertion(RegexAssertion)

  /// Whether some text of length 0 matches.
  var matchesNothing: Bool {
    switch self {
    case .set: false
    case .sequence(let nodes): nodes.allSatisfy(\.matchesNothing)
    case .alternatives(let nodes): nodes.contains(where: \.matchesNothing)
    case .repeated(let node, let min, _, _): min == 0 || node.matchesNothing
    case .lookahead, .assertion: true
    }
  }
}

/// What is asked of a place between two scalars.
enum RegexAssertion: Sendable {
  case start
  /// The end, or before the line end that ends the text.
  case end
  case wordBoundary
  case noWordBoundary
}

/// What a pattern is for, which decides what of the syntax has one meaning only.
enum RegexSyntax {
  /// Cutting text as Oniguruma cuts it for a tokenizer: what matches where, and how far, must be the same.
  case splitting
  /// Telling whether something occurs: captures and laziness change nothing and are read over.
  case searching
}

/// Reads regular expressions: alternatives, classes, `\s \d` and their complements, general categories, greedy
/// quantifiers, groups, `(?i:…)`, look-ahead.
///
/// For splitting that is the syntax which pre-tokenizers of the GPT, Llama, Qwen and Ling families use, with the meaning
/// that Oniguruma gives it, possessive quantifiers too. For searching, `Formats/recipe.md` lists it. Everything else is
/// refused by name, never guessed; `\w` in a split too, which means something else to each engine.
struct RegexParser {
  /// Larger counts in `{n,m}` are refused: they are unrolled.
  static var maximumCount: Int { 1000 }
  static var maximumDepth: Int { 32 }
  static var maximumLength: Int { 1 << 16 }

  private let scalars: [Unicode.Scalar]
  private let syntax: RegexSyntax
  private var position = 0
  private var ignoresCase = false
  private var depth = 0

  static func parse(_ pattern: String, as syntax: RegexSyntax) throws(RegexError) -> RegexNode {
    var parser = RegexParser(scalars: Array(pattern.unicodeScalars), syntax: syntax)
    guard parser.scalars.count <= maximumLength else {
      throw parser.error("it is longer than \(maximumLength) characters")
    }
    let node = try parser.alternatives()
    guard parser.position == parser.scalars.count else { throw parser.error("`)` without `(`") }
    return node
  }

  private func error(_ reason: String, at start: Int? = nil) -> RegexError {
    RegexError(reason: reason, position: start ?? position)
  }

  private var peek: Unicode.Scalar? { position < scalars.count ? scalars[position] : nil }

  private mutating func take(_ text: String) -> Bool {
    let wanted = Array(text.unicodeScalars)
    guard scalars[position...].starts(with: wanted) else { return false }
    position += wanted.count
    return true
  }

  private mutating func alternatives() throws(RegexError) -> RegexNode {
    depth += 1
    defer { depth -= 1 }
    guard depth <= Self.maximumDepth else { throw error("groups nest deeper than \(Self.maximumDepth)") }
    var nodes = [try sequence()]
    while take("|") { nodes.append(try sequence()) }
    return nodes.count == 1 ? nodes[0] : .alternatives(nodes)
  }

  private mutating func sequence() throws(RegexError) -> RegexNode {
    var nodes: [RegexNode] = []
    while let next = peek, next != "|", next != ")" {
      nodes.append(try quantified(try atom()))
    }
    return nodes.count == 1 ? nodes[0] : .sequence(nodes)
  }

  private mutating func quantified(_ node: RegexNode) throws(RegexError) -> RegexNode {
    let start = position
    let counts: (min: Int, max: Int?)
    var isPossessive = false
    if take("?") {
      counts = (0, 1)
    } else if take("*") {
      counts = (0, nil)
    } else if take("+") {
      counts = (1, nil)
    } else if take("{") {
      counts = try interval()
    } else {
      return node
    }
    switch syntax {
    // After an interval `+` is not possessive but a second quantifier, which is refused below.
    case .splitting: isPossessive = scalars[start] != "{" && take("+")
    case .searching: _ = take("?")
    }
    if let next = peek, "?*+{".unicodeScalars.contains(next) {
      let isLazy = next == "?" && syntax == .splitting
      throw error("\(isLazy ? "a lazy quantifier" : "a quantifier after a quantifier") is not supported")
    }
    if case .set = node {
    } else if syntax == .splitting {
      guard !isPossessive else { throw error("possessive groups are not supported", at: start) }
      guard counts.max == 1 || !node.matchesNothing else {
        throw error("repeating what can match nothing is not supported", at: start)
      }
    }
    return .repeated(node, min: counts.min, max: counts.max, isPossessive: isPossessive)
  }

  /// The rest of `{n}`, `{n,}` or `{n,m}`.
  private mutating func interval() throws(RegexError) -> (min: Int, max: Int?) {
    let start = position - 1
    guard let min = number() else { throw error("expected `{n}`, `{n,}` or `{n,m}`", at: start) }
    var max: Int? = min
    if take(",") { max = number() }
    guard take("}") else { throw error("expected `{n}`, `{n,}` or `{n,m}`", at: start) }
    guard min <= max ?? min, max != 0, (max ?? min) <= Self.maximumCount else {
      throw error("counts must rise, and the last lie between 1 and \(Self.maximumCount)", at: start)
    }
    return (min, max)
  }

  private mutating func number() -> Int? {
    var value: Int?
    while let digit = peek, ("0"..."9").contains(digit) {
      value = min((value ?? 0) * 10 + Int(digit.value - 0x30), Self.maximumCount + 1)
      position += 1
    }
    return value
  }

  private mutating func atom() throws(RegexError) -> RegexNode {
    let start = position
    guard let next = peek else { throw error("expected something to match") }
    position += 1
    switch next {
    case "(": return try group(start)
    case "[": return .set(try characterClass(start))
    case "\\" where syntax == .searching && take("b"): return .assertion(.wordBoundary)
    case "\\" where syntax == .searching && take("B"): return .assertion(.noWordBoundary)
    case "\\": return .set(ScalarSet([try folded(try escape(), at: start)]))
    case "." where syntax == .searching: return .set(ScalarSet([.literal(0xA)], isNegated: true))
    case "^" where syntax == .searching: return .assertion(.start)
    case "$" where syntax == .searching: return .assertion(.end)
    case ".", "^", "$": throw error("`\(next)` is not supported", at: start)
    case "?", "*", "+", "{": throw error("a quantifier with nothing before it", at: start)
    default: return .set(ScalarSet([try folded(.literal(next.value), at: start)]))
    }
  }

  /// The item, widened inside `(?i:…)`, where only ASCII letters and sets that hold both cases have a known meaning.
  /// One scalar folds to one: a ligature never matches two letters.
  private func folded(_ item: ScalarSet.Item, at start: Int) throws(RegexError) -> ScalarSet.Item {
    guard ignoresCase else { return item }
    guard item.isCaseClosed || item.ranges.allSatisfy({ $0.upperBound < 0x80 }) && item.categories == 0 else {
      throw error("only ASCII letters can be matched in either case", at: start)
    }
    return item.ignoringCase
  }

  private mutating func group(_ start: Int) throws(RegexError) -> RegexNode {
    if syntax == .searching, take("?i)") {
      // Until the group ends in which it stands.
      ignoresCase = true
      return .sequence([])
    }
    let outer = ignoresCase
    defer { ignoresCase = outer }
    var isNegative: Bool?
    if take("?:") {
    } else if take("?i:") {
      ignoresCase = true
    } else if take("?!") {
      isNegative = true
    } else if take("?=") {
      isNegative = false
    } else if syntax == .searching, takeName() {
    } else if peek == "?" {
      let opening = String(String.UnicodeScalarView(scalars[start...].prefix(4)))
      throw error("groups that start with `\(opening)` are not supported", at: start)
    }
    let node = try alternatives()
    guard take(")") else { throw error("`(` without `)`", at: start) }
    if let isNegative { return .lookahead(node, isNegative: isNegative) }
    // A group of one set keeps its brackets: quantifiers on it behave as on any group.
    return .sequence([node])
  }

  /// The `?<name>` of a group.
  private mutating func takeName() -> Bool {
    let rest = scalars[position...]
    let start = rest.starts(with: "?<".unicodeScalars) ? 2 : rest.starts(with: "?P<".unicodeScalars) ? 3 : 0
    let name = rest.dropFirst(start).prefix {
      $0.properties.isAlphabetic || $0 == "_" || $0.properties.numericType != nil
    }
    guard start > 0, !name.isEmpty, name.endIndex < scalars.count, scalars[name.endIndex] == ">" else { return false }
    position = name.endIndex + 1
    return true
  }

  /// What follows a backslash, in a class or outside.
  private mutating func escape() throws(RegexError) -> ScalarSet.Item {
    let start = position - 1
    guard let next = peek else { throw error("`\\` at the end", at: start) }
    position += 1
    switch next {
    case "r": return .literal(0xD)
    case "n": return .literal(0xA)
    case "t": return .literal(0x9)
    case "s": return .whitespace
    case "S": return .whitespace.negated
    case "d": return .digit
    case "D": return .digit.negated
    case "w" where syntax == .searching: return .word
    case "W" where syntax == .searching: return .word.negated
    case "p", "P": return try property(start, isNegated: next == "P")
    default:
      guard next.isASCII, !next.properties.isAlphabetic, next.properties.numericType == nil, next != "_" else {
        throw error("`\\\(next)` is not supported", at: start)
      }
      return .literal(next.value)
    }
  }

  private mutating func property(_ start: Int, isNegated: Bool) throws(RegexError) -> ScalarSet.Item {
    guard take("{") else { throw error("expected `\\p{…}`", at: start) }
    let isInverted = take("^") != isNegated
    var name = ""
    while let next = peek, next != "}" {
      name.unicodeScalars.append(next)
      position += 1
    }
    guard take("}"), let categories = ScalarSet.Item.category(name) else {
      throw error("only general categories such as `\\p{L}` are supported, not `\(name)`", at: start)
    }
    return ScalarSet.Item(categories: categories, isNegated: isInverted)
  }

  private mutating func characterClass(_ start: Int) throws(RegexError) -> ScalarSet {
    let isNegated = take("^")
    var items: [ScalarSet.Item] = []
    while let next = peek {
      if next == "]" {
        guard !items.isEmpty else { throw error("an empty class is not supported", at: start) }
        position += 1
        return ScalarSet(items, isNegated: isNegated)
      }
      items.append(try folded(try classItem(), at: position))
    }
    throw error("`[` without `]`", at: start)
  }

  private mutating func classItem() throws(RegexError) -> ScalarSet.Item {
    let start = position
    let first = try classMember()
    guard peek == "-", position + 1 < scalars.count, scalars[position + 1] != "]" else { return first }
    position += 1
    let last = try classMember()
    guard let low = first.ranges.first, first.categories == 0, let high = last.ranges.first, last.categories == 0,
      low.lowerBound <= high.lowerBound
    else { throw error("a range in a class needs two characters in order", at: start) }
    return .init(ranges: [low.lowerBound...high.lowerBound])
  }

  private mutating func classMember() throws(RegexError) -> ScalarSet.Item {
    let start = position
    if take("\\") { return try escape() }
    if take("&&") { throw error("`&&` in a class is not supported", at: start) }
    if take("[") { throw error("a class inside a class is not supported", at: start) }
    guard let next = peek else { throw error("`[` without `]`", at: start) }
    position += 1
    return .literal(next.value)
  }
}
