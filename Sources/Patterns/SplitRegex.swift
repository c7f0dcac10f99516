/// A compiled regular expression over UTF-8 text. Matching backtracks like Oniguruma, but on a stack of its own, so that
/// no text can exhaust the thread's.
package struct SplitRegex: Sendable {
  /// Longer programs are refused; patterns in use need a few dozen steps.
  static var maximumStepCount: Int { 10_000 }

  fileprivate enum Step: Sendable {
    /// One scalar of a set.
    case one(Int)
    /// As many scalars of a set as there are, at least `min`, at most `max`; gives some back unless possessive.
    case run(set: Int, min: Int, max: Int, isPossessive: Bool)
    /// Goes on at the next step and, if that fails, at `otherwise`.
    case fork(otherwise: Int)
    case jump(Int)
    /// The steps after this one, up to `.matched`, are tried without consuming; goes on at `end`.
    case look(isNegative: Bool, end: Int)
    case matched
  }

  fileprivate private(set) var steps: [Step] = []
  fileprivate private(set) var sets: [ScalarSet] = []

  /// - Throws: what is malformed or not supported, including a pattern that could match the empty text: where that
  ///   would split is different from library to library.
  package init(_ pattern: String) throws(RegexError) {
    let node = try RegexParser.parse(pattern, as: .splitting)
    guard !node.matchesNothing else { throw RegexError(reason: "it can match nothing", position: 0) }
    try compile(node)
    steps.append(.matched)
  }

  /// Matches exactly this text, which is not empty.
  package init(literal: String) {
    for scalar in literal.unicodeScalars { append(ScalarSet([.literal(scalar.value)])) }
    steps.append(.matched)
  }

  private mutating func append(_ set: ScalarSet) {
    steps.append(.one(sets.count))
    sets.append(set)
  }

  private mutating func compile(_ node: RegexNode) throws(RegexError) {
    guard steps.count < Self.maximumStepCount else { throw RegexError(reason: "it is too long", position: 0) }
    switch node {
    case .set(let set): append(set)
    case .sequence(let nodes): for node in nodes { try compile(node) }
    case .alternatives(let nodes):
      var jumps: [Int] = []
      for node in nodes.dropLast() {
        let fork = reserve()
        try compile(node)
        jumps.append(reserve())
        steps[fork] = .fork(otherwise: steps.count)
      }
      if let last = nodes.last { try compile(last) }
      for jump in jumps { steps[jump] = .jump(steps.count) }
    case .repeated(.set(let set), let min, let max, let isPossessive):
      steps.append(.run(set: sets.count, min: min, max: max ?? .max, isPossessive: isPossessive))
      sets.append(set)
    case .repeated(let node, let min, let max, _):
      for _ in 0..<min { try compile(node) }
      var forks: [Int] = []
      for _ in 0..<(max ?? min + 1) - min {
        forks.append(reserve())
        try compile(node)
      }
      if max == nil { steps.append(.jump(forks[0])) }
      for fork in forks { steps[fork] = .fork(otherwise: steps.count) }
    case .assertion: preconditionFailure("the syntax of splits has none")
    case .lookahead(let node, let isNegative):
      let look = reserve()
      try compile(node)
      steps.append(.matched)
      steps[look] = .look(isNegative: isNegative, end: steps.count)
    }
  }

  /// A step to be filled in once its target is known.
  private mutating func reserve() -> Int {
    steps.append(.matched)
    return steps.count - 1
  }
}

/// Runs an expression over ranges of UTF-8 text; keeps its stack between calls.
///
/// A pattern from a stranger can make backtracking take exponential time. The steps of all calls together are bounded; those
/// in use take about ten for each byte.
package struct RegexMatcher {
  private let regex: SplitRegex
  private var budget: Int
  /// Whether the steps were used up: nothing matches any more, and that means nothing.
  package var isExhausted: Bool { budget < 0 }
  private var stack: [Alternative] = []

  /// Where to go on when the current way fails: at `step` from `offset`, and then from each scalar boundary before it
  /// down to `lowest`.
  private struct Alternative {
    let step: Int
    var offset: Int
    let lowest: Int
  }

  /// - Parameter byteCount: of the text, to which the steps are proportional.
  package init(_ regex: SplitRegex, byteCount: Int) {
    self.regex = regex
    budget = 1_000_000 + 1000 * byteCount
  }

  /// The end of the match that starts at `range.lowerBound`, or nil. The text must be valid UTF-8, and the range must
  /// begin and end at scalars; nothing outside it is looked at.
  package mutating func match(_ text: [UInt8], _ range: Range<Int>) -> Int? {
    stack.removeAll(keepingCapacity: true)
    return match(text, range.lowerBound, range.upperBound, step: 0)
  }

  private mutating func match(_ text: [UInt8], _ start: Int, _ end: Int, step first: Int) -> Int? {
    let base = stack.count
    defer { stack.removeSubrange(base...) }
    var (step, offset) = (first, start)
    while true {
      var fails = false
      budget -= 1
      if isExhausted { return nil }
      switch regex.steps[step] {
      case .one(let set):
        if offset < end {
          let (scalar, count) = text.scalar(at: offset)
          fails = !regex.sets[set].contains(scalar)
          offset += count
        } else {
          fails = true
        }
        step += 1
      case .run(let set, let min, let max, let isPossessive):
        let set = regex.sets[set]
        var count = 0
        var lowest = offset
        while count < max, offset < end {
          let (scalar, length) = text.scalar(at: offset)
          guard set.contains(scalar) else { break }
          offset += length
          count += 1
          if count == min { lowest = offset }
        }
        budget -= count
        fails = count < min
        step += 1
        if !fails, !isPossessive, lowest < offset {
          stack.append(Alternative(step: step, offset: text.previousScalar(before: offset), lowest: lowest))
        }
      case .fork(let otherwise):
        stack.append(Alternative(step: otherwise, offset: offset, lowest: offset))
        step += 1
      case .jump(let target): step = target
      case .look(let isNegative, let target):
        fails = (match(text, offset, end, step: step + 1) == nil) != isNegative
        step = target
      case .matched: return offset
      }
      guard fails else { continue }
      guard stack.count > base else { return nil }
      let top = stack.count - 1
      (step, offset) = (stack[top].step, stack[top].offset)
      if offset > stack[top].lowest {
        stack[top].offset = text.previousScalar(before: offset)
      } else {
        stack.removeLast()
      }
    }
  }
}

extension [UInt8] {
  /// The scalar that starts at an offset of valid UTF-8, and its length.
  @inline(__always) @inlinable
  package func scalar(at offset: Int) -> (value: UInt32, count: Int) {
    let first = UInt32(self[offset])
    if first < 0x80 { return (first, 1) }
    let second = UInt32(self[offset + 1]) & 0x3F
    if first < 0xE0 { return ((first & 0x1F) << 6 | second, 2) }
    let third = UInt32(self[offset + 2]) & 0x3F
    if first < 0xF0 { return ((first & 0xF) << 12 | second << 6 | third, 3) }
    return ((first & 0x7) << 18 | second << 12 | third << 6 | UInt32(self[offset + 3]) & 0x3F, 4)
  }

  /// The start of the scalar that ends at an offset.
  @inline(__always) @inlinable
  package func previousScalar(before offset: Int) -> Int {
    var offset = offset - 1
    while self[offset] & 0xC0 == 0x80 { offset -= 1 }
    return offset
  }
}
