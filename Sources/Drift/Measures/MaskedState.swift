import Decoding

/// A text that models are scored on: some of its positions are masked and predicted from the rest.
package struct ScoredText: Sendable, Equatable {
  package let tokens: [Int]
  /// Positions whose predictions count.
  package let scored: Range<Int>
  /// Positions that may be masked: the scored ones, and those behind them that only fill the last block, as decoding
  /// would find them masked too.
  package let maskable: Range<Int>

  /// - Parameter fill: token that fills the last block; nil leaves it short.
  package init(tokens: [Int], scored: Range<Int>, blockLength: Int, fill: Int?) {
    precondition(scored.lowerBound >= 0 && scored.upperBound <= tokens.count)
    self.scored = scored
    let missing = (blockLength - tokens.count % blockLength) % blockLength
    if let fill, scored.upperBound == tokens.count {
      self.tokens = tokens + Array(repeating: fill, count: missing)
      maskable = scored.lowerBound..<self.tokens.count
    } else {
      self.tokens = tokens
      maskable = scored
    }
  }

  /// As it was made before.
  ///
  /// - Parameter maskable: of `tokens`; what is scored lies at its beginning.
  package init(tokens: [Int], scored: Range<Int>, maskable: Range<Int>) {
    precondition(scored.lowerBound == maskable.lowerBound && scored.upperBound <= maskable.upperBound)
    precondition(scored.lowerBound >= 0 && maskable.upperBound <= tokens.count)
    self.tokens = tokens
    self.scored = scored
    self.maskable = maskable
  }
}

/// One block of a text as a model sees it in decoding: its own masks, the finished blocks before it, nothing behind it.
package struct MaskedState: Sendable, Equatable {
  /// Index of the text.
  package let text: Int
  /// Position of the block's first token.
  package let start: Int
  /// The block with its masks.
  package let tokens: [Int]
  /// Offsets in the block whose predictions count, ascending.
  package let counted: [Int]
  /// Index of the mask ratio it was made for.
  package let ratio: Int
  /// w · n / l of the block-diffusion bound (`Formats/drift-report.md` §6).
  package let weight: Double

  package init(text: Int, start: Int, tokens: [Int], counted: [Int], ratio: Int = 0, weight: Double = 0) {
    self.text = text
    self.start = start
    self.tokens = tokens
    self.counted = counted
    self.ratio = ratio
    self.weight = weight
  }
}

/// Which positions are masked: the same for every model, drawn from a seed.
package struct MaskPlan: Sendable {
  package let ratios: [Double]
  package let blockLength: Int
  package let mask: Int
  package let seed: UInt64

  package init(ratios: [Double], blockLength: Int, mask: Int, seed: UInt64) {
    precondition(ratios.allSatisfy { $0 > 0 && $0 <= 1 })
    self.ratios = ratios
    self.blockLength = blockLength
    self.mask = mask
    self.seed = seed
  }

  /// The part of (0, 1] that is nearer to each ratio than to another: the weights of a quadrature over mask ratios.
  package var shares: [Double] {
    let order = ratios.indices.sorted { ratios[$0] < ratios[$1] }
    var shares = [Double](repeating: 0, count: ratios.count)
    for (rank, index) in order.enumerated() {
      let low = rank == 0 ? 0 : (ratios[order[rank - 1]] + ratios[index]) / 2
      let high = rank == order.count - 1 ? 1 : (ratios[order[rank + 1]] + ratios[index]) / 2
      shares[index] = high - low
    }
    return shares
  }

  /// For each text, block and ratio one state. In a block the maskable positions are put into a random order, and the
  /// first l = max(1, round(ratio · n)) are masked, so that a higher ratio only adds masks. States without a mask that
  /// counts are left out. What is drawn for a text depends on its number only, not on the others.
  ///
  /// - Parameter range: numbers of the texts that are asked for; nil for all.
  package func states(of texts: [ScoredText], in range: Range<Int>? = nil) -> [MaskedState] {
    let shares = shares
    var states: [MaskedState] = []
    for (index, text) in texts.enumerated() where range?.contains(index) ?? true {
      let first = text.maskable.lowerBound / blockLength
      let end = (text.maskable.upperBound + blockLength - 1) / blockLength
      for block in first..<max(first, end) {
        let range = block * blockLength..<min((block + 1) * blockLength, text.tokens.count)
        let maskable = Array(range.clamped(to: text.maskable))
        var random = SplitMix64(seed: seed &+ UInt64(index) &* 0x1_0000_0001 &+ UInt64(block) &* 0x9E37_79B9)
        let order = maskable.shuffled(using: &random)
        for (ratio, share) in ratios.enumerated() {
          let count = max(1, Int((share * Double(order.count)).rounded()))
          let masked = Set(order.prefix(count))
          var tokens = Array(text.tokens[range])
          for position in masked { tokens[position - range.lowerBound] = mask }
          let counted = masked.filter(text.scored.contains).map { $0 - range.lowerBound }.sorted()
          guard !counted.isEmpty else { continue }
          states.append(
            MaskedState(
              text: index, start: range.lowerBound, tokens: tokens, counted: counted, ratio: ratio,
              weight: shares[ratio] * Double(order.count) / Double(count)))
        }
      }
    }
    return states
  }
}

extension Array {
  /// In a random order (Fisher, Yates).
  func shuffled(using random: inout SplitMix64) -> [Element] {
    var result = self
    for index in stride(from: count - 1, to: 0, by: -1) {
      result.swapAt(index, Int(random.uniform() * Double(index + 1)))
    }
    return result
  }
}
