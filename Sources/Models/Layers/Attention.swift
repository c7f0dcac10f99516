import Glibc

/// Grouped-query attention over a prefix of keys: every query sees all positions up to the end of its own block.
///
/// Blocks of `blockLength` are aligned to position 0, so the block-causal mask ⌊j/B⌋ ≤ ⌊i/B⌋ is "j below a limit that depends
/// on i": no mask has to be built.
struct Attention: Sendable {
  let headCount: Int
  let keyValueHeadCount: Int
  let headDimension: Int

  /// Positions that the query at `position` sees.
  static func limit(position: Int, blockLength: Int, end: Int) -> Int {
    min(end, (position / blockLength + 1) * blockLength)
  }

  /// - Parameters:
  ///   - queries: (rows, heads · dimension), normalised and rotated.
  ///   - keys, values: (positions, key-value heads · dimension).
  ///   - limits: by row, how many positions it sees.
  ///   - output: (rows, heads · dimension), overwritten.
  func apply(
    queries: Span<Float>, keys: Span<Float>, values: Span<Float>, limits: [Int], rows: Range<Int>,
    output: inout MutableSpan<Float>
  ) {
    let width = headCount * headDimension
    let keyWidth = keyValueHeadCount * headDimension
    let scale = 1 / Float(headDimension).squareRoot()
    var scores = [Float](repeating: 0, count: limits.max() ?? 0)
    for row in rows {
      for head in 0..<headCount {
        let query = row * width + head * headDimension
        let key = head / (headCount / keyValueHeadCount) * headDimension
        var largest = -Float.infinity
        for position in 0..<limits[row] {
          var sum: Float = 0
          for channel in 0..<headDimension {
            sum += queries[query + channel] * keys[position * keyWidth + key + channel]
          }
          scores[position] = sum * scale
          largest = max(largest, scores[position])
        }
        var total: Float = 0
        for position in 0..<limits[row] {
          scores[position] = expf(scores[position] - largest)
          total += scores[position]
        }
        for channel in 0..<headDimension { output[query + channel] = 0 }
        for position in 0..<limits[row] {
          let share = scores[position] / total
          for channel in 0..<headDimension {
            output[query + channel] += share * values[position * keyWidth + key + channel]
          }
        }
      }
    }
  }
}
