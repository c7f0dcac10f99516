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
  private static var tileLength: Int { KernelSet.attendedPositions }
  /// Queries that go together, those of all heads of a group.
  private static let mostQueries = 128
  /// Positions whose tiles are put together first. Threads share them where there are few queries.
  private static let runLength = 4 * tileLength
  /// Runs whose answers may wait: with heads of 128 numbers in 64 MiB.
  private static let mostRuns = 1024

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
    /// Positions that they see, in order.
    let runs: [Range<Int>]
  }

  /// What some queries make of some positions.
  private struct Answer {
    /// softmax(q · kᵀ / √D) · v, (queries, dimension).
    var numbers: [Float]
    /// By query, the largest score.
    var largest: [Float]
    /// By query, Σ e^(score − largest).
    var sums: [Float]
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
    let (threads, kernels) = (compute.threads, compute.kernels)
    let answers: [Answer]
    // Where there are few pieces for the threads, these share the runs, whose answers wait for each other.
    let runCount = pieces.reduce(0) { $0 + $1.runs.count }
    if pieces.count >= 2 * threads || runCount > Self.mostRuns {
      answers = Parallel.map(count: pieces.count, threads: threads) { index in
        let runs = pieces[index].runs
        var answer = attend(pieces[index], queries[index], runs[0], layer, kernels)
        for run in runs.dropFirst() { add(attend(pieces[index], queries[index], run, layer, kernels), to: &answer) }
        return answer
      }
    } else {
      let work = pieces.indices.flatMap { index in pieces[index].runs.map { (piece: index, run: $0) } }
      let parts = Parallel.map(count: work.count, threads: threads) { index in
        let (piece, run) = work[index]
        return attend(pieces[piece], queries[piece], run, layer, kernels)
      }
      var next = 0
      answers = pieces.map { piece in
        var answer = parts[next]
        for part in parts[next + 1..<next + piece.runs.count] { add(part, to: &answer) }
        next += piece.runs.count
        return answer
      }
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
      let runs = Swift.stride(from: 0, to: limit, by: Self.runLength).map { $0..<min(limit, $0 + Self.runLength) }
      pieces += (0..<keyValueHeadCount).map { Piece(group: $0, rows: block, runs: runs) }
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

  /// What queries make of a run of positions, tile by tile.
  private func attend(
    _ piece: Piece, _ queries: [Float], _ run: Range<Int>, _ layer: KeyValueCache.Layer, _ kernels: KernelSet
  ) -> Answer {
    let tiles = Swift.stride(from: run.lowerBound, to: run.upperBound, by: Self.tileLength).map {
      $0..<min(run.upperBound, $0 + Self.tileLength)
    }
    var room: (keys: [Float], values: [Float]) = ([], [])
    func attend(_ tile: Range<Int>) -> Answer {
      let place = tile.lowerBound * headDimension..<tile.upperBound * headDimension
      return layer.keys[piece.group].with(place, kernels, room: &room.keys) { keys in
        layer.values[piece.group].with(place, kernels, room: &room.values) { values in
          self.attend(queries, keys, values, kernels)
        }
      }
    }
    var answer = attend(tiles[0])
    for tile in tiles.dropFirst() { add(attend(tile), to: &answer) }
    return answer
  }

  private func attend(
    _ queries: [Float], _ keys: Span<Float>, _ values: Span<Float>, _ kernels: KernelSet
  ) -> Answer {
    var numbers = [Float](repeating: 0, count: queries.count)
    var largest = [Float](repeating: 0, count: queries.count / headDimension)
    var sums = largest
    var numberSpan = numbers.mutableSpan
    var largestSpan = largest.mutableSpan
    var sumSpan = sums.mutableSpan
    kernels.attend(
      queries.span, keys: keys, values: values, dimension: headDimension, into: &numberSpan, largest: &largestSpan,
      sums: &sumSpan)
    return Answer(numbers: numbers, largest: largest, sums: sums)
  }

  /// Takes in what the same queries make of further positions.
  private func add(_ other: Answer, to answer: inout Answer) {
    for query in answer.sums.indices {
      let largest = max(answer.largest[query], other.largest[query])
      let own = answer.sums[query] * expf(answer.largest[query] - largest)
      let further = other.sums[query] * expf(other.largest[query] - largest)
      let sum = own + further
      let (ownShare, furtherShare) = (own / sum, further / sum)
      answer.largest[query] = largest
      answer.sums[query] = sum
      let place = query * headDimension..<(query + 1) * headDimension
      var numbers = answer.numbers.mutableSpan
      var row = numbers._mutatingExtracting(place)
      let added = other.numbers.span.extracting(place)
      for index in added.indices { row[index] = ownShare * row[index] + furtherShare * added[index] }
    }
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
