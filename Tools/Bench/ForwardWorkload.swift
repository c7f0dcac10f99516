import Kernels
import Models
import Storage

/// One block of 32 tokens through all layers of a model, and one token alone, with the vocabulary head for as many rows as
/// asked; beside the rates of reading memory and of arithmetic in the same run. Tokens are random, so routing is as spread
/// as it can be.
struct ForwardWorkload {
  private static let laneByteCount = 256 << 20
  private static let rounds = 1 << 20
  private let options: Options

  init(_ options: Options) { self.options = options }

  func run(_ path: String) throws(ModelError) {
    let weights = try openWeights(path)
    let dense = try denseByteCount(weights)
    let memory = (0..<2).map { _ in Planes.filled(Self.laneByteCount) }
    for threads in 1...2 {
      let models = try Activations.allCases.map { activations throws(ModelError) in
        try TransformerModel(weights, compute: Compute(kernels: .best, threads: threads, activations: activations))
      }
      for count in [1, 32] {
        guard options.wants("\(count)t \(threads)") else { continue }
        try measure(models, tokens: count, threads: threads, dense: dense, memory)
      }
    }
  }

  /// The models, which differ in activations alone, take turns so that all meet the same noise.
  private func measure(
    _ models: [TransformerModel], tokens count: Int, threads: Int, dense: Int, _ memory: [SharedBuffer]
  ) throws(ModelError) {
    var times = [[Double]](repeating: [], count: models.count)
    var reads: [Double] = []
    var arithmetic: [Double] = []
    var bytes = [Int](repeating: 0, count: models.count)
    var state: UInt64 = 1
    let headCount = min(options.head, count) * models[0].configuration.hiddenSize
    do {
      // So many tokens that all experts have been read and all pages are mapped.
      let all = segment(of: models[0], tokens: 512, &state)
      _ = try models[0].hiddenStates([all], blockLength: 32)
    }
    for _ in 0...options.runs {
      for (index, model) in models.enumerated() {
        var time = 0.0
        // The second is timed: it follows a pass of its kind, as in decoding, not the reading of memory below. Each has
        // tokens of its own: the experts that the one before read may still be in a cache.
        for _ in 0..<2 {
          let segment = segment(of: model, tokens: count, &state)
          let before = model.weights.counters.bytesRead
          var failure: ModelError?
          time = seconds {
            do throws(ModelError) {
              let hidden = try model.hiddenStates([segment], blockLength: 32)
              if headCount > 0 { _ = model.logits(Array(hidden.prefix(headCount))) }
            } catch { failure = error }
          }
          if let failure { throw failure }
          bytes[index] = model.weights.counters.bytesRead - before + dense
        }
        times[index].append(time)
      }
      reads.append(
        seconds {
          perform(threads, threads: threads) { lane in
            let buffer = memory[lane]
            _ = KernelSet.available[0].readSum(buffer.bytes)
          }
        })
      arithmetic.append(
        seconds { perform(threads, threads: threads) { _ in _ = KernelSet.best.multiplyAndAdd(rounds: Self.rounds) } })
    }
    let read = Rates(byteCount: Self.laneByteCount * threads, seconds: Array(reads.dropFirst()))
    let fma = Rates(
      byteCount: KernelSet.best.multiplyAndAdd(rounds: Self.rounds) * threads, seconds: Array(arithmetic.dropFirst()))
    for (index, model) in models.enumerated() {
      let sorted = times[index].dropFirst().sorted()
      let rates = Rates(byteCount: bytes[index], seconds: Array(times[index].dropFirst()))
      print(
        "{\"workload\":\"forward\",\"model\":\"\(model.weights.path)\","
          + "\"activations\":\"\(model.compute.activations.rawValue)\",\"set\":\"\(KernelSet.best)\","
          + "\"threads\":\(threads),\"tokens\":\(count),\"head\":\(min(options.head, count)),\"runs\":\(options.runs),"
          + "\"ms\":{\"min\":\(digits(sorted[0] * 1e3)),\"median\":\(digits(sorted[sorted.count / 2] * 1e3)),"
          + "\"max\":\(digits(sorted[sorted.count - 1] * 1e3))},"
          + "\"tokens_per_s\":\(digits(Double(count) / sorted[sorted.count / 2])),\"bytes\":\(bytes[index]),"
          + "\"gb_per_s\":\(rates.json),\"read_gb_per_s\":\(read.json),\"fma_gflop_per_s\":\(fma.json),"
          + "\"share_of_read\":\(digits(rates.median / read.median))}")
    }
  }

  private func segment(of model: TransformerModel, tokens count: Int, _ state: inout UInt64) -> TransformerModel.Segment
  {
    let tokens = (0..<count).map { _ in
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % model.configuration.vocabularySize
    }
    return TransformerModel.Segment(tokens: tokens, start: 0, cache: KeyValueCache(model.configuration))
  }

  /// Bytes of all matrices but routed experts, embedding and, unless asked for, head: what every pass reads.
  private func denseByteCount(_ weights: any WeightSource) throws(ModelError) -> Int {
    var sum = 0
    for item in weights.items {
      if item.isExpert || item.id.role == .embedding || item.id.role == .head && options.head == 0 { continue }
      sum += try weights.matrix(item.id).byteCount
    }
    return sum
  }
}
