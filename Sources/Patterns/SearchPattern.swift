/// A regular expression that is looked for anywhere in a text (`Formats/recipe.md` lists the syntax).
///
/// The time is proportional to the length of the text times that of the pattern, whatever the two are. Nothing is tried and
/// taken back: from the end of the text to its start, each step of the pattern is asked once whether the rest of the pattern
/// matches there, which the answers at the place behind it tell.
package struct SearchPattern: Sendable {
  /// Longer patterns, with counts written out, are refused.
  static var maximumStepCount: Int { 4000 }

  private enum Step: Sendable {
    case matched
    /// One scalar of a set, and then the step `then`.
    case one(set: Int, then: Int)
    case either(Int, Int)
    case holds(RegexAssertion, then: Int)
    case look(first: Int, isNegative: Bool, then: Int)
  }

  /// What is done at each place of the text.
  private enum Action: Sendable {
    case ask(Int)
    /// Goes back to action `first` until that changes nothing: steps of what is repeated may depend on each other in a circle.
    case settle(first: Int)
  }

  private var steps: [Step] = [.matched]
  private var sets: [ScalarSet] = []
  private var actions: [Action] = [.ask(0)]
  private var first = 0
  private var settles = false

  /// - Throws: what is malformed or not supported.
  package init(_ pattern: String) throws(RegexError) {
    first = try compile(try RegexParser.parse(pattern, as: .searching), then: 0)
  }

  /// Appends the steps of a node and asks them after those that they depend on.
  ///
  /// - Returns: the step to begin with.
  private mutating func compile(_ node: RegexNode, then: Int) throws(RegexError) -> Int {
    switch node {
    case .set(let set):
      sets.append(set)
      return try append(.one(set: sets.count - 1, then: then))
    case .sequence(let nodes):
      var then = then
      for node in nodes.reversed() { then = try compile(node, then: then) }
      return then
    case .alternatives(let nodes):
      var others: Int?
      for node in nodes.reversed() {
        let one = try compile(node, then: then)
        others = if let others { try append(.either(one, others)) } else { one }
      }
      return others ?? then
    case .repeated(let node, let min, let max, _):
      var then = then
      if let max {
        let end = then
        for _ in min..<max { then = try append(.either(try compile(node, then: then), end)) }
      } else {
        then = try loop(node, then: then)
      }
      for _ in 0..<min { then = try compile(node, then: then) }
      return then
    case .lookahead(let node, let isNegative):
      return try append(.look(first: try compile(node, then: 0), isNegative: isNegative, then: then))
    case .assertion(let assertion): return try append(.holds(assertion, then: then))
    }
  }

  /// A node any number of times.
  private mutating func loop(_ node: RegexNode, then: Int) throws(RegexError) -> Int {
    let start = actions.count
    let fork = steps.count
    steps.append(.matched)  // to be filled in
    steps[fork] = .either(try compile(node, then: fork), then)
    actions.append(.ask(fork))
    // One scalar leads back behind itself; the end of anything else may lead back at the same place.
    if case .set = node { return fork }
    actions.append(.settle(first: start))
    settles = true
    return fork
  }

  private mutating func append(_ step: Step) throws(RegexError) -> Int {
    guard steps.count < Self.maximumStepCount else {
      throw RegexError(reason: "it is too long with its counts written out", position: 0)
    }
    steps.append(step)
    actions.append(.ask(steps.count - 1))
    return steps.count - 1
  }

  /// Whether some part of the text matches.
  package func occurs(in text: String) -> Bool {
    let scalars = Array(text.unicodeScalars)
    // By step, whether the rest of the pattern matches: here, and one scalar further.
    var here = [Bool](repeating: false, count: steps.count)
    var behind = here
    for place in stride(from: scalars.count, through: 0, by: -1) {
      swap(&here, &behind)
      ask(scalars, place, &here, behind)
      if here[first] { return true }
    }
    return false
  }

  private func ask(_ text: [Unicode.Scalar], _ place: Int, _ here: inout [Bool], _ behind: [Bool]) {
    if settles { return settle(text, place, &here, behind) }
    for action in actions {
      guard case .ask(let index) = action else { continue }
      here[index] = matches(steps[index], text, place, here, behind)
    }
  }

  private func settle(_ text: [Unicode.Scalar], _ place: Int, _ here: inout [Bool], _ behind: [Bool]) {
    // Something is read before it is asked.
    for index in here.indices { here[index] = false }
    var found = 0  // steps that match
    var foundBefore: [Int: Int] = [:]  // by action that settles
    var action = 0
    while action < actions.count {
      switch actions[action] {
      case .ask(let index):
        if !here[index], matches(steps[index], text, place, here, behind) {
          here[index] = true
          found += 1
        }
      case .settle(let first):
        if foundBefore.updateValue(found, forKey: action) != found {
          action = first
          continue
        }
      }
      action += 1
    }
  }

  @inline(__always)
  private func matches(
    _ step: Step, _ text: [Unicode.Scalar], _ place: Int, _ here: [Bool], _ behind: [Bool]
  ) -> Bool {
    switch step {
    case .matched: true
    case .one(let set, let then): behind[then] && sets[set].contains(text[place].value)
    case .either(let one, let other): here[one] || here[other]
    case .holds(let assertion, let then): here[then] && assertion.holds(text, place)
    case .look(let first, let isNegative, let then): here[then] && here[first] != isNegative
    }
  }
}

extension RegexAssertion {
  fileprivate func holds(_ text: [Unicode.Scalar], _ place: Int) -> Bool {
    switch self {
    case .start: place == 0
    case .end: place == text.count || place == text.count - 1 && text[place] == "\n"
    case .wordBoundary: Self.isWord(text, place - 1) != Self.isWord(text, place)
    case .noWordBoundary: Self.isWord(text, place - 1) == Self.isWord(text, place)
    }
  }

  private static func isWord(_ text: [Unicode.Scalar], _ index: Int) -> Bool {
    text.indices.contains(index) && ScalarSet.Item.word.contains(text[index].value)
  }
}
