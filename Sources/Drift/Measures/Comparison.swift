import Glibc
package import Kernels

/// What the reference says of one position: enough to compare any candidate with, and the same whether it was just
/// computed or comes from a record.
package struct ReferenceRow: Sendable, Equatable {
  /// Ids of the most probable tokens, descending; empty where all tokens of the vocabulary count, in the order of ids.
  package var tokens: [Int32]
  /// Their logits as the model gave them; of a record of version 1, ln p rounded to binary32.
  package var logits: [Float]
  /// ln Σ exp over all logits of the vocabulary; nil of a record of version 1.
  package var logNormalizer: Double?
  /// The most probable token other than the mask.
  package var best: Int
  package var bestLogProbability: Float
  /// ln p of the text's own token.
  package var truthLogProbability: Float

  /// False where the model's scores hold an infinity or NaN.
  package var isFinite: Bool { bestLogProbability.isFinite && truthLogProbability.isFinite }

  /// Vocabularies up to this size count whole.
  package static let wholeVocabulary = 4096
  /// Tokens that count of larger ones.
  package static let topCount = 256

  /// How many tokens count.
  package static func width(vocabulary: Int) -> Int { vocabulary <= wholeVocabulary ? vocabulary : topCount }

  package init(
    tokens: [Int32], logits: [Float], logNormalizer: Double?, best: Int, bestLogProbability: Float,
    truthLogProbability: Float
  ) {
    self.tokens = tokens
    self.logits = logits
    self.logNormalizer = logNormalizer
    self.best = best
    self.bestLogProbability = bestLogProbability
    self.truthLogProbability = truthLogProbability
  }

  /// - Parameters:
  ///   - truth: the text's own token.
  ///   - mask: never the best.
  ///   - whole: the size up to which a vocabulary counts whole.
  package init(_ row: LogSoftmax, truth: Int, mask: Int, whole: Int = wholeVocabulary) {
    if row.count <= whole {
      tokens = []
      logits = Array(row.logits)
    } else {
      let top = row.largest(Self.topCount)
      tokens = top.map(Int32.init)
      logits = top.map { row.logits[row.logits.startIndex + $0] }
    }
    logNormalizer = row.normalizer
    best = row.best(excluding: mask)
    bestLogProbability = row.logProbability(best)
    truthLogProbability = row.logProbability(truth)
  }
}

extension ReferenceRow {
  /// ln p of a token that counts, by its place among them.
  func logProbability(_ place: Int) -> Double { Double(logits[place]) - (logNormalizer ?? 0) }
}

/// ln of the softmax of one row of logits.
package struct LogSoftmax: Sendable {
  fileprivate let logits: ArraySlice<Float>
  fileprivate private(set) var normalizer: Double
  /// The kernels' normalizer, whose parts are sums in binary32.
  private let kernelNormalizer: Double
  /// The most probable token; of equal ones the lowest id.
  private let first: Int

  /// - Parameter logits: (vocabulary)
  package init(_ logits: ArraySlice<Float>, kernels: KernelSet) {
    // A NaN or an infinity makes every probability a NaN.
    let isFinite = unsafe kernels.firstNotFinite(logits.span.bytes, source: .f32) == nil
    let scores = kernels.scores(logits.span)
    self.logits = logits
    normalizer = isFinite ? Self.normalizer(logits, largest: Double(scores.largest)) : .nan
    kernelNormalizer = isFinite ? Double(scores.largest) + Glibc.log(scores.sum) : .nan
    first = scores.first
  }

  /// ln Σ exp in doubles: a divergence is the small difference of two of them, and what the kernels sum up in binary32 would
  /// cover those of close candidates.
  private static func normalizer(_ logits: ArraySlice<Float>, largest: Double) -> Double {
    var sum = 0.0
    for logit in logits {
      let distance = Double(logit) - largest
      // All that lies below comes to less than the last bit, however large the vocabulary.
      if distance > -60 { sum += Glibc.exp(distance) }
    }
    return largest + Glibc.log(sum)
  }

  /// Beside a record of version 1 as that had it, so that reports from one stay what they were.
  func asRounded(like reference: ReferenceRow) -> LogSoftmax {
    guard reference.logNormalizer == nil else { return self }
    var other = self
    other.normalizer = kernelNormalizer
    return other
  }

  package var count: Int { logits.count }

  /// In nats, rounded to binary32.
  package func logProbability(_ token: Int) -> Float { Float(exactLogProbability(token)) }

  /// In nats, from the binary32 logit without another rounding to binary32.
  func exactLogProbability(_ token: Int) -> Double { Double(logits[logits.startIndex + token]) - normalizer }

  /// The most probable token other than `mask`; of equal ones the lowest id.
  package func best(excluding mask: Int) -> Int {
    guard first == mask else { return first }
    var best = mask == 0 ? 1 : 0
    for token in 0..<count where token != mask && logits[logits.startIndex + token] > logits[logits.startIndex + best] {
      best = token
    }
    return best
  }

  /// The `count` most probable tokens, descending; of equal ones the lower id first.
  package func largest(_ count: Int) -> [Int] {
    // A sorted list is short and seldom touched: nearly all tokens are below its last.
    var tokens: [Int] = []
    var values: [Float] = []
    for (token, value) in logits.enumerated() {
      if tokens.count == count, value <= values[count - 1] { continue }
      var low = 0
      var high = values.count
      while low < high {
        let middle = (low + high) / 2
        if values[middle] >= value { low = middle + 1 } else { high = middle }
      }
      tokens.insert(token, at: low)
      values.insert(value, at: low)
      if tokens.count > count {
        tokens.removeLast()
        values.removeLast()
      }
    }
    return tokens
  }

  /// KL(self‖other) over all tokens, in nats.
  package func divergence(to other: LogSoftmax) -> Double {
    var sum = 0.0
    for token in 0..<count {
      let p = Double(logits[logits.startIndex + token]) - normalizer
      let q = Double(other.logits[other.logits.startIndex + token]) - other.normalizer
      if p > -80 { sum += Glibc.exp(p) * (p - q) }
    }
    return sum
  }
}

