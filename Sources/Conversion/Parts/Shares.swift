import Calibration
import Models
import Pack
import Quantization
import Safetensors
import Storage
import Tensors

// How chunks are shared out: one behind the other, by the work that they are.

extension ConversionPlan {
  /// The parts of a plan, each at least a chunk.
  ///
  /// - Throws: ``PartError/tooManyParts(wanted:most:)``.
  func parts(_ count: Int) throws(ConversionError) -> [PartPlan.Part] {
    guard count <= pack.chunks.count else {
      throw .part(.tooManyParts(wanted: count, most: pack.chunks.count))
    }
    let costs = pack.chunks.indices.map { coreSeconds(ofChunk: $0) }
    let memory = try MemoryBudget(self, limit: .max, threads: 4).peak
    return Self.shares(costs, count).map { range in
      var shards: Set<Int> = []
      for chunk in range { shards.formUnion(files(of: chunk)) }
      let chunks = pack.chunks[range]
      return PartPlan.Part(
        firstChunk: range.lowerBound, chunks: range.count,
        first: pack.tensors[chunks.first?.tensors.lowerBound ?? 0].name,
        last: pack.tensors[(chunks.last?.tensors.upperBound ?? 1) - 1].name,
        shards: shards.sorted().map { checkpoint.files[$0].name },
        sourceBytes: range.reduce(0) { $0 + sourceByteCount(ofChunk: $1) },
        outputBytes: PartLayout.byteCount(contentLengths: chunks.map(\.layout.byteCount)), memoryBytes: memory,
        coreSeconds: (1000 * costs[range].reduce(0, +)).rounded(.up) / 1000)
    }
  }

  /// Cuts where the sum of the costs is nearest to equal shares.
  ///
  /// - Precondition: no more shares than costs.
  static func shares(_ costs: [Double], _ count: Int) -> [Range<Int>] {
    let total = costs.reduce(0, +)
    var shares: [Range<Int>] = []
    var (start, end, sum) = (0, 0, 0.0)
    for share in 1...count {
      let goal = total * Double(share) / Double(count)
      // Each of those that follow needs a chunk, too.
      let most = costs.count - (count - share)
      repeat {
        sum += costs[end]
        end += 1
      } while end < most && (share == count || sum + costs[end] / 2 <= goal)
      shares.append(start..<end)
      start = end
    }
    return shares
  }

  private func sourceByteCount(ofChunk index: Int) -> Int {
    let chunk = pack.chunks[index]
    return chunk.tensors.reduce(0) { sum, tensor in
      let (shape, all) = (sources[tensor].shape, sources[tensor].byteCount ?? 0)
      return sum + (chunk.kind == .rows ? all / max(shape.rows, 1) * chunk.rows.count : all)
    }
  }

  /// The files of weights that a chunk is made of, scales that lie elsewhere among them.
  private func files(of index: Int) -> Set<Int> {
    var found: Set<Int> = []
    func add(_ file: SafetensorsFile) { checkpoint.files.firstIndex { $0 === file }.map { _ = found.insert($0) } }
    for tensor in pack.chunks[index].tensors {
      switch sources[tensor].place {
      case .bytes(let file, _): found.insert(file)
      case .fp8(let file, _, let scales):
        found.insert(file)
        add(scales.file)
      case .packed(let file, let codes):
        found.insert(file)
        codes.files.forEach(add)
      case .chunks: break
      }
    }
    return found
  }

  /// An estimate that decides how evenly work is shared, not what comes out: measured with AVX-512 and the source in the page cache.
  private func coreSeconds(ofChunk index: Int) -> Double {
    let chunk = pack.chunks[index]
    guard needsStates(chunk), let document = options.calibration else {
      let isSearched = chunk.tensors.contains {
        pack.tensors[$0].encoding.isGrouped && solvers[$0].name != Solvers.absmax.name
      }
      return Double(sourceByteCount(ofChunk: index)) / (isSearched ? 3.3e9 : 5e9)
    }
    // Multiplications and additions of `Formats/solver.md`: moments, factors, feedback and one sweep over the codes.
    let n = Double(document.rows * document.sizes.slots) / Double(document.sizes.experts)
    let columns = Double(model.configuration.hiddenSize)
    let rows = Double(model.configuration.expertIntermediateSize)
    let moments = n * (columns * columns + rows * rows) + (columns * columns * columns + rows * rows * rows) / 3
    let solving = 5 * (2 * rows * columns * columns + columns * rows * rows)
    return (moments + solving) / 1e11
  }
}
