import Models

/// Which positions of a block are masked to bound −ln p of what stands there, and with which weights (`Formats/score.md` §2).
package struct MaskDraws: Sendable, Equatable {
  /// States of a block at most, but for the one in which all is masked.
  package let count: Int
  package let seed: UInt64

  package init(count: Int, seed: UInt64) {
    precondition(count > 0)
    self.count = count
    self.seed = seed
  }

  /// Positions that are masked together, ascending, and the weight of Σ −ln p over them.
  package struct Masked: Sendable, Equatable {
    package let positions: [Int]
    package fileprivate(set) var weight: Double

    package init(positions: [Int], weight: Double) {
      self.positions = positions
      self.weight = weight
    }
  }

  /// Whether every set of masks of so many positions is looked at, so that nothing is drawn.
  func isExact(_ count: Int) -> Bool { count < Int.bitWidth - 1 && (1 << count) - 1 <= self.count }

  /// How many sets of so many positions ``masked(of:blockStart:)`` gives at most.
  func most(_ positions: Int) -> Int { isExact(positions) ? (1 << positions) - 1 : count + 1 }

  /// - Parameters:
  ///   - scored: positions of one block, not empty.
  ///   - start: of the block.
  /// - Returns: sets without repetition; all of `scored` is one of them.
  package func masked(of scored: Range<Int>, blockStart start: Int) -> [Masked] {
    isExact(scored.count) ? Self.all(scored) : drawn(scored, start)
  }

  /// Every set. One of l of n positions has the weight 1 / (l · (n over l)).
  private static func all(_ scored: Range<Int>) -> [Masked] {
    let n = scored.count
    var weights = [1 / Double(n)]  // by l − 1
    for l in 1..<n { weights.append(weights[l - 1] * Double(l) / Double(n - l)) }
    return (1..<1 << n).map { bits in
      Masked(
        positions: scored.filter { bits >> ($0 - scored.lowerBound) & 1 == 1 },
        weight: weights[bits.nonzeroBitCount - 1])
    }
  }

  /// Counts of masks spread evenly over 1 … n, for each the positions with the smallest numbers.
  private func drawn(_ scored: Range<Int>, _ start: Int) -> [Masked] {
    let n = scored.count
    let offset = Double(number(count, start) >> 11) * 0x1p-53
    var found: [Masked] = []
    var places: [[Int]: Int] = [:]
    func add(_ positions: [Int], _ weight: Double) {
      if let place = places[positions] {
        found[place].weight += weight
      } else {
        places[positions] = found.count
        found.append(Masked(positions: positions, weight: weight))
      }
    }
    for draw in 0..<count {
      let l = min(n, 1 + Int((Double(draw) + offset) * Double(n) / Double(count)))
      let order = scored.map { (number(draw, $0), $0) }.sorted { $0 < $1 }
      add(order.prefix(l).map(\.1).sorted(), Double(n) / Double(l * count))
    }
    add(Array(scored), 0)
    return found
  }

  /// The number of a position in a draw.
  private func number(_ draw: Int, _ position: Int) -> UInt64 {
    [draw, position].reduce(seed) { counterMix($0 ^ counterMix(UInt64($1))) }
  }
}
