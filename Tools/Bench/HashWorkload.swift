import Kernels
import Storage

/// XXH3 of each kernel set, over and over on what is in the cache and once through memory, beside the rate of reading the
/// same bytes.
struct HashWorkload {
  private static let cachedByteCount = 256 << 10
  private let options: Options

  init(_ options: Options) { self.options = options }

  func run() {
    let memory = (0..<2).map { _ in Limits.filled(options.mebibytes << 19) }
    for kernels in KernelSet.available {
      for threads in 1...2 {
        for place in ["cache", "memory"] where options.wants("\(place) \(kernels) \(threads)") {
          measure(kernels, threads, memory, place)
        }
      }
    }
  }

  private func measure(_ kernels: KernelSet, _ threads: Int, _ memory: [SharedBuffer], _ place: String) {
    let byteCount = memory[0].byteCount
    let pieceByteCount = place == "cache" ? Self.cachedByteCount : byteCount
    @Sendable func pass(_ lane: Int, _ body: (RawSpan) -> UInt64) -> UInt64 {
      let buffer = memory[lane]
      let piece = buffer.bytes.extracting(first: pieceByteCount)
      return (0..<byteCount / pieceByteCount).reduce(0) { sum, _ in sum &+ body(piece) }
    }
    var reads: [Double] = []
    var hashes: [Double] = []
    for _ in 0...options.runs {
      reads.append(
        seconds { perform(threads, threads: threads) { lane in _ = pass(lane) { KernelSet.available[0].readSum($0) } } }
      )
      hashes.append(seconds { perform(threads, threads: threads) { lane in _ = pass(lane) { kernels.xxh3($0) } } })
    }
    let bytes = byteCount / pieceByteCount * pieceByteCount * threads
    let read = Rates(byteCount: bytes, seconds: Array(reads.dropFirst()))
    let hash = Rates(byteCount: bytes, seconds: Array(hashes.dropFirst()))
    print(
      "{\"workload\":\"hash\",\"set\":\"\(kernels)\",\"threads\":\(threads),\"in\":\"\(place)\",\"bytes\":\(bytes),"
        + "\"runs\":\(options.runs),\"gb_per_s\":\(hash.json),\"read_gb_per_s\":\(read.json),"
        + "\"share_of_read\":\(digits(hash.median / read.median))}")
  }
}
