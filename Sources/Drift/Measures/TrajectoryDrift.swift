import Decoding

/// How far the free decoding of two models goes apart (`Formats/drift-report.md` §12).
package struct TrajectoryDrift: Sendable {
  private let pairs: [TrajectoryPair]
  private let divergences: [TrajectoryPair.Divergence?]

  package init(_ pairs: [TrajectoryPair]) {
    self.pairs = pairs
    divergences = pairs.map(\.divergence)
  }

  /// `trajectories`; nil without prompts.
  ///
  /// - Parameters:
  ///   - seed: of the intervals.
  ///   - alongReference: what ``AlongReference`` gave.
  ///   - text: of tokens, one or many.
  package func section(
    seed: UInt64, alongReference: DriftReport.AlongReference?, text: ([Int]) -> String
  ) -> DriftReport.Trajectories? {
    guard !pairs.isEmpty else { return nil }
    let mean = { (value: (Int) -> Double?) -> Estimate? in
      var sample = ClusterSums()
      for index in pairs.indices { if let value = value(index) { sample.add(value, cluster: index) } }
      return sample.estimate(seed: seed)
    }
    let sides = [\TrajectoryPair.reference, \.candidate]
    let forwards = sides.map { side in pairs.reduce(0) { $0 + $1[keyPath: side].forwards } }
    let rates = zip(sides, forwards).map { side, forwards in
      let tokens = pairs.reduce(0) { $0 + $1[keyPath: side].tokens.count }
      return forwards > 0 ? Double(tokens) / Double(forwards) : nil
    }
    return DriftReport.Trajectories(
      prompts: pairs.count, identical: mean { pairs[$0].isIdentical ? 1 : 0 },
      samePath: mean { divergences[$0] == nil ? 1 : 0 }, firstDivergence: firstDivergence,
      editDistance: mean { pairs[$0].editDistance }, orderAgreement: mean { pairs[$0].orderAgreement },
      forwards: .init(forwards[0], forwards[1]) { Double($0) }, tokensPerForward: .init(rates[0], rates[1]) { $0 },
      stopped: .init(
        reference: pairs.map(\.reference.stopped).share, candidate: pairs.map(\.candidate.stopped).share,
        changed: pairs.map { $0.reference.stopped != $0.candidate.stopped }.share),
      alongReference: alongReference, examples: examples(text))
  }

  private var firstDivergence: DriftReport.FirstDivergence {
    let found = divergences.compactMap(\.self)
    return .init(
      count: found.count, block: found.map { Double($0.block) }.mean, step: found.map { Double($0.step) }.mean,
      maskRatio: found.map(\.maskRatio).mean, beyondFirstBlock: found.map { $0.block > 0 }.share)
  }

  /// At most four, those that diverge first.
  private func examples(_ text: ([Int]) -> String) -> [DriftReport.Example] {
    let order = pairs.indices.filter { divergences[$0] != nil } + pairs.indices.filter { divergences[$0] == nil }
    return order.prefix(4).map { index in
      let pair = pairs[index]
      return DriftReport.Example(
        prompt: text(pair.prompt), promptTokens: pair.prompt,
        reference: pair.side(pair.reference, beside: pair.candidate, text),
        candidate: pair.side(pair.candidate, beside: pair.reference, text),
        divergence: divergences[index].map {
          .init(block: $0.block, step: $0.step, position: $0.position, maskRatio: $0.maskRatio)
        })
    }
  }
}

extension TrajectoryPair {
  /// An output token by token, with the forward that wrote each last.
  fileprivate func side(
    _ output: BlockDiffusion.Output, beside other: BlockDiffusion.Output, _ text: ([Int]) -> String
  ) -> DriftReport.Example.Side {
    var forwards: [Int: Int] = [:]
    for (forward, step) in output.steps.enumerated() {
      for commit in step.commits { forwards[commit.position] = forward }
    }
    let tokens = output.tokens.indices.map { index in
      let position = prompt.count + index
      return DriftReport.Example.Token(
        text: text([output.tokens[index]]), forward: forwards[position],
        block: position / blockLength - prompt.count / blockLength,
        same: index < other.tokens.count && other.tokens[index] == output.tokens[index])
    }
    return .init(text: text(output.tokens), tokens: tokens, forwards: output.forwards)
  }
}
