import Kernels
import Models
import Storage

/// Experts of a model asked for in random order: the time to have one's matrices, and the rate at which its bytes are then
/// read from the page cache, beside that of reading memory.
struct ExpertWorkload {
  private static let count = 512
  private let options: Options

  init(_ options: Options) { self.options = options }

  func run(_ path: String) throws(ModelError) {
    let weights = try openWeights(path)
    let c = weights.configuration
    let limits = Limits(mebibytes: options.mebibytes)
    let kernels = KernelSet.best
    var random = Tokens(vocabulary: (c.layerCount - c.firstDenseLayers) * c.expertCount)
    var finds: [Double] = []
    var reads: [Double] = []
    var memory: [Double] = []
    var byteCount = 0
    var sum: UInt64 = 0
    for run in 0...options.runs {
      let wanted = random.next(Self.count)
      var found: [ExpertWeights] = []
      var start = now()
      for index in wanted {
        found.append(
          try weights.expert(layer: c.firstDenseLayers + index / c.expertCount, expert: index % c.expertCount))
      }
      let time = now() - start
      byteCount = found.reduce(0) { $0 + $1.byteCount }
      start = now()
      for expert in found {
        for matrix in [expert.gate, expert.up, expert.down] {
          for block in matrix.blocks {
            let content = block.content
            sum &+= kernels.readSum(content.bytes.extracting(block.codes))
          }
        }
      }
      guard run > 0 else { continue }
      finds.append(time)
      reads.append(Double(byteCount) / (now() - start))
      memory.append(limits.readingAlone())
    }
    print(
      "{\"workload\":\"expert\",\"model\":\"\(path)\",\"experts\":\(Self.count),\"bytes\":\(byteCount),"
        + "\"runs\":\(options.runs),\"us_per_expert\":\(spread(finds.map { $0 * 1e6 / Double(Self.count) })),"
        + "\"threads\":1,\"gb_per_s\":\(spread(reads.map { $0 / 1e9 })),"
        + "\"read_gb_per_s\":\(spread(memory.map { $0 / 1e9 })),"
        + "\"share_of_read\":\(digits(median(reads) / median(memory))),\"checksum\":\(sum)}")
  }
}
