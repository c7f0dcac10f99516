/// What one denoising step did: the record that drift works on.
package struct StepRecord: Sendable, Equatable {
  /// A position whose token is now fixed, or was changed by an edit.
  package struct Commit: Sendable, Equatable {
    /// From the start of the prompt.
    package let position: Int
    package let token: Int
    /// The token's probability under the distribution it was chosen from.
    package let probability: Float
    /// Probability of the best token minus that of the second.
    package let margin: Float

    package init(position: Int, token: Int, probability: Float, margin: Float) {
      self.position = position
      self.token = token
      self.probability = probability
      self.margin = margin
    }
  }

  /// Index of the block, counted from position 0 of the prompt.
  package let block: Int
  /// Counted from 0 in each block.
  package let step: Int
  /// Masks in the block before the step.
  package let masked: Int
  /// In the order of positions.
  package let commits: [Commit]
  /// By MoE layer and row of the pass, the experts chosen; empty unless asked for.
  package var experts: [[[Int]]] = []

  package init(block: Int, step: Int, masked: Int, commits: [Commit]) {
    self.block = block
    self.step = step
    self.masked = masked
    self.commits = commits
  }
}
