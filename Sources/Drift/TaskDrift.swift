import Glibc
package import JSON

/// Which answers went wrong and which came right (`Formats/drift-report.md` §13).
package struct TaskDrift: Sendable {
  /// One model's answer to a prompt.
  package struct Attempt: Sendable {
    package let isCorrect: Bool
    /// Whether the length ended it, not a stop token.
    package let isTruncated: Bool

    package init(isCorrect: Bool, isTruncated: Bool) {
      self.isCorrect = isCorrect
      self.isTruncated = isTruncated
    }
  }

  /// Both models' answers to a prompt that has an expected one.
  package struct Row: Sendable {
    /// Nil where the prompt names none.
    package let task: String?
    package let reference: Attempt
    package let candidate: Attempt

    package init(task: String?, reference: Attempt, candidate: Attempt) {
      self.task = task
      self.reference = reference
      self.candidate = candidate
    }

    fileprivate var isLost: Bool { reference.isCorrect && !candidate.isCorrect }
    fileprivate var isGained: Bool { !reference.isCorrect && candidate.isCorrect }
  }

  private let match: AnswerMatch
  private let rows: [Row]

  package init(_ rows: [Row], match: AnswerMatch) {
    self.rows = rows
    self.match = match
  }

  /// Exact two-sided p of McNemar's test (McNemar 1947): that of `lost + gained` throws of a coin falling at least as far
  /// apart, min(1, 2 · Σ_{i ≤ min} C(n, i) / 2ⁿ).
  package static func mcNemar(lost: Int, gained: Int) -> Double {
    let n = lost + gained
    // Logarithms, since 2⁻ⁿ is below the smallest double from 1,075 on.
    var term = -Double(n) * log(2)
    var sum = 0.0
    for i in 0...min(lost, gained) {
      sum += exp(term)
      term += log(Double(n - i) / Double(i + 1))
    }
    return min(1, 2 * sum)
  }

  /// `tasks`; null without rows.
  ///
  /// - Parameter seed: of the intervals.
  package func json(seed: UInt64) -> JSONValue {
    guard !rows.isEmpty else { return .null }
    let mean = { (value: (Row) -> Bool) -> JSONValue in
      var sample = ClusterSums()
      for (index, row) in rows.enumerated() { sample.add(value(row), cluster: index) }
      return sample.meanJSON(seed: seed)
    }
    let lost = rows.count(where: \.isLost)
    let gained = rows.count(where: \.isGained)
    let p = Self.mcNemar(lost: lost, gained: gained)
    return [
      "prompts": JSONValue(rows.count),
      "match": JSONValue(match.rawValue),
      "reference_correct": mean(\.reference.isCorrect),
      "candidate_correct": mean(\.candidate.isCorrect),
      "both": JSONValue(rows.count { $0.reference.isCorrect && $0.candidate.isCorrect }),
      "neither": JSONValue(rows.count { !$0.reference.isCorrect && !$0.candidate.isCorrect }),
      "lost": JSONValue(lost),
      "gained": JSONValue(gained),
      "p": JSONValue(p),
      "lost_significantly": p < 0.05 && lost > gained ? 1 : 0,
      "truncated": [
        "reference": JSONValue(rows.map(\.reference.isTruncated).share),
        "candidate": JSONValue(rows.map(\.candidate.isTruncated).share),
      ],
      "by_task": .array(byTask),
    ]
  }

  /// In the order in which the tasks come first.
  private var byTask: [JSONValue] {
    var tasks: [String] = []
    for case let task? in rows.map(\.task) where !tasks.contains(task) { tasks.append(task) }
    return tasks.map { task in
      let rows = rows.filter { $0.task == task }
      return [
        "task": JSONValue(task), "prompts": JSONValue(rows.count),
        "reference_correct": JSONValue(rows.count(where: \.reference.isCorrect)),
        "candidate_correct": JSONValue(rows.count(where: \.candidate.isCorrect)),
        "lost": JSONValue(rows.count(where: \.isLost)), "gained": JSONValue(rows.count(where: \.isGained)),
      ]
    }
  }
}
