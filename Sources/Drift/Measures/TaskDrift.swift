import Glibc

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

  /// `tasks`; nil without rows.
  ///
  /// - Parameter seed: of the intervals.
  package func section(seed: UInt64) -> DriftReport.Tasks? {
    guard !rows.isEmpty else { return nil }
    let mean = { (value: (Row) -> Bool) -> Estimate? in
      var sample = ClusterSums()
      for (index, row) in rows.enumerated() { sample.add(value(row), cluster: index) }
      return sample.estimate(seed: seed)
    }
    let lost = rows.count(where: \.isLost)
    let gained = rows.count(where: \.isGained)
    let p = Self.mcNemar(lost: lost, gained: gained)
    return DriftReport.Tasks(
      prompts: rows.count, match: match.rawValue, referenceCorrect: mean(\.reference.isCorrect),
      candidateCorrect: mean(\.candidate.isCorrect),
      both: rows.count { $0.reference.isCorrect && $0.candidate.isCorrect },
      neither: rows.count { !$0.reference.isCorrect && !$0.candidate.isCorrect }, lost: lost, gained: gained, p: p,
      lostSignificantly: p < 0.05 && lost > gained ? 1 : 0,
      truncated: .init(
        reference: rows.map(\.reference.isTruncated).share, candidate: rows.map(\.candidate.isTruncated).share),
      byTask: byTask)
  }

  /// In the order in which the tasks come first.
  private var byTask: [DriftReport.Tasks.Task] {
    var tasks: [String] = []
    for case let task? in rows.map(\.task) where !tasks.contains(task) { tasks.append(task) }
    return tasks.map { task in
      let rows = rows.filter { $0.task == task }
      return .init(
        task: task, prompts: rows.count, referenceCorrect: rows.count(where: \.reference.isCorrect),
        candidateCorrect: rows.count(where: \.candidate.isCorrect), lost: rows.count(where: \.isLost),
        gained: rows.count(where: \.isGained))
    }
  }
}
