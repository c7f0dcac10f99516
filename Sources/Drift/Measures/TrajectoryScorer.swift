package import Decoding
package import Models

/// Scores the candidate at every state that the reference went through (`Formats/drift-report.md` §12.1): all states of all
/// prompts in one pass over the layers.
package struct TrajectoryScorer {
  private let decoder: BlockDiffusion
  private let scoring: Scoring
  private let trajectories: [Trajectory]
  /// By trajectory, its prompt.
  private let prompts: [Int]
  /// By state of the scoring, its trajectory and the state there.
  private let origins: [(trajectory: Int, state: Int)]
  /// By state of the scoring, where its commits begin among those of all.
  private let starts: [Int]

  /// - Parameters:
  ///   - decoder: of either model, with the options that made the outputs.
  ///   - outputs: of the prompts, as the reference gave them.
  ///   - first: the number of the first prompt among all.
  package init(
    _ decoder: BlockDiffusion, prompts: [[Int]], outputs: [BlockDiffusion.Output], first: Int = 0, mask: Int,
    seed: UInt64
  ) {
    self.decoder = decoder
    var trajectories: [Trajectory] = []
    var indices: [Int] = []
    var texts: [ScoredText] = []
    var states: [MaskedState] = []
    var origins: [(trajectory: Int, state: Int)] = []
    var starts: [Int] = []
    var count = 0
    for (prompt, (tokens, output)) in zip(prompts, outputs).enumerated() {
      guard let trajectory = decoder.trajectory(prompt: tokens, output: output) else { continue }
      for (index, state) in trajectory.states.enumerated() {
        states.append(
          MaskedState(text: texts.count, start: state.start, tokens: state.tokens, counted: state.offsets))
        origins.append((trajectories.count, index))
        starts.append(count)
        count += state.commits.count
      }
      texts.append(
        ScoredText(
          tokens: trajectory.canvas, scored: 0..<trajectory.canvas.count, blockLength: decoder.options.blockLength,
          fill: nil))
      trajectories.append(trajectory)
      indices.append(first + prompt)
    }
    leftOut = outputs.count - trajectories.count
    self.trajectories = trajectories
    self.prompts = indices
    self.origins = origins
    self.starts = starts
    let plan = MaskPlan(ratios: [1], blockLength: decoder.options.blockLength, mask: mask, seed: seed)
    scoring = Scoring(texts, plan: plan, states: states)
  }

  /// Prompts whose output is not one that the decoder could have given, and is not looked at.
  package let leftOut: Int

  /// For each position that the reference committed, its prompt, the forward and the position.
  package var places: [[Int32]] {
    origins.flatMap { origin in
      trajectories[origin.trajectory].states[origin.state].commits.map {
        [Int32(prompts[origin.trajectory]), Int32(origin.state), Int32($0.position)]
      }
    }
  }

  package struct Result {
    /// What the reference says at each of ``TrajectoryScorer/places``.
    package var rows: [ReferenceRow] = []
    package var along = AlongReference()
    /// By state, the number of its prompt and whether the candidate's decision is the reference's; nil where it is left out.
    package var decisions: [(prompt: Int, isSame: Bool)?] = []
    /// Whether both gave the same numbers wherever the reference committed; nil where they were compared nowhere.
    package var isSame: Bool?
    /// Committed positions where the reference's scores are not finite, and states where the candidate's are not; texts are
    /// prompts.
    package var nonFinite = (reference: NonFinite(), candidate: NonFinite())

    package init() {}

    /// What was found of the prompts that come behind.
    package static func += (all: inout Self, next: Self) {
      all.rows += next.rows
      all.along += next.along
      all.decisions += next.decisions
      if let isSame = next.isSame { all.isSame = (all.isSame ?? true) && isSame }
      all.nonFinite.reference += next.nonFinite.reference
      all.nonFinite.candidate += next.nonFinite.candidate
    }
  }

  /// - Parameters:
  ///   - reference: the model, or nil where `recorded` stands for it.
  ///   - candidate: nil where only the reference is asked.
  ///   - recorded: what the reference said at ``places``.
  ///   - memory: bytes for hidden states.
  package func run(
    reference: TransformerModel?, candidate: TransformerModel?, recorded: [ReferenceRow]? = nil, memory: Int,
    progress: (Double) -> Bool
  ) throws(DriftError) -> Result {
    precondition((reference == nil) == (recorded != nil))
    var result = Result()
    result.decisions = Array(repeating: nil, count: origins.count)
    let models = [reference, candidate].compactMap(\.self)
    let kernels = models[0].compute.kernels
    let mask = scoring.plan.mask
    var rows: [ReferenceRow?] = recorded ?? Array(repeating: nil, count: places.count)
    let lockstep = Lockstep(
      models.map { Lane($0) }, blockLength: scoring.plan.blockLength, seed: scoring.plan.seed, memory: memory)
    let observer = Lockstep.Observer { index, logits in
      let origin = origins[index]
      let state = trajectories[origin.trajectory].states[origin.state]
      let width = logits[0].count / max(state.offsets.count, 1)
      let places = Dictionary(uniqueKeysWithValues: zip(state.offsets, state.offsets.indices))
      let prompt = prompts[origin.trajectory]
      var divergences: [Double] = []
      var areFinite = true
      for (number, commit) in state.commits.enumerated() {
        guard let place = places[commit.position - state.start] else { continue }
        let truth = scoring.truth(index, place)
        let distributions = logits.map { lane in
          let start = lane.startIndex + place * width
          return LogSoftmax(lane[start..<start + width], kernels: kernels)
        }
        let row = starts[index] + number
        if reference != nil { rows[row] = ReferenceRow(distributions[0], truth: truth, mask: mask) }
        guard let said = rows[row] else { continue }
        result.nonFinite.reference.add(isFinite: said.isFinite, at: .init(text: prompt, position: commit.position))
        guard candidate != nil, let last = distributions.last else { continue }
        let comparison = Comparison(said, last, truth: truth, mask: mask)
        result.isSame = (result.isSame ?? true) && comparison.isSame
        areFinite = areFinite && comparison.isFinite
        divergences.append(comparison.kl)
      }
      guard candidate != nil, let last = logits.last else { return }
      // Scores among which no choice has a meaning decide nothing.
      let decision = try? decoder.decision(at: state, logits: Array(last))
      let first = NonFinite.Place(text: prompt, position: state.start + (state.offsets.first ?? 0))
      result.nonFinite.candidate.add(isFinite: decision != nil, at: first)
      guard let decision, areFinite else { return result.along.leaveOut() }
      result.decisions[index] = (
        prompt, Set(decision.commits.map(\.write)) == Set(state.commits.map(\.write))
      )
      result.along.add(
        prompt: prompt, maskRatio: state.maskRatio, commits: state.commits, decision: decision,
        kl: divergences)
    }
    try lockstep.run(
      texts: scoring.texts.map(\.tokens), states: scoring.states, observer: observer, progress: progress)
    result.rows = rows.compactMap(\.self)
    return result
  }
}
