import Glibc

/// The positions where the candidate is furthest from the reference, with what both said.
package struct WorstPositions: Sendable {
  struct Entry: Sendable {
    let state: Int
    let place: Int
    let kl: Double
    let reference: [(token: Int, probability: Double)]
    let candidate: [(token: Int, probability: Double)]
  }

  /// More than are shown, since of one text only two are.
  private static let kept = 100
  private static let shown = 20
  private static let shownOfText = 2
  private static let tokens = 5
  private static let context = 24
  var entries: [Entry] = []

  package init() {}

  /// Those of texts that come behind.
  ///
  /// - Parameter stateCount: states before theirs.
  package mutating func add(_ others: Self, after stateCount: Int) {
    for entry in others.entries {
      add(
        Entry(
          state: stateCount + entry.state, place: entry.place, kl: entry.kl, reference: entry.reference,
          candidate: entry.candidate))
    }
  }

  /// Behind those of the same divergence, which came first.
  private mutating func add(_ entry: Entry) {
    let place = entries.firstIndex { $0.kl < entry.kl } ?? entries.count
    entries.insert(entry, at: place)
    if entries.count > Self.kept { entries.removeLast() }
  }

  package mutating func add(
    state: Int, place: Int, _ comparison: Comparison, _ reference: ReferenceRow, _ candidate: LogSoftmax
  ) {
    guard comparison.isFinite, comparison.kl > 0,
      entries.count < Self.kept || comparison.kl > entries[entries.count - 1].kl
    else { return }
    let known = reference.tokens.isEmpty ? Array(reference.logits.indices) : reference.tokens.map(Int.init)
    let order = zip(known, reference.logits.indices.map(reference.logProbability)).sorted {
      ($1.1, $0.0) < ($0.1, $1.0)
    }
    let candidate = candidate.asRounded(like: reference)
    add(
      Entry(
        state: state, place: place, kl: comparison.kl,
        reference: order.prefix(Self.tokens).map { ($0.0, Glibc.exp($0.1)) },
        candidate: candidate.largest(Self.tokens).map { ($0, Glibc.exp(candidate.exactLogProbability($0))) }))
  }

  /// `masked.worst` of `Formats/drift-report.md`.
  ///
  /// - Parameter words: the text that some tokens stand for.
  package func section(_ scoring: Scoring, words: ([Int]) -> String) -> [DriftReport.WorstPosition] {
    var counts: [Int: Int] = [:]
    var shown: [DriftReport.WorstPosition] = []
    for entry in entries where shown.count < Self.shown {
      let state = scoring.states[entry.state]
      guard counts[state.text, default: 0] < Self.shownOfText else { continue }
      counts[state.text, default: 0] += 1
      let position = state.start + state.counted[entry.place]
      shown.append(
        DriftReport.WorstPosition(
          text: state.text, position: position, block: state.start / scoring.plan.blockLength,
          maskRatio: scoring.plan.ratios[state.ratio], kl: entry.kl,
          truth: words([scoring.truth(entry.state, entry.place)]), reference: tokens(entry.reference, words),
          candidate: tokens(entry.candidate, words), context: context(scoring, state, position, words)))
    }
    return shown
  }

  private func tokens(
    _ tokens: [(token: Int, probability: Double)], _ words: ([Int]) -> String
  ) -> [DriftReport.WorstPosition.Token] {
    tokens.map { .init(token: $0.token, text: words([$0.token]), probability: $0.probability) }
  }

  /// The text around, a sign for each mask; the position itself in brackets.
  private func context(
    _ scoring: Scoring, _ state: MaskedState, _ position: Int, _ words: ([Int]) -> String
  ) -> String {
    let seen = Array(scoring.texts[state.text].tokens[..<state.start]) + state.tokens
    let range = max(0, position - Self.context)..<min(seen.count, position + Self.context)
    var text = ""
    var run: [Int] = []
    for index in range {
      if seen[index] == scoring.plan.mask {
        text += words(run) + (index == position ? "[▒]" : "▒")
        run = []
      } else {
        run.append(seen[index])
      }
    }
    return text + words(run)
  }
}
