/// One position: what the reference says of it, and the other lanes held against that.
struct ScoredPosition: Sendable {
  let reference: ReferenceRow
  /// By lane beside the reference.
  let comparisons: [Comparison]
  /// KL over all tokens of the vocabulary, of the lane for which it was asked and the reference that ran; else 0.
  let fullDivergence: Double

  /// - Parameters:
  ///   - lanes: without a reference that was recorded.
  ///   - recorded: what it said; nil where it is the first of the lanes.
  ///   - truth: the text's own token.
  ///   - mask: never the best.
  ///   - whole: the place, beside the reference, of the lane whose divergence over all tokens is wanted.
  init(_ lanes: ArraySlice<LogSoftmax>, recorded: ReferenceRow?, truth: Int, mask: Int, whole: Int?) {
    let reference = recorded ?? ReferenceRow(lanes[lanes.startIndex], truth: truth, mask: mask)
    let others = recorded == nil ? lanes.dropFirst() : lanes
    self.reference = reference
    comparisons = others.map { Comparison(reference, $0, truth: truth, mask: mask) }
    guard recorded == nil, let whole else {
      fullDivergence = 0
      return
    }
    let known = comparisons[whole]
    if !known.isFinite {
      fullDivergence = 0
    } else if reference.tokens.isEmpty {
      fullDivergence = known.kl
    } else {
      fullDivergence = lanes[lanes.startIndex].divergence(to: others[others.startIndex + whole])
    }
  }
}
