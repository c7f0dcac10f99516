import Models

// What a batch of scored continuations keeps of them.

extension ScoringBatch {
  /// A continuation under work.
  struct Text {
    /// The states' weights.
    let weights: [Double]
    /// Its own tokens by position.
    let tokens: ArraySlice<Int>
    let isExact: Bool
    /// By state Σ −ln p, where it is known.
    var losses: [Double?]
    var missing: Int
    var isGreedy = true
    /// The first position without numbers.
    var notFinite: Int?

    mutating func add(_ loss: Double, of state: Int, isGreedy: Bool, notFinite position: Int?) {
      losses[state] = loss
      missing -= 1
      self.isGreedy = self.isGreedy && isGreedy
      notFinite = [notFinite, position].compactMap(\.self).min()
    }

    var score: Score {
      Score(
        bound: zip(weights, losses).reduce(0) { $0 + $1.0 * ($1.1 ?? 0) }, isGreedy: isGreedy, states: weights.count,
        isExact: isExact)
    }
  }

  /// A state of one text or more.
  struct State {
    struct Use {
      let text: Int
      let state: Int
      /// Offsets in the block that count.
      let offsets: [Int]
      /// Whether they are all that the text has in the block.
      let isWhole: Bool
    }

    let start: Int
    let tokens: [Int]
    var uses: [Use]

    /// All that count, ascending.
    var offsets: [Int] { Set(uses.flatMap(\.offsets)).sorted() }
  }

  /// Clean blocks, their keys and values, and what is to go behind them.
  struct Context {
    let clean: [Int]
    let cache: KeyValueCache
    var isWritten: Bool
    /// With descending starts: each writes its keys and values over those of its block, which no state before that sees.
    var states: [State]
    /// Whether all states begin where the clean blocks end, so that others may come beside them.
    let isOpen: Bool
  }
}
