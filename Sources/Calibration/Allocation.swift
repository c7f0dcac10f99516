import Storage

/// Chooses a level for each matrix so that the damage is least for the bytes: from the cheapest on, along the lower convex hull of
/// each matrix's damage over its bytes, steps by descending damage saved for a byte (`Formats/solver.md`, section 10).
package struct Allocation: Sendable {
  /// What a matrix can have.
  package struct Choice: Sendable {
    /// By level.
    package let bytes: [Int]
    /// By level; infinite where it cannot have that level.
    package let damage: [Double]

    package init(bytes: [Int], damage: [Double]) {
      self.bytes = bytes
      self.damage = damage
    }
  }

  /// A step up of one matrix, with what it saves for each byte.
  package struct Step: Sendable {
    package let matrix: Int
    package let from: Int, to: Int
    let gain: Float
  }

  /// By matrix, its level before any step.
  package let base: [Int]
  /// The best first; those of a matrix in order.
  package let steps: [Step]

  package init(_ choices: [Choice]) {
    var base: [Int] = []
    var steps: [Step] = []
    for (matrix, choice) in choices.enumerated() {
      let hull = Self.hull(choice)
      base.append(hull[0])
      for (from, to) in zip(hull, hull.dropFirst()) {
        let saved = choice.damage[from] - choice.damage[to]
        steps.append(
          Step(matrix: matrix, from: from, to: to, gain: Float(saved / Double(choice.bytes[to] - choice.bytes[from]))))
      }
    }
    self.base = base
    self.steps = steps.enumerated().sorted { a, b in
      a.element.gain == b.element.gain ? a.offset < b.offset : a.element.gain > b.element.gain
    }.map(\.element)
  }

  /// Levels on the hull, by bytes.
  private static func hull(_ choice: Choice) -> [Int] {
    let order = choice.bytes.indices.filter { choice.damage[$0].isFinite }
      .sorted { (choice.bytes[$0], choice.damage[$0], $0) < (choice.bytes[$1], choice.damage[$1], $1) }
    precondition(!order.isEmpty, "a matrix has a level")
    func slope(_ a: Int, _ b: Int) -> Double {
      (choice.damage[a] - choice.damage[b]) / Double(choice.bytes[b] - choice.bytes[a])
    }
    var hull = [order[0]]
    for level in order.dropFirst() where choice.damage[level] < choice.damage[hull[hull.count - 1]] {
      guard choice.bytes[level] > choice.bytes[hull[hull.count - 1]] else { continue }
      while hull.count > 1, slope(hull[hull.count - 2], hull[hull.count - 1]) <= slope(hull[hull.count - 1], level) {
        hull.removeLast()
      }
      hull.append(level)
    }
    return hull
  }

  /// Takes steps in order, each that still fits; one that does not keeps the later ones of its matrix out.
  ///
  /// - Parameter takes: takes a step if that is possible.
  package func levels(_ takes: (Step) -> Bool) -> [Int] {
    var levels = base
    for step in steps where levels[step.matrix] == step.from {
      if takes(step) { levels[step.matrix] = step.to }
    }
    return levels
  }
}