/// Candidate against reference at one position.
package struct Comparison: Sendable, Equatable {
  /// KL(reference‖candidate) in nats, over the reference's tokens and the rest as one outcome.
  package let kl: Double
  package let sameTop: Bool
  /// Probability of the reference's best token under the reference and under the candidate.
  package let reference: Float
  package let candidate: Float
  /// Probability of the candidate's own best token.
  package let candidateBest: Float
  /// −ln probability of the text's token.
  package let referenceLoss: Float
  package let candidateLoss: Float

  /// Whether both gave the same numbers for all tokens that count, bit for bit.
  package let isSame: Bool
  /// False where the reference's scores hold an infinity or NaN.
  package let referenceIsFinite: Bool
  /// False where the candidate's do, or are so far away that the divergence is no finite number.
  package let candidateIsFinite: Bool

  package var isFinite: Bool { referenceIsFinite && candidateIsFinite }

  /// As it was made before.
  ///
  /// - Parameters:
  ///   - probabilities: `reference`, `candidate`, `candidateBest`, `referenceLoss`, `candidateLoss`.
  ///   - flags: `sameTop`, `isSame`, `referenceIsFinite`, `candidateIsFinite`.
  init(kl: Double, probabilities: [Float], flags: [Bool]) {
    self.kl = kl
    (reference, candidate, candidateBest) = (probabilities[0], probabilities[1], probabilities[2])
    (referenceLoss, candidateLoss) = (probabilities[3], probabilities[4])
    (sameTop, isSame, referenceIsFinite, candidateIsFinite) = (flags[0], flags[1], flags[2], flags[3])
  }

  package init(_ reference: ReferenceRow, _ candidate: LogSoftmax, truth: Int, mask: Int) {
    // What a record of version 1 rounded is held against what is rounded in the same way.
    let isRounded = reference.logNormalizer == nil
    let candidate = candidate.asRounded(like: reference)
    var sum = 0.0
    var coveredReference = 0.0
    var coveredCandidate = 0.0
    var isSame = reference.truthLogProbability == candidate.logProbability(truth)
    for index in reference.logits.indices {
      let token = reference.tokens.isEmpty ? index : Int(reference.tokens[index])
      let p = reference.logProbability(index)
      let q = isRounded ? Double(candidate.logProbability(token)) : candidate.exactLogProbability(token)
      if p != q { isSame = false }
      let probability = Glibc.exp(p)
      // What the reference holds impossible adds nothing, wherever the candidate is; a NaN is not equal to 0.
      if probability != 0 { sum += probability * (isRounded ? Double(Float(p) - Float(q)) : p - q) }
      coveredReference += probability
      coveredCandidate += Glibc.exp(q)
    }
    if !reference.tokens.isEmpty {
      // Differences of sums near 1 are known to some bits less than the sums.
      let least = isRounded ? 1e-7 : 1e-13
      let rest = (max(1 - coveredReference, least), max(1 - coveredCandidate, least))
      sum += rest.0 * Glibc.log(rest.0 / rest.1)
    }
    kl = sum < 0 ? 0 : sum  // NaN stays
    let best = candidate.best(excluding: mask)
    sameTop = best == reference.best
    self.reference = expf(reference.bestLogProbability)
    self.candidate = expf(candidate.logProbability(reference.best))
    candidateBest = expf(candidate.logProbability(best))
    referenceLoss = -reference.truthLogProbability
    candidateLoss = -candidate.logProbability(truth)
    self.isSame = isSame
    referenceIsFinite = reference.isFinite
    candidateIsFinite =
      candidateBest.isFinite && candidateLoss.isFinite && (kl.isFinite || !reference.isFinite)
  }
}
