import Glibc
import Kernels

/// Grouped-query attention over a prefix of keys: every query sees all positions up to the end of its own block.
///
/// Blocks of `blockLength` are aligned to position 0, so the block-causal mask ⌊j/B⌋ ≤ ⌊i/B⌋ is "j below a limit that depends
/// on i": no mask has to be built, and the queries of one block share their limit.
///
/// All queries that share a head of keys and see the same positions go together, so that keys and values are read once for
/// them, and past a tile of positions the softmax is put together from those of the tiles: what is held at a time stays in the
/// caches of a core, however long the context.
package struct Attention: Sendable {
  private let headCount: Int
  private let keyValueHeadCount: Int
  private let headDimension: Int

  /// Positions of a tile.
  private static let tileLength = 512
  /// Queries that go together, those of all heads of a group.
  private static let mostQueries = 128
  /// Tiles that a thread takes at a time where there are few queries.
  private static let tilesOfThread = 4

  package init(headCount: Int, keyValueHeadCount: Int, headDimension: Int) {
    self.headCount = headCount
    self.keyValueHeadCount = keyValueHeadCount
    self.headDimension = headDimension
  }

  private var headsPerGroup: Int { headCount / keyValueHeadCount }

  /// Queries of a group of heads that see the same positions.
  private struct Piece {
    /// The head of keys and values.
    let group: Int
    let rows: Range<Int>
    /// Positions that they see.
    let limit: Int
    /// Tiles of these.
    let tiles: Int
  }

  /// What some queries make of some positions.
  private struct Answer {
    /// softmax(q · kᵀ / √D) · v, (queries, dimension).
    var numbers: [Float] = []
    /// By query, the largest score and Σ e^(score − largest).
    var normalizers: [(largest: Float, sum: Float)] = []
  }

  /// Positions that the query at `position` sees.
  private static func limit(position: Int, blockLength: Int, end: Int) -> Int {
    min(end, (position / blockLength + 1) * blockLength)
  }

  /// - Parameters:
  ///   - queries: (rows, stride) of one sequence, of which each row begins with heads · dimension; normalised and rotated.
  ///   - layer: keys and values of the positions below `start` + rows.
  ///   - start: position of the first row.
  /// - Returns: (rows, heads · dimension), the same for any number of threads.
  package func apply(
    queries: Span<Float>, stride: Int, rows: Int, layer: KeyValueCache.Layer, start: Int, blockLength: Int,
    compute: Compute
  ) -> [Float] {
    let pieces = pieces(rows: rows, start: start, blockLength: blockLength)
    let queries = pieces.map { gather($0, queries, stride: stride) }
    let threads = compute.threads
    // Where there are few pieces, threads share their tiles.
    let isShared = pieces.count < 4 * threads
    let work = pieces.enumerated().flatMap { index, piece in
      let step = isShared ? Self.tilesOfThread : piece.tiles
      return Swift.stride(from: 0, to: piece.tiles, by: step).map { (index, $0..<min(piece.tiles, $0 + step)) }
    }
    let parts = Parallel.map(count: work.count, threads: threads) { index in
      let (piece, tiles) = work[index]
      return attend(pieces[piece], queries[piece], tiles: tiles, layer, compute.kernels)
    }
    // In the order of the positions, however they were shared.
    var shares = [[Answer]](repeating: [], count: pieces.count)
    for ((piece, _), part) in zip(work, parts) { shares[piece] += part }
    let answers = Parallel.map(count: pieces.count, threads: threads) { [shares] piece in
      var answer = shares[piece][0]
      for further in shares[piece].dropFirst() { add(further, to: &answer) }
      return answer
    }
    return joined(answers, pieces, rows: rows)
  }

  private func pieces(rows: Int, start: Int, blockLength: Int) -> [Piece] {
    let most = max(1, Self.mostQueries / headsPerGroup)
    var pieces: [Piece] = []
    var row = 0
    while row < rows {
      let limit = Self.limit(position: start + row, blockLength: blockLength, end: start + rows)
      let block = row..<min(rows, limit - start, row + most)
      pieces += (0..<keyValueHeadCount).map {
        Piece(group: $0, rows: block, limit: limit, tiles: (limit + Self.tileLength - 1) / Self.tileLength)
      }
      row = block.upperBound
    }
    return pieces
  }

  /// The queries of a piece divided by √D, (rows · heads of the group, dimension).
  private func gather(_ piece: Piece, _ queries: Span<Float>, stride: Int) -> [Float] {
    let scale = 1 / Float(headDimension).squareRoot()
    let width = headsPerGroup * headDimension
    var gathered: [Float] = []
    gathered.reserveCapacity(piece.rows.count * width)
    for row in piece.rows {
      let first = row * stride + piece.group * width
      for index in first..<first + width { gathered.append(queries[index] * scale) }
    }
    return gathered
  }

  /// What queries make of some tiles: of each, since sums depend on their order; of the first ones together, to which the others
  /// are going to be added.
  private func attend(
    _ piece: Piece, _ queries: [Float], tiles: Range<Int>, _ layer: KeyValueCache.Layer, _ kernels: KernelSet
  ) -> [Answer] {
    let (keys, values) = (layer.keys[piece.group], layer.values[piece.group])
    let count = queries.count / headDimension
    var answers: [Answer] = []
    var scores = [Float](repeating: 0, count: count * min(piece.limit, Self.tileLength))
    for tile in tiles {
      let positions = tile * Self.tileLength..<min(piece.limit, (tile + 1) * Self.tileLength)
      let place = positions.lowerBound * headDimension..<positions.upperBound * headDimension
      var answer = Answer()
      var all = scores.mutableSpan
      unsafe kernels.multiply(
        keys.span.extracting(place).bytes, as: .float(.f32), rows: positions.count, columns: headDimension,
        x: queries.span, tokens: count, into: &all, stride: positions.count)
      for query in 0..<count {
        var row = all._mutatingExtracting(query * positions.count..<(query + 1) * positions.count)
        answer.normalizers.append(kernels.softmax(&row))
      }
      answer.numbers = [Float](repeating: 0, count: count * headDimension)
      var output = answer.numbers.mutableSpan
      kernels.weightedSum(
        scores.span, pStride: positions.count, tokens: count, of: values.span.extracting(place), vStride: headDimension,
        count: positions.count, columns: headDimension, into: &output, yStride: headDimension)
      if tiles.lowerBound == 0, !answers.isEmpty {
        add(answer, to: &answers[0])
      } else {
        answers.append(answer)
      }
    }
    return answers
  }

  /// Takes in what the same queries make of further positions.
  private func add(_ other: Answer, to answer: inout Answer) {
    var normalizers = answer.normalizers
    var numbers = answer.numbers.mutableSpan
    for query in normalizers.indices {
      let (own, further) = (normalizers[query], other.normalizers[query])
      let largest = max(own.largest, further.largest)
      let ownSum = own.sum * expf(own.largest - largest)
      let furtherSum = further.sum * expf(further.largest - largest)
      let sum = ownSum + furtherSum
      let (ownShare, furtherShare) = (ownSum / sum, furtherSum / sum)
      normalizers[query] = (largest, sum)
      let place = query * headDimension..<(query + 1) * headDimension
      var row = numbers._mutatingExtracting(place)
      let added = other.numbers.span.extracting(place)
      for index in added.indices { row[index] = ownShare * row[index] + furtherShare * added[index] }
    }
    answer.normalizers = normalizers
  }

  /// Heads side by side again, (rows, heads · dimension).
  private func joined(_ answers: [Answer], _ pieces: [Piece], rows: Int) -> [Float] {
    let (width, part) = (headCount * headDimension, headsPerGroup * headDimension)
    var output = [Float](repeating: 0, count: rows * width)
    for (answer, piece) in zip(answers, pieces) {
      for (index, row) in piece.rows.enumerated() {
        let target = row * width + piece.group * part
        for channel in 0..<part { output[target + channel] = answer.numbers[index * part + channel] }
      }
    }
    return output
  }
}
