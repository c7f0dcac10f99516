import Glibc

/// Which experts each token goes to and with what weight (llada2.md §3.3; LLaDA2.0 report, section 2; sdar.md §3).
///
/// Scores are fp32 whatever the model's type. The bias decides the choice only, never the weight.
package struct Router: Sendable {
  /// The choice of one token: experts in the order of descending biased score, and their weights.
  package struct Route: Sendable, Equatable {
    package var experts: [Int] = []
    package var weights: [Float] = []

    package init(experts: [Int] = [], weights: [Float] = []) {
      self.experts = experts
      self.weights = weights
    }
  }

  private let expertCount: Int
  private let expertsPerToken: Int
  private let groupCount: Int
  private let topGroupCount: Int
  private let scale: Float
  private let scores: Conventions.Scores
  private let blockRouting: ModelConfiguration.BlockRouting?
  private let bias: [Float]

  /// - Parameter bias: (experts); zeros where there is none.
  package init(_ configuration: ModelConfiguration, bias: [Float]) {
    precondition(bias.count == configuration.expertCount)
    expertCount = configuration.expertCount
    expertsPerToken = configuration.expertsPerToken
    groupCount = configuration.groupCount
    topGroupCount = configuration.topGroupCount
    scale = Float(configuration.routedScalingFactor)
    scores = configuration.conventions.scores
    blockRouting = configuration.blockRouting
    self.bias = bias
  }

  /// Rows of a sequence cut apart where none of them decides about one on the other side.
  ///
  /// - Parameter start: position of the first row.
  package func pieces(of rows: Range<Int>, start: Int) -> [(rows: Range<Int>, start: Int)] {
    let length = blockRouting?.blockSize ?? 8
    var pieces: [(rows: Range<Int>, start: Int)] = []
    var first = rows.lowerBound
    while first < rows.upperBound {
      let position = start + first - rows.lowerBound
      let end = min(rows.upperBound, first + length - position % length)
      pieces.append((first..<end, position))
      first = end
    }
    return pieces
  }

  /// Routes the rows of one sequence.
  ///
  /// - Parameters:
  ///   - logits: (rows, experts), x · Wᵀ of the gate.
  ///   - start: position of the first row in its sequence; 2.2's windows are aligned to it.
  package func routes(logits: Span<Float>, start: Int) -> [Route] {
    let rows = logits.count / expertCount
    let scores = scores(of: logits)
    guard let blockRouting else {
      return (0..<rows).map { row in
        let scores = scores[row * expertCount..<(row + 1) * expertCount]
        return route(scores: scores, allowed: bestGroups(of: scores))
      }
    }
    // 2.2: a window of tokens may use only the experts that its best scores name; groups do not count.
    var routes: [Route] = []
    while routes.count < rows {
      let position = start + routes.count
      let window = min(rows, routes.count + blockRouting.blockSize - position % blockRouting.blockSize)
      let range = routes.count..<window
      let best = (0..<expertCount).map { expert in
        range.map { scores[$0 * expertCount + expert] + bias[expert] }.max() ?? 0
      }
      let allowed = Set(Self.largest(blockRouting.expertCapacity, of: best))
      for row in range {
        routes.append(
          route(scores: scores[row * expertCount..<(row + 1) * expertCount], allowed: { allowed.contains($0) }))
      }
    }
    return routes
  }

  private func scores(of logits: Span<Float>) -> [Float] {
    var scores = [Float](repeating: 0, count: logits.count)
    switch self.scores {
    case .sigmoid:
      for index in scores.indices { scores[index] = 1 / (1 + expf(-logits[index])) }
    case .softmax:
      for start in stride(from: 0, to: logits.count, by: expertCount) {
        let row = start..<start + expertCount
        var largest = logits[start]
        for index in row { largest = max(largest, logits[index]) }
        for index in row { scores[index] = expf(logits[index] - largest) }
        let sum = scores[row].reduce(0, +)
        for index in row { scores[index] /= sum }
      }
    }
    return scores
  }

  /// Groups are consecutive experts; a group counts by the sum of its two best biased scores.
  private func bestGroups(of scores: ArraySlice<Float>) -> (Int) -> Bool {
    let size = expertCount / groupCount
    let groupScores = (0..<groupCount).map { group in
      var first = -Float.infinity
      var second = -Float.infinity
      for expert in group * size..<(group + 1) * size {
        let biased = scores[scores.startIndex + expert] + bias[expert]
        if biased > first { (first, second) = (biased, first) } else if biased > second { second = biased }
      }
      return size > 1 ? first + second : first
    }
    let best = Self.largest(topGroupCount, of: groupScores)
    return { best.contains($0 / size) }
  }

  /// Experts that are not allowed count as −∞, not 0: a biased score can be negative.
  private func route(scores: ArraySlice<Float>, allowed: (Int) -> Bool) -> Route {
    let biased = (0..<expertCount).map { allowed($0) ? scores[scores.startIndex + $0] + bias[$0] : -.infinity }
    var route = Route(experts: Self.largest(expertsPerToken, of: biased))
    route.weights = route.experts.map { scores[scores.startIndex + $0] }
    // Of a single expert LLaDA2 takes the score itself as the weight (llada2.md §1.1).
    let sum = expertsPerToken > 1 || self.scores == .softmax ? route.weights.reduce(0, +) + 1e-20 : 1
    route.weights = route.weights.map { $0 / sum * scale }
    return route
  }

  /// Indices of the largest values, descending; of equal ones the lower index first.
  static func largest(_ count: Int, of values: [Float]) -> [Int] {
    var best: [Int] = []
    best.reserveCapacity(count + 1)
    for (index, value) in values.enumerated() {
      if best.count == count, value <= values[best[count - 1]] { continue }
      var place = best.count
      while place > 0, values[best[place - 1]] < value { place -= 1 }
      best.insert(index, at: place)
      if best.count > count { best.removeLast() }
    }
    return best
  }
}
