import Kernels

/// Grouped-query attention over a prefix of keys: every query sees all positions up to the end of its own block.
///
/// Blocks of `blockLength` are aligned to position 0, so the block-causal mask ⌊j/B⌋ ≤ ⌊i/B⌋ is "j below a limit that depends
/// on i": no mask has to be built, and the queries of one block share their limit.
struct Attention: Sendable {
  let headCount: Int
  let keyValueHeadCount: Int
  let headDimension: Int

  /// Queries whose scores are held at a time, by each thread: a block may be as long as the model has positions.
  private static let queryRows = 256

  /// Positions that the query at `position` sees.
  static func limit(position: Int, blockLength: Int, end: Int) -> Int {
    min(end, (position / blockLength + 1) * blockLength)
  }

  /// - Parameters:
  ///   - queries: (rows, stride) of one sequence, of which each row begins with heads · dimension; normalised and rotated.
  ///   - layer: keys and values of the positions below `start` + rows.
  ///   - start: position of the first row.
  /// - Returns: (rows, heads · dimension).
  func apply(
    queries: Span<Float>, stride: Int, rows: Int, layer: KeyValueCache.Layer, start: Int, blockLength: Int,
    compute: Compute
  ) -> [Float] {
    let width = headCount * headDimension
    let end = start + rows
    // (heads, rows, dimension): each head is one piece of work
    var byHead = [Float](repeating: 0, count: rows * width)
    var pieces = byHead.mutableSpan
    Parallel.pieces(of: &pieces, length: rows * headDimension, threads: compute.threads) { head, output in
      let group = head / (headCount / keyValueHeadCount)
      var row = 0
      while row < rows {
        let limit = Self.limit(position: start + row, blockLength: blockLength, end: end)
        let block = row..<min(rows, limit - start, row + Self.queryRows)
        attend(
          queries.extracting((block.lowerBound * stride + head * headDimension)...), stride: stride, count: block.count,
          keys: layer.keys[group], values: layer.values[group], limit: limit, kernels: compute.kernels,
          into: &output, at: block.lowerBound * headDimension)
        row = block.upperBound
      }
    }
    var output = [Float](repeating: 0, count: rows * width)
    for head in 0..<headCount {
      for row in 0..<rows {
        let source = (head * rows + row) * headDimension
        let target = row * width + head * headDimension
        for channel in 0..<headDimension { output[target + channel] = byHead[source + channel] }
      }
    }
    return output
  }

  /// softmax(q · kᵀ / √D) · v for `count` queries of one head that see the same positions.
  private func attend(
    _ queries: Span<Float>, stride: Int, count: Int, keys: [Float], values: [Float], limit: Int, kernels: KernelSet,
    into output: inout MutableSpan<Float>, at offset: Int
  ) {
    let keySpan = keys.span.extracting(first: limit * headDimension)
    var scores = [Float](repeating: 0, count: count * limit)  // (count, limit)
    var span = scores.mutableSpan
    unsafe kernels.multiply(
      keySpan.bytes, as: .float(.f32), rows: limit, columns: headDimension, x: queries, xStride: stride, tokens: count,
      into: &span, stride: limit)
    let scale = 1 / Float(headDimension).squareRoot()
    for index in scores.indices { scores[index] *= scale }
    for query in 0..<count {
      var all = scores.mutableSpan
      var row = all._mutatingExtracting(query * limit..<(query + 1) * limit)
      kernels.softmax(&row)
    }
    var target = output._mutatingExtracting(offset...)
    kernels.weightedSum(
      scores.span, pStride: limit, tokens: count, of: values.span, vStride: headDimension, count: limit,
      columns: headDimension, into: &target, yStride: headDimension)
  }
}
