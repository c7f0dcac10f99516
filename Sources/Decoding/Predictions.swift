import Glibc
import Kernels
import Models

/// What the model says of some positions of a block, and the choice among it (llada2.md §4.3).
struct Predictions {
  struct Candidate {
    let token: Int
    let probability: Float
    /// Best minus second-best probability, before anything was excluded.
    let margin: Float
  }

  /// Offsets in the block.
  let offsets: [Int]
  /// (offsets, vocabulary)
  private let logits: [Float]
  private let vocabulary: Int
  private let options: DecodingOptions
  /// ``SpecialTokens/noMask``, or never predicted, a deviation from the hub code that llada2.md §4 recommends: a mask in place of a token would stay in
  /// the output (2.0) or keep the loop going for ever (2.1). The best token's probability still counts the mask's share; draws do not know it.
  private let mask: Int
  /// By offset; nil where a score is not finite.
  private let scores: [Scores?]

  init(
    offsets: [Int], logits: [Float], vocabulary: Int, options: DecodingOptions, mask: Int, compute: Compute
  ) {
    precondition(logits.count == offsets.count * vocabulary)
    self.offsets = offsets
    self.logits = logits
    self.vocabulary = vocabulary
    self.options = options
    self.mask = mask
    scores = Parallel.map(count: offsets.count, threads: compute.threads) { index in
      let row = logits.span.extracting(index * vocabulary..<(index + 1) * vocabulary)
      return unsafe compute.kernels.firstNotFinite(row.bytes, source: .f32) == nil ? compute.kernels.scores(row) : nil
    }
  }

  /// Refuses scores among which no choice has a meaning.
  ///
  /// - Parameter prompt: named in the error.
  func requireFinite(blockStart: Int, prompt: Int = 0) throws(DecodingError) {
    guard let index = scores.firstIndex(where: { $0 == nil }) else { return }
    throw .notFinite(prompt: prompt, position: blockStart + offsets[index])
  }

  /// ln of a token's probability at `offsets[index]` over the whole vocabulary; nil where a score is not finite.
  func logProbability(_ index: Int, of token: Int) -> Double? {
    guard let scores = scores[index] else { return nil }
    return Double(logits[index * vocabulary + token]) - Double(scores.largest) - log(scores.sum)
  }

  /// The token for `offsets[index]`.
  ///
  /// - Parameter excluded: further tokens that must not be chosen.
  func candidate(_ index: Int, excluding excluded: Set<Int> = [], using random: inout SplitMix64) -> Candidate {
    options.temperature == 0
      ? best(index, excluding: excluded) : sample(index, excluding: excluded, using: &random)
  }

  private func row(_ index: Int) -> ArraySlice<Float> { logits[index * vocabulary..<(index + 1) * vocabulary] }

  /// The most probable token, of equal ones the lowest id; its probability over the whole vocabulary.
  func best(_ index: Int, excluding excluded: Set<Int>) -> Candidate {
    guard let scores = scores[index] else { preconditionFailure("scores that are not finite were let through") }
    let row = row(index)
    var chosen = scores.first
    if chosen == mask || excluded.contains(chosen) {
      chosen = -1
      for (token, logit) in row.enumerated() where token != mask && !excluded.contains(token) {
        if chosen < 0 || logit > row[row.startIndex + chosen] { chosen = token }
      }
    }
    let share = { (logit: Float) in Float(Double(expf(logit - scores.largest)) / scores.sum) }
    return Candidate(
      token: chosen, probability: share(row[row.startIndex + chosen]),
      margin: share(scores.largest) - share(scores.second))
  }

  /// A draw: temperature, then top-k, then top-p. The probability is the one under that distribution.
  private func sample(_ index: Int, excluding excluded: Set<Int>, using random: inout SplitMix64) -> Candidate {
    var scores = Array(row(index))
    for token in excluded.union([mask]) where scores.indices.contains(token) { scores[token] = -.infinity }
    // Less the largest before the division, which could overflow.
    let largest = scores.max() ?? 0
    let weights = scores.map { Double(expf(($0 - largest) / options.temperature)) }
    let tokens = filtered(weights)

    let total = tokens.reduce(0) { $0 + weights[$1] }
    var draw = random.uniform() * total
    var chosen = -1
    var (first, second) = (0.0, 0.0)
    for token in tokens where weights[token] > 0 {
      let weight = weights[token]
      if weight > first { (first, second) = (weight, first) } else if weight > second { second = weight }
      if draw >= 0 { chosen = token }
      draw -= weight
    }
    return Candidate(
      token: chosen, probability: Float(weights[chosen] / total), margin: Float((first - second) / total))
  }

  /// What top-k and top-p leave of the vocabulary. Only what top-p has to look at is sorted.
  private func filtered(_ weights: [Double]) -> [Int] {
    var tokens = Array(weights.indices)
    if let k = options.topK, k < weights.count {
      let smallest = Self.largest(k, of: weights)
      tokens.removeAll { weights[$0] < smallest }  // equals of the k-th stay
    }
    guard let p = options.topP, p < 1 else { return tokens }
    let total = tokens.reduce(0) { $0 + weights[$1] }
    // All that are lighter than this weigh together half of what is left out, at most.
    let lightest = (1 - Double(p)) * total / Double(2 * tokens.count)
    tokens.removeAll { weights[$0] < lightest }
    tokens.sort { (weights[$1], $0) < (weights[$0], $1) }
    var before = 0.0
    // The token that crosses p stays, so at least one does.
    let count = tokens.firstIndex { token in
      defer { before += weights[token] }
      return before > Double(p) * total
    }
    return Array(tokens.prefix(count ?? tokens.count))
  }

  /// The k-th largest value, by parting the values again and again.
  private static func largest(_ k: Int, of values: [Double]) -> Double {
    var (rest, k) = (values, k)
    while rest.count > 1 {
      let pivot = [rest[0], rest[rest.count / 2], rest[rest.count - 1]].sorted()[1]
      let above = rest.filter { $0 > pivot }
      let equal = rest.count { $0 == pivot }
      if k > above.count, k <= above.count + equal { return pivot }
      if k <= above.count {
        rest = above
      } else {
        k -= above.count + equal
        rest.removeAll { $0 >= pivot }
      }
    }
    return rest.first ?? 0
  }
}

/// A small generator with a seed (Steele, Lea, Flood 2014), the same on every machine.
package struct SplitMix64: Sendable {
  private var state: UInt64

  package init(seed: UInt64) { state = seed }

  /// In 0 ..< 1.
  package mutating func uniform() -> Double {
    defer { state &+= 0x9E37_79B9_7F4A_7C15 }
    return Double(counterMix(state) >> 11) * 0x1p-53
  }
}
