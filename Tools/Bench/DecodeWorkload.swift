import Kernels
import Models

/// A block of 32 masks decoded with the cache behind a prompt of 64 tokens, one token committed a forward: the most forwards
/// that a block can take. Tokens are random, so routing is as spread as it can be; the head is computed for the rows that
/// are still masked. Tells where the time goes.
struct DecodeWorkload {
  private static let blockLength = 32
  private static let promptLength = 64
  private static let rounds = 1 << 20
  private let options: Options

  init(_ options: Options) { self.options = options }

  func run(_ path: String) throws(ModelError) {
    let weights = try openWeights(path)
    for activations in Activations.allCases where options.only.isEmpty || options.only.contains(activations.rawValue) {
      try measure(TransformerModel(weights, compute: Compute(threads: 2, activations: activations)))
    }
  }

  private func measure(_ model: TransformerModel) throws(ModelError) {
    var random = Tokens(vocabulary: model.configuration.vocabularySize)
    // By part, seconds of each run; the parts that are no layer's come last.
    var parts: [String: [Double]] = [:]
    var times: [Double] = []
    var arithmetic: [Double] = []
    var experts = 0
    for run in 0...options.runs {
      let cache = KeyValueCache(model.configuration)
      try model.writeCache(
        .init(tokens: random.next(Self.promptLength), start: 0, cache: cache), blockLength: Self.blockLength)
      var own: [String: Double] = [:]
      let before = model.weights.counters.experts
      let start = now()
      for step in 0..<Self.blockLength {
        try forward(model, masked: Self.blockLength - step, random.next(Self.blockLength), cache, &own)
      }
      // The block's keys and values once more, from its final tokens.
      let last = now()
      try model.writeCache(
        .init(tokens: random.next(Self.blockLength), start: Self.promptLength, cache: cache),
        blockLength: Self.blockLength)
      own["cachePass"] = now() - last
      guard run > 0 else { continue }
      times.append(now() - start)
      arithmetic.append(
        seconds { perform(2, threads: 2) { _ in _ = KernelSet.best.multiplyAndAdd(rounds: Self.rounds) } })
      experts += model.weights.counters.experts - before
      for (name, time) in own { parts[name, default: []].append(time) }
    }
    report(model, times, arithmetic, parts, experts: experts)
  }

  private func forward(
    _ model: TransformerModel, masked: Int, _ tokens: [Int], _ cache: KeyValueCache, _ parts: inout [String: Double]
  ) throws(ModelError) {
    let laps = Laps(start: now())
    var taps = TransformerModel.Taps()
    taps.done = { laps.lap($0.rawValue) }
    let hidden = try model.hiddenStates(
      [.init(tokens: tokens, start: Self.promptLength, cache: cache)], blockLength: Self.blockLength, taps: taps)
    laps.lap("finalNorm")
    let logits = model.logits(Array(hidden.suffix(masked * model.configuration.hiddenSize)))
    laps.lap("head")
    let width = model.configuration.vocabularySize
    let kernels = model.compute.kernels
    let best = Parallel.map(count: masked, threads: model.compute.threads) { row in
      kernels.scores(logits.span.extracting(row * width..<(row + 1) * width)).first
    }
    laps.lap("choice")
    precondition(best.count == masked)
    for (name, time) in laps.seconds { parts[name, default: 0] += time }
  }

  private func report(
    _ model: TransformerModel, _ times: [Double], _ arithmetic: [Double], _ parts: [String: [Double]], experts: Int
  ) {
    let sorted = times.sorted()
    // All forwards of a block, and the pass that writes its keys and values, of which the head is no part.
    let rows = Self.blockLength * (Self.blockLength + 1)
    let masked = Self.blockLength * (Self.blockLength + 1) / 2
    let operations = Int(2 * model.weights.multiplications(rows: rows, headRows: masked))
    let rate = Rates(byteCount: operations, seconds: times)
    let fma = Rates(byteCount: 2 * KernelSet.best.multiplyAndAdd(rounds: Self.rounds), seconds: arithmetic)
    let names = TransformerModel.Part.allCases.map(\.rawValue) + ["finalNorm", "head", "choice", "cachePass"]
    let total = names.reduce(0) { $0 + median(parts[$1] ?? [0]) }
    let table = names.filter { parts[$0] != nil }.map { name in
      let time = median(parts[name] ?? [0])
      return "\"\(name)\":{\"ms\":\(digits(time * 1e3 / Double(Self.blockLength))),\"share\":\(digits(time / total))}"
    }
    let forwards = Double(options.runs * (Self.blockLength + 1))
    let layers = Double(model.configuration.layerCount - model.configuration.firstDenseLayers)
    print(
      "{\"workload\":\"decode\",\"model\":\"\(model.weights.path)\",\"activations\":"
        + "\"\(model.compute.activations.rawValue)\",\"set\":\"\(model.compute.kernels)\",\"threads\":2,"
        + "\"block\":\(Self.blockLength),\"prompt\":\(Self.promptLength),\"runs\":\(options.runs),"
        + "\"ms_per_forward\":{\"min\":\(digits(sorted[0] * 1e3 / Double(Self.blockLength))),"
        + "\"median\":\(digits(median(times) * 1e3 / Double(Self.blockLength))),"
        + "\"max\":\(digits(sorted[sorted.count - 1] * 1e3 / Double(Self.blockLength)))},"
        + "\"tokens_per_s\":\(digits(Double(Self.blockLength) / median(times))),"
        + "\"experts_per_layer\":\(digits(Double(experts) / forwards / layers)),"
        + "\"gflop_per_s\":\(rate.json),\"fma_gflop_per_s\":\(fma.json),"
        + "\"share_of_fma\":\(digits(rate.median / fma.median)),"
        + "\"parts\":{\(table.joined(separator: ","))}}")
  }
}

/// Time by name, each from the end of the one before.
private final class Laps {
  private var last: Double
  private(set) var seconds: [String: Double] = [:]

  init(start: Double) { last = start }

  func lap(_ name: String) {
    let time = now()
    seconds[name, default: 0] += time - last
    last = time
  }
}
