import Glibc
import Kernels
import Models
import Storage

/// A block of 32 tokens, one token and a tile of 2,048 behind contexts of several lengths, beside what the arithmetic that
/// the context adds would take at the rate of multiplying and adding in the same run. Keys and values are made up: reading a
/// prompt of 131,072 tokens would take longer than all else.
struct ContextWorkload {
  private static let contexts = [1024, 8192, 32768, 131072]
  private static let rounds = 1 << 20
  private let options: Options

  init(_ options: Options) { self.options = options }

  func run(_ path: String) throws(ModelError) {
    let weights = try openWeights(path)
    for (threads, type) in (1...2).flatMap({ threads in KeyValueType.allCases.map { (threads, $0) } }) {
      let model = try TransformerModel(
        weights, compute: Compute(kernels: .best, threads: threads, keyValues: type))
      for count in [1, 32, 2048] {
        for context in Self.contexts {
          guard options.wants("\(count)t \(context) \(threads) \(type)") else { continue }
          try measure(model, tokens: count, behind: context, threads: threads)
        }
      }
    }
  }

  private func measure(
    _ model: TransformerModel, tokens count: Int, behind context: Int, threads: Int
  ) throws(ModelError) {
    let c = model.configuration
    let type = model.compute.keyValues
    let cache = KeyValueCache(c, positions: context + count)
    for layer in 0..<c.layerCount {
      cache.update(layer: layer, positions: context, as: type) { Self.fill(&$0, context * c.headDimension, type) }
    }
    let tokens = (0..<count).map { $0 * 7919 % c.vocabularySize }
    let segment = TransformerModel.Segment(tokens: tokens, start: context, cache: cache)
    var times: [Double] = []
    var attention: [Double] = []
    var rates: [Double] = []
    for _ in 0...options.runs {
      var failure: ModelError?
      var inAttention = 0.0
      var taps = TransformerModel.Taps()
      var last = now()
      taps.done = { part in
        let time = now()
        if part == .attention { inAttention += time - last }
        last = time
      }
      times.append(
        seconds {
          last = now()
          do throws(ModelError) { _ = try model.hiddenStates([segment], blockLength: 32, taps: taps) } catch {
            failure = error
          }
        })
      if let failure { throw failure }
      attention.append(inAttention)
      let time = seconds {
        perform(threads, threads: threads) { _ in _ = KernelSet.best.multiplyAndAdd(rounds: Self.rounds) }
      }
      rates.append(Double(KernelSet.best.multiplyAndAdd(rounds: Self.rounds) * threads) / time)
    }
    let positions = (0..<count).reduce(0) { $0 + min(context + count, (context + $1) / 32 * 32 + 32) }
    let operations = Double(4 * positions * c.headCount * c.headDimension * c.layerCount)
    let fma = middle(rates)
    print(
      """
      {"workload":"context","model":"\(model.weights.path)","set":"\(KernelSet.best)","threads":\(threads),\
      "kv_cache_dtype":"\(type.rawValue)","tokens":\(count),"context":\(context),"runs":\(options.runs),"ms":\(digits(middle(times) * 1e3)),\
      "attention_ms":\(digits(middle(attention) * 1e3)),"arithmetic_ms":\(digits(operations / fma * 1e3)),\
      "share_of_fma":\(digits(operations / middle(attention) / fma)),"fma_gflop_per_s":\(digits(fma / 1e9)),\
      "cache_bytes":\(context * c.byteCount(of: type))}
      """)
  }

  /// The median of all but the first.
  private func middle(_ values: [Double]) -> Double { median(Array(values.dropFirst())) }

  private static func fill(_ layer: inout KeyValueCache.Layer, _ count: Int, _ type: KeyValueType) {
    for head in layer.keys.indices {
      layer.keys[head] = KeyValueRows((0..<count).map { Float(($0 &* 31 + head) % 63 - 31) / 32 }, as: type)
      layer.values[head] = KeyValueRows((0..<count).map { Float(($0 &* 17 + head) % 127 - 63) / 64 }, as: type)
    }
  }
}
