import Storage
import Testing

@Suite struct InOrderTests {
  struct Refusal: Error, Equatable { let index: Int }

  /// Squares until `bad`, which fails; what was consumed before.
  private func squares(count: Int, threads: Int, window: Int, bad: Int?) -> ([Int], Refusal?) {
    var consumed: [Int] = []
    do throws(Refusal) {
      try inOrder(
        count: count, threads: threads, window: window, makeWorkspace: {},
        work: { (_, index) -> Result<Int, Refusal> in
          index == bad ? .failure(Refusal(index: index)) : .success(index * index)
        },
        consume: { (index, square: Int) throws(Refusal) in consumed.append(square) })
      return (consumed, nil)
    } catch { return (consumed, error) }
  }

  @Test(arguments: [(1, 1), (2, 2), (3, 7), (8, 16)])
  func resultsComeInOrder(threads: Int, window: Int) {
    for count in [0, 1, 2, 100] {
      let (consumed, failure) = squares(count: count, threads: threads, window: window, bad: nil)
      #expect(consumed == (0..<count).map { $0 * $0 })
      #expect(failure == nil)
    }
  }

  /// Results that nobody took, and slots that nobody gave back, must not matter.
  @Test(arguments: [(1, 1), (2, 2), (3, 7), (8, 16)])
  func aFailureEndsTheWork(threads: Int, window: Int) {
    for bad in 0..<50 {
      let (consumed, failure) = squares(count: 50, threads: threads, window: window, bad: bad)
      #expect(consumed == (0..<bad).map { $0 * $0 })
      #expect(failure == Refusal(index: bad))
    }
  }
}
