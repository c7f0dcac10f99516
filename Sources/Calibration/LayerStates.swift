package import Storage

/// What the experts of one layer were fed: `Formats/calibration.md`, section 2.
package struct LayerStates: Sendable {
  package let layer: Int
  /// Width of a state.
  package let columns: Int
  /// Experts of a row.
  package let slots: Int
  /// (rows, columns) bf16.
  package let states: SharedBytes
  /// (rows, slots).
  package let experts: [Int32]
  /// (rows, slots), after normalisation and scaling.
  package let weights: [Float]
  /// (rows).
  package let classes: [UInt8]
  /// The hash of states, experts and weights.
  package let hash: UInt64

  package var rowCount: Int { classes.count }

  package init(
    layer: Int, columns: Int, slots: Int, states: SharedBytes, experts: [Int32], weights: [Float], classes: [UInt8],
    hash: UInt64
  ) {
    precondition(states.byteCount == 2 * columns * classes.count)
    precondition(experts.count == slots * classes.count && weights.count == experts.count)
    self.layer = layer
    self.columns = columns
    self.slots = slots
    self.states = states
    self.experts = experts
    self.weights = weights
    self.classes = classes
    self.hash = hash
  }

  /// By expert the rows that went there, ascending, and their router weights.
  package func users(expertCount: Int) -> [[(row: Int, weight: Float)]] {
    var users = [[(row: Int, weight: Float)]](repeating: [], count: expertCount)
    for index in experts.indices { users[Int(experts[index])].append((index / slots, weights[index])) }
    return users
  }
}

/// How many tokens the experts of a layer saw.
package struct LayerCoverage: Sendable, Equatable {
  package let layer: Int
  /// By expert.
  package let tokens: [Int]
  /// N: the columns of the experts' first matrices.
  package let columns: Int

  package init(layer: Int, tokens: [Int], columns: Int) {
    self.layer = layer
    self.tokens = tokens
    self.columns = columns
  }

  /// Below this share of n / N little more is known of an expert than of its layer.
  package static let leastShare = 0.25

  /// Experts below it.
  package var thinCount: Int { tokens.count { Double($0) < Self.leastShare * Double(columns) } }

  package var sorted: [Int] { tokens.sorted() }
}
