package import Decoding
package import JSON
package import Models

/// Scores the candidate at every state that the reference went through (`Formats/drift-report.md` §12.1): all states of all
/// prompts in one pass over the layers.
package struct AlongRun {
  private let decoder: BlockDiffusion
  private let scoring: Scoring
  private let trajectories: [Trajectory]
  /// By state of the scoring, its trajectory and the state there.
  private let origins: [(trajectory: Int, state: Int)]

  /// - Parameters:
  ///   - decoder: the reference's, whose options made the outputs.
  ///   - outputs: of the prompts, as the reference gave them.
  package init(_ decoder: BlockDiffusion, prompts: [[Int]], outputs: [BlockDiffusion.Output], mask: Int, seed: UInt64) {
    self.decoder = decoder
    var trajectories: [Trajectory] = []
    var texts: [ScoredText] = []
    var states: [MaskedState] = []
    var origins: [(trajectory: Int, state: Int)] = []
    for (prompt, output) in zip(prompts, outputs) {
      guard let trajectory = decoder.trajectory(prompt: prompt, output: output) else { continue }
      for (index, state) in trajectory.states.enumerated() {
        states.append(
          MaskedState(text: texts.count, start: state.start, tokens: state.tokens, counted: state.offsets))
        origins.append((trajectories.count, index))
      }
      texts.append(
        ScoredText(
          tokens: trajectory.canvas, scored: 0..<trajectory.canvas.count, blockLength: decoder.options.blockLength,
          fill: nil))
      trajectories.append(trajectory)
    }
    self.trajectories = trajectories
    self.origins = origins
    let plan = MaskPlan(ratios: [1], blockLength: decoder.options.blockLength, mask: mask, seed: seed)
    scoring = Scoring(texts, plan: plan, states: states)
  }

  /// - Parameter memory: bytes for hidden states.
  /// - Returns: `along_reference`.
  package func json(
    reference: LLaDA2Model, candidate: LLaDA2Model, memory: Int, progress: (Double) -> Bool
  ) throws(DriftError) -> JSONValue {
    var along = AlongReference()
    let mask = scoring.plan.mask
    let kernels = reference.compute.kernels
    let lockstep = Lockstep(
      [Lane(reference), Lane(candidate)], blockLength: scoring.plan.blockLength, seed: scoring.plan.seed,
      memory: memory)
    let observer = Lockstep.Observer { index, logits in
      let origin = origins[index]
      let state = trajectories[origin.trajectory].states[origin.state]
      let width = logits[0].count / max(state.offsets.count, 1)
      let committed = Set(state.commits.map { $0.position - state.start })
      var divergences: [Double] = []
      for (place, offset) in state.offsets.enumerated() where committed.contains(offset) {
        let rows = logits.map { lane in
          let start = lane.startIndex + place * width
          return LogSoftmax(lane[start..<start + width], kernels: kernels)
        }
        let truth = scoring.truth(index, place)
        let row = ReferenceRow(rows[0], truth: truth, mask: mask)
        divergences.append(Comparison(row, rows[1], truth: truth, mask: mask).kl)
      }
      along.add(
        prompt: origin.trajectory, maskRatio: state.maskRatio, commits: state.commits,
        decision: decoder.decision(at: state, logits: Array(logits[1])), kl: divergences)
    }
    try lockstep.run(
      texts: scoring.texts.map(\.tokens), states: scoring.states, observer: observer, progress: progress)
    return along.json(seed: scoring.plan.seed)
  }
}
