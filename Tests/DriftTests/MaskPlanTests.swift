import Drift
import Testing

@Suite struct MaskPlanTests {
  private let plan = MaskPlan(ratios: [0.25, 0.5, 1], blockLength: 4, mask: 99, seed: 7)

  @Test func sharesAreThePartsOfARatio() {
    #expect(plan.shares == [0.375, 0.375, 0.25])
    #expect(MaskPlan(ratios: [1, 0.5], blockLength: 4, mask: 0, seed: 0).shares == [0.25, 0.75])
    #expect(MaskPlan(ratios: [0.3], blockLength: 4, mask: 0, seed: 0).shares == [1])
  }

  /// Six tokens in blocks of four, of which the prompt takes two: one state for each block and ratio.
  @Test func statesAreBlocksWithMasks() throws {
    let text = ScoredText(tokens: [1, 2, 3, 4, 5, 6], scored: 2..<6, blockLength: 4, fill: 50)
    #expect(text.tokens == [1, 2, 3, 4, 5, 6, 50, 50])
    #expect(text.maskable == 2..<8)
    let states = plan.states(of: [text])
    for state in states {
      #expect(state.start % 4 == 0 && state.tokens.count == 4)
      for (offset, token) in state.tokens.enumerated() {
        let position = state.start + offset
        #expect(token == 99 || token == text.tokens[position])
        #expect(token != 99 || text.maskable.contains(position))
        #expect(state.counted.contains(offset) == (token == 99 && text.scored.contains(position)))
      }
      // l of n are masked, and w · n / l is their weight.
      let count = state.tokens.count { $0 == 99 }
      let maskable = state.start == 0 ? 2 : 4
      let ratio = plan.ratios[state.ratio]
      #expect(count == max(1, Int((ratio * Double(maskable)).rounded())))
      #expect(state.weight == plan.shares[state.ratio] * Double(maskable) / Double(count))
    }
    #expect(states.contains { $0.start == 0 && $0.ratio == 2 && $0.counted == [2, 3] })
  }

  @Test func higherRatiosOnlyAddMasks() {
    let text = ScoredText(tokens: Array(0..<64), scored: 0..<64, blockLength: 32, fill: nil)
    let plan = MaskPlan(ratios: [0.1, 0.3, 0.9], blockLength: 32, mask: 99, seed: 3)
    let states = plan.states(of: [text])
    #expect(states.count == 6)
    for block in [0, 32] {
      let counted = states.filter { $0.start == block }.map { Set($0.counted) }
      #expect(counted.map(\.count) == [3, 10, 29])
      #expect(counted[0].isSubset(of: counted[1]) && counted[1].isSubset(of: counted[2]))
    }
    #expect(plan.states(of: [text]) == states)
    let other = MaskPlan(ratios: [0.1, 0.3, 0.9], blockLength: 32, mask: 99, seed: 4)
    #expect(other.states(of: [text]) != states)
  }

  @Test func aStateWithoutACountedMaskIsLeftOut() {
    let text = ScoredText(tokens: [1], scored: 0..<1, blockLength: 32, fill: 2)
    let states = MaskPlan(ratios: [0.1, 1], blockLength: 32, mask: 99, seed: 1).states(of: [text])
    #expect(states.contains { $0.ratio == 1 })
    #expect(states.allSatisfy { $0.counted == [0] })
  }
}
