import Kernels
import Storage
import Tensors

/// The parts of the calibrated solver on one expert of the shapes of LLaDA2.0-mini, beside the rate of plain arithmetic.
struct SolveWorkload {
  private static let shapes = [(name: "gate+up", rows: 1024, columns: 2048), (name: "down", rows: 2048, columns: 512)]
  private static let tokens = 2048
  private static let rounds = 1 << 20

  private let options: Options

  init(_ options: Options) { self.options = options }

  func run() {
    for kernels in KernelSet.available where kernels.name != "scalar" {
      for shape in Self.shapes {
        for threads in 1...2 {
          guard options.wants("\(shape.name) \(kernels) \(threads)") else { continue }
          measure(shape.name, shape.rows, shape.columns, kernels, threads)
        }
      }
    }
  }

  /// Seconds of each pass by part; the first pass does not count.
  private final class Times {
    var values: [String: [Double]] = [:]
    func time<R>(_ part: String, _ body: () -> R) -> R {
      let start = now()
      let result = body()
      values[part, default: []].append(now() - start)
      return result
    }
  }

  private func measure(_ name: String, _ rows: Int, _ columns: Int, _ kernels: KernelSet, _ threads: Int) {
    let tokens = Self.tokens
    let states = SyntheticWeights.bf16(count: tokens * columns, seed: 3)
    let weights = (0..<rows * columns).map { Float(($0 &* 2_654_435_761) % 1009) / 30_000 - 0.0168 }
    let tokenWeights = (0..<tokens).map { Float($0 % 7 + 1) / 8 }
    let range = ScaleRange(
      mantissaBits: 7, hasZero: true, least: [Float](repeating: 0x1p-17, count: rows),
      most: [Float](repeating: 65280, count: rows))
    let times = Times()
    for _ in 0...options.runs {
      times.time("fma") { perform(threads, threads: threads) { _ in _ = kernels.multiplyAndAdd(rounds: Self.rounds) } }
      var h = [Float](repeating: 0, count: columns * columns)
      times.time("moments") {
        kernels.addMoments(
          of: states.bytes, as: .bf16, weights: tokenWeights.span, columns: columns, to: &h, threads: threads)
      }
      KernelSet.mirrorUpper(&h, columns: columns)
      let mean = (0..<columns).reduce(Float(0)) { $0 + h[$1 * (columns + 1)] } / Float(columns)
      for j in 0..<columns { h[j * (columns + 1)] += 0.03 * mean }
      let order = (0..<UInt32(columns)).map { $0 }
      let factor = times.time("factor") { MomentFactor(h, order: order, kernels: kernels, threads: threads)! }
      let moments = PackedMoments(h, columns: columns, kernels: kernels)
      var solved = SolvedRows(rows: rows, columns: columns, groupSize: 64)
      for (part, steps): (String, SolveSteps) in [
        ("search", .searchScales), ("feedback", .feedback), ("polish", .polish), ("measure", .measureWeights),
      ] {
        times.time(part) {
          kernels.solve(
            steps, weights: weights.span, bits: 4, groupSize: 64, scaleRange: range, moments: moments, factor: factor,
            rows: &solved, threads: threads)
        }
      }
    }
    let (n, o, t) = (Double(columns), Double(rows), Double(tokens))
    let operations = [
      "moments": t * n * n, "factor": n * n * n / 3, "search": 0, "feedback": o * n * n, "polish": 2 * o * n * n,
      "measure": o * n * n,
    ]
    let peak = Double(kernels.multiplyAndAdd(rounds: Self.rounds) * threads) / median(times.values["fma"]!.tail) / 1e9
    for part in ["moments", "factor", "search", "feedback", "polish", "measure"] {
      let seconds = times.values[part]!.tail
      let rate = operations[part]! / median(seconds) / 1e9
      print(
        """
        {"workload":"solve","part":"\(part)","matrix":"\(name)","set":"\(kernels)","threads":\(threads),\
        "rows":\(rows),"columns":\(columns),"tokens":\(tokens),"runs":\(options.runs),\
        "ms":\(spread(seconds.map { $0 * 1000 })),"gflop_per_s":\(digits(rate)),"fma_gflop_per_s":\(digits(peak)),\
        "share_of_fma":\(digits(rate / peak))}
        """)
    }
  }
}

extension [Double] {
  /// Without the pass that only warms up.
  fileprivate var tail: [Double] { Array(dropFirst()) }
}
