import Glibc

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
  /// Never predicted, a deviation from the hub code that llada2.md §4 recommends: a mask in place of a token would stay in
  /// the output (2.0) or keep the loop going for ever (2.1). The best token's probability still counts the mask's share; draws do not know it.
  private let mask: Int

  init(offsets: [Int], logits: [Float], vocabulary: Int, options: DecodingOptions, mask: Int) {
    precondition(logits.count == offsets.count * vocabulary)
    self.offsets = offsets
    self.logits = logits
    self.vocabulary = vocabulary
    self.options = options
    self.mask = mask
  }

  /// Refuses scores among which no choice has a meaning.
  func requireFinite(blockStart: Int) throws(DecodingError) {
    for (index, offset) in offsets.enumerated() {
      // Of the bits, so that many are looked at together: those of an infinity are the least that are not finite.
      let largest = row(index).reduce(into: UInt32(0)) { $0 = max($0, $1.magnitude.bitPattern) }
      guard largest < Float.infinity.bitPattern else { throw .notFinite(position: blockStart + offset) }
    }
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
    let row = row(index)
    var chosen = -1
    var largest = -Float.infinity
    var second = -Float.infinity
    for (token, logit) in row.enumerated() {
      if logit > largest { (largest, second) = (logit, largest) } else if logit > second { second = logit }
      let isBetter = chosen < 0 || logit > row[row.startIndex + chosen]
      if isBetter, token != mask, !excluded.contains(token) { chosen = token }
    }
    var total = 0.0
    for logit in row { total += Double(expf(logit - largest)) }
    let share = { (logit: Float) in Float(Double(expf(logit - largest)) / total) }
    return Candidate(
      token: chosen, probability: share(row[row.startIndex + chosen]), margin: share(largest) - share(second))
  }

  /// A draw: temperature, then top-k, then top-p. The probability is the one under that distribution.
  private func sample(_ index: Int, excluding excluded: Set<Int>, using random: inout SplitMix64) -> Candidate {
    let row = row(index)
    var order = row.indices.map { $0 - row.startIndex }.filter { $0 != mask && !excluded.contains($0) }
    order.sort { (row[row.startIndex + $1], $0) < (row[row.startIndex + $0], $1) }
    // Less the largest before the division, which could overflow.
    let largest = row[row.startIndex + order[0]]
    let logit = { (token: Int) in (row[row.startIndex + token] - largest) / options.temperature }
    if let k = options.topK, k < order.count {
      let smallest = logit(order[k - 1])
      order = Array(order.prefix { logit($0) >= smallest })  // equals of the k-th stay
    }
    var weights = order.map { Double(expf(logit($0))) }
    if let p = options.topP {
      let total = weights.reduce(0, +)
      var before = 0.0
      // The token that crosses p stays, so at least one does.
      let kept = weights.prefix { weight in
        defer { before += weight }
        return before <= Double(p) * total
      }
      weights = Array(kept)
    }
    let total = weights.reduce(0, +)
    var draw = random.uniform() * total
    var index = 0
    while index < weights.count - 1, draw >= weights[index] {
      draw -= weights[index]
      index += 1
    }
    let margin = weights.count > 1 ? (weights[0] - weights[1]) / total : 1
    return Candidate(token: order[index], probability: Float(weights[index] / total), margin: Float(margin))
  }
}

/// A small generator with a seed (Steele, Lea, Flood 2014), the same on every machine.
package struct SplitMix64: Sendable {
  private var state: UInt64

  package init(seed: UInt64) { state = seed }

  /// In 0 ..< 1.
  package mutating func uniform() -> Double {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return Double((z ^ (z >> 31)) >> 11) * 0x1p-53
  }
}
