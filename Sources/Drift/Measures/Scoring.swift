package import Models

/// What is scored: texts, and which of their positions are masked.
package struct Scoring: Sendable {
  package let plan: MaskPlan
  package let texts: [ScoredText]
  package let states: [MaskedState]
  /// By state, where its positions begin among all.
  let starts: [Int]
  package let positionCount: Int

  /// - Parameter range: numbers of the texts that are scored; nil for all.
  package init(_ texts: [ScoredText], plan: MaskPlan, only range: Range<Int>? = nil) {
    self.init(texts, plan: plan, states: plan.states(of: texts, in: range))
  }

  /// - Parameter states: made elsewhere, as those along a trajectory.
  package init(_ texts: [ScoredText], plan: MaskPlan, states: [MaskedState]) {
    self.plan = plan
    self.texts = texts
    self.states = states
    var starts: [Int] = []
    var count = 0
    for state in states {
      starts.append(count)
      count += state.counted.count
    }
    self.starts = starts
    positionCount = count
  }

  /// For each counted position, its text, its place there and the index of its mask ratio.
  package var places: [[Int32]] {
    states.flatMap { state in
      state.counted.map { [Int32(state.text), Int32(state.start + $0), Int32(state.ratio)] }
    }
  }

  /// The positions of some texts among those of all.
  ///
  /// - Parameter range: numbers of texts.
  package func positions(ofTexts range: Range<Int>) -> Range<Int> {
    let first = states.firstIndex { $0.text >= range.lowerBound } ?? states.count
    let end = states.firstIndex { $0.text >= range.upperBound } ?? states.count
    let place = { (state: Int) in state < starts.count ? starts[state] : positionCount }
    return place(first)..<place(end)
  }

  /// Rows that go through the layers: all states, and once for each text what stands before the last of them.
  var rowCount: Int {
    let prefixes = Dictionary(states.map { ($0.text, $0.start) }, uniquingKeysWith: max)
    return states.reduce(0) { $0 + $1.tokens.count } + prefixes.values.reduce(0, +)
  }

  /// Positions where something is not finite.
  ///
  /// - Parameters:
  ///   - isCounted: whether a text counts.
  ///   - isFinite: of a position, by its number among all.
  package func tally(of isCounted: (Int) -> Bool = { _ in true }, _ isFinite: (Int) -> Bool) -> NonFinite {
    var tally = NonFinite()
    for (index, state) in states.enumerated() where isCounted(state.text) {
      for (place, offset) in state.counted.enumerated() {
        tally.add(
          isFinite: isFinite(starts[index] + place), at: .init(text: state.text, position: state.start + offset))
      }
    }
    return tally
  }

  /// The text's own token at a counted position.
  func truth(_ state: Int, _ place: Int) -> Int {
    texts[states[state].text].tokens[states[state].start + states[state].counted[place]]
  }
}

/// What the reference says of all positions of a scoring: computed, or read from a record.
package struct ReferenceScores: Sendable, Equatable {
  /// In the order of states and their counted positions.
  package var rows: [ReferenceRow]
  /// By mixture layer, in the same order.
  package var routes: [Int: [Router.Route]]

  package init(rows: [ReferenceRow], routes: [Int: [Router.Route]]) {
    self.rows = rows
    self.routes = routes
  }

  /// Those of some positions.
  package func slice(_ range: Range<Int>) -> Self {
    Self(rows: Array(rows[range]), routes: routes.mapValues { Array($0[range]) })
  }

  /// Those of the positions behind, too.
  package static func += (all: inout Self, next: Self) {
    all.rows += next.rows
    for (layer, routes) in next.routes { all.routes[layer, default: []] += routes }
  }
}
