package import Decoding

/// What two models made of one prompt with the same options.
package struct TrajectoryPair: Sendable {
  package let prompt: [Int]
  package let reference: BlockDiffusion.Output
  package let candidate: BlockDiffusion.Output
  /// The block length of the decoding.
  package let blockLength: Int

  package init(
    prompt: [Int], reference: BlockDiffusion.Output, candidate: BlockDiffusion.Output, blockLength: Int
  ) {
    self.prompt = prompt
    self.reference = reference
    self.candidate = candidate
    self.blockLength = blockLength
  }

  /// The first step that is not the same in both; up to there both models saw the same.
  package struct Divergence: Sendable, Equatable {
    /// From the first generated block = 0.
    package let block: Int
    package let step: Int
    /// The first that is committed by one only, or with another token, from the start of the prompt; nil where one of the
    /// models made a step that commits nothing and the other made none.
    package let position: Int?
    /// Masks in the block before the step / block length.
    package let maskRatio: Double
  }

  package var isIdentical: Bool { reference.tokens == candidate.tokens }

  /// Nil if every step of one committed the same as that of the other.
  package var divergence: Divergence? {
    let steps = (reference.steps, candidate.steps)
    let same = zip(steps.0, steps.1).prefix { step, other in
      step.block == other.block && step.step == other.step && step.writes == other.writes
    }
    let index = same.count { _ in true }
    guard let step = steps.0.dropFirst(index).first ?? steps.1.dropFirst(index).first else { return nil }
    let writes = [steps.0, steps.1].map { Set($0.dropFirst(index).first?.writes ?? []) }
    return Divergence(
      block: step.block - prompt.count / blockLength, step: step.step,
      position: writes[0].symmetricDifference(writes[1]).map(\.position).min(),
      maskRatio: Double(step.masked) / Double(blockLength))
  }

  /// Tokens to insert, delete or replace (Levenshtein 1966) / tokens of the longer output.
  package var editDistance: Double {
    let (a, b) = (reference.tokens, candidate.tokens)
    guard max(a.count, b.count) > 0 else { return 0 }
    // Distances of a's beginning to all beginnings of b.
    var row = Array(0...b.count)
    for (i, token) in a.enumerated() {
      var diagonal = row[0]
      row[0] = i + 1
      for (j, other) in b.enumerated() {
        let replaced = diagonal + (token == other ? 0 : 1)
        diagonal = row[j + 1]
        row[j + 1] = min(replaced, row[j] + 1, diagonal + 1)
      }
    }
    return Double(row[b.count]) / Double(max(a.count, b.count))
  }

  /// Kendall's τ-b (Kendall 1945) of the steps in which the positions that both wrote were last written, over pairs of one
  /// block: (concordant − discordant) / √((pairs − tied in the reference) · (pairs − tied in the candidate)).
  ///
  /// 1 where neither model orders any pair; nil where only one does.
  package var orderAgreement: Double? {
    let (a, b) = (Self.lastSteps(reference), Self.lastSteps(candidate))
    let positions = a.keys.filter { b[$0] != nil }.sorted()
    var (agreement, ordered, otherOrdered) = (0, 0, 0)
    for (index, position) in positions.enumerated() {
      for other in positions[(index + 1)...] where other / blockLength == position / blockLength {
        let order = Self.order(a[position], a[other])
        let otherOrder = Self.order(b[position], b[other])
        agreement += order * otherOrder
        ordered += abs(order)
        otherOrdered += abs(otherOrder)
      }
    }
    if ordered == 0 && otherOrdered == 0 { return 1 }
    guard ordered > 0 && otherOrdered > 0 else { return nil }
    return Double(agreement) / (Double(ordered) * Double(otherOrdered)).squareRoot()
  }

  /// By position, the step in its block that wrote it last.
  private static func lastSteps(_ output: BlockDiffusion.Output) -> [Int: Int] {
    var steps: [Int: Int] = [:]
    for record in output.steps { for commit in record.commits { steps[commit.position] = record.step } }
    return steps
  }

  private static func order(_ a: Int?, _ b: Int?) -> Int {
    guard let a, let b else { return 0 }
    return (b - a).signum()
  }
}

/// A position and the token written there.
struct Write: Hashable {
  let position: Int
  let token: Int
}

extension StepRecord.Commit {
  var write: Write { Write(position: position, token: token) }
}

extension StepRecord {
  fileprivate var writes: [Write] { commits.map(\.write) }
}
