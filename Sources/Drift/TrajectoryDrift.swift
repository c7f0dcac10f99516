import Decoding
package import JSON

/// How far the free decoding of two models goes apart (`Formats/drift-report.md` §12).
package struct TrajectoryDrift: Sendable {
  private let pairs: [TrajectoryPair]
  private let divergences: [TrajectoryPair.Divergence?]

  package init(_ pairs: [TrajectoryPair]) {
    self.pairs = pairs
    divergences = pairs.map(\.divergence)
  }

  /// `trajectories`; null without prompts.
  ///
  /// - Parameters:
  ///   - seed: of the intervals.
  ///   - alongReference: what ``AlongReference`` gave, or null.
  ///   - text: of tokens, one or many.
  package func json(seed: UInt64, alongReference: JSONValue, text: ([Int]) -> String) -> JSONValue {
    guard !pairs.isEmpty else { return .null }
    let mean = { (value: (Int) -> Double?) -> JSONValue in
      var sample = ClusterSums()
      for index in pairs.indices { if let value = value(index) { sample.add(value, cluster: index) } }
      return sample.meanJSON(seed: seed)
    }
    let forwards = [\TrajectoryPair.reference, \.candidate].map { side in
      pairs.reduce(0) { $0 + $1[keyPath: side].forwards }
    }
    let rates = [\TrajectoryPair.reference, \.candidate].enumerated().map { index, side in
      let tokens = pairs.reduce(0) { $0 + $1[keyPath: side].tokens.count }
      return forwards[index] > 0 ? Double(tokens) / Double(forwards[index]) : nil
    }
    return [
      "prompts": JSONValue(pairs.count),
      "identical": mean { pairs[$0].isIdentical ? 1 : 0 },
      "same_path": mean { divergences[$0] == nil ? 1 : 0 },
      "first_divergence": divergenceJSON,
      "edit_distance": mean { pairs[$0].editDistance },
      "order_agreement": mean { pairs[$0].orderAgreement },
      "forwards": [
        "reference": JSONValue(forwards[0]), "candidate": JSONValue(forwards[1]),
        "change": .change(Double(forwards[0]), Double(forwards[1])),
      ],
      "tokens_per_forward": [
        "reference": JSONValue(rates[0]), "candidate": JSONValue(rates[1]), "change": .change(rates[0], rates[1]),
      ],
      "stopped": [
        "reference": JSONValue(pairs.map(\.reference.stopped).share),
        "candidate": JSONValue(pairs.map(\.candidate.stopped).share),
        "changed": JSONValue(pairs.map { $0.reference.stopped != $0.candidate.stopped }.share),
      ],
      "along_reference": alongReference,
      "examples": .array(examples(text)),
    ]
  }

  private var divergenceJSON: JSONValue {
    let found = divergences.compactMap(\.self)
    return [
      "count": JSONValue(found.count),
      "block": JSONValue(found.map { Double($0.block) }.mean),
      "step": JSONValue(found.map { Double($0.step) }.mean),
      "mask_ratio": JSONValue(found.map(\.maskRatio).mean),
      "beyond_first_block": JSONValue(found.map { $0.block > 0 }.share),
    ]
  }

  /// At most four, those that diverge first.
  private func examples(_ text: ([Int]) -> String) -> [JSONValue] {
    let order = pairs.indices.filter { divergences[$0] != nil } + pairs.indices.filter { divergences[$0] == nil }
    return order.prefix(4).map { index in
      let pair = pairs[index]
      return [
        "prompt": JSONValue(text(pair.prompt)),
        "prompt_tokens": .array(pair.prompt.map { JSONValue($0) }),
        "reference": pair.json(of: pair.reference, beside: pair.candidate, text),
        "candidate": pair.json(of: pair.candidate, beside: pair.reference, text),
        "divergence": divergences[index].map { $0.json } ?? .null,
      ]
    }
  }
}

extension TrajectoryPair.Divergence {
  fileprivate var json: JSONValue {
    [
      "block": JSONValue(block), "step": JSONValue(step), "position": JSONValue(position),
      "mask_ratio": JSONValue(maskRatio),
    ]
  }
}

extension TrajectoryPair {
  /// An output token by token, with the forward that wrote each last.
  fileprivate func json(
    of output: BlockDiffusion.Output, beside other: BlockDiffusion.Output, _ text: ([Int]) -> String
  ) -> JSONValue {
    var forwards: [Int: Int] = [:]
    for (forward, step) in output.steps.enumerated() {
      for commit in step.commits { forwards[commit.position] = forward }
    }
    let tokens = output.tokens.indices.map { index -> JSONValue in
      let position = prompt.count + index
      let isSame = index < other.tokens.count && other.tokens[index] == output.tokens[index]
      return [
        "text": JSONValue(text([output.tokens[index]])), "forward": JSONValue(forwards[position]),
        "block": JSONValue(position / blockLength - prompt.count / blockLength), "same": JSONValue(isSame),
      ]
    }
    return [
      "text": JSONValue(text(output.tokens)), "tokens": .array(tokens), "forwards": JSONValue(output.forwards),
    ]
  }
}
