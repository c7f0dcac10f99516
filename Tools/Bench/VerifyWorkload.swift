import Drift
import Models
import Storage
import Tensors

/// Full-precision scoring of a checkpoint, and of a candidate beside it where one is given, layer by layer, each weight read
/// once: what `verify` does.
///
/// The limit is the longer of reading the files and of multiplying as fast as OpenBLAS does large matrices.
struct VerifyWorkload {
  private let options: Options

  init(_ options: Options) { self.options = options }

  func run(_ path: String) throws {
    let files = try CommandWorkload.files(in: path) + (options.against.map { [try MappedFile(path: $0)] } ?? [])
    let byteCount = files.reduce(0) { $0 + $1.byteCount }
    let limits = Limits(mebibytes: 64)
    var times: [Double] = []
    var reads: [Double] = []
    var rates: [Double] = []
    var shape = Shape()
    for round in 0..<options.runs {
      rates.append(try limits.multiplying())
      // By turns which comes first: a host may keep what its guest has dropped.
      for isScoring in [round % 2 == 0, round % 2 != 0] {
        if options.isCold { for file in files { file.release(0..<file.byteCount) } }
        if isScoring {
          let start = now()
          shape = try score(path)
          times.append(now() - start)
        } else {
          reads.append(try limits.transfer(write: 0, beside: path, read: files))
        }
      }
    }
    let (time, read, rate) = (median(times), median(reads), median(rates))
    let multiplying = 2 * shape.products / rate
    print(
      "{\"workload\":\"verify\",\"model\":\"\(path)\",\"cache\":\"\(options.isCold ? "cold" : "warm")\","
        + "\"candidate\":\"\(options.against ?? "")\",\"texts\":\(options.texts),\"length\":\(options.length),\"rows\":\(shape.rows),\"scored\":\(shape.scored),\"passes\":\(shape.passes),\"bytes\":\(byteCount),"
        + "\"runs\":\(options.runs),\"s\":\(spread(times)),\"read_s\":\(spread(reads)),"
        + "\"blas_gflop_per_s\":\(spread(rates.map { $0 / 1e9 })),\"blas_s\":\(digits(multiplying)),"
        + "\"gb_per_s\":\(digits(Double(byteCount) / time / 1e9)),"
        + "\"gflop_per_s\":\(digits(2 * shape.products / time / 1e9)),"
        + "\"share_of_limit\":\(digits(max(read, multiplying) / time))}")
  }

  private struct Shape {
    var rows = 0
    var scored = 0
    /// Times that each weight was read.
    var passes = 0
    /// Multiplications of weights with activations.
    var products = 0.0
  }

  /// Random tokens, half of each block masked.
  private func score(_ path: String) throws -> Shape {
    let weights = try StoredWeights(path: path)
    let compute = Compute(threads: 2)
    let model = try TransformerModel(weights, compute: compute)
    let candidate = try options.against.map { try StoredWeights(path: $0) }
    let lanes = try candidate.map {
      [(role: ScoredRun.Role.candidate, lane: Lane(try TransformerModel($0, compute: compute)))]
    }
    let c = model.configuration
    var random = Tokens(vocabulary: c.vocabularySize)
    let texts = (0..<options.texts).map { _ in
      ScoredText(tokens: random.next(options.length), scored: 0..<options.length, blockLength: 32, fill: nil)
    }
    let plan = MaskPlan(ratios: [0.5], blockLength: 32, mask: 0, seed: 1)
    let scoring = Scoring(texts, plan: plan)
    let result = try ScoredRun(scoring, memory: 12 << 30).run(reference: model, lanes: lanes ?? [], keepsScores: true)
    var shape = Shape()
    shape.passes = result.passes
    shape.scored = scoring.positionCount
    shape.rows = scoring.states.reduce(0) { $0 + $1.tokens.count } + options.texts * (options.length - 32)
    let all: [any WeightSource] = [weights] + (candidate.map { [$0] } ?? [])
    shape.products = all.reduce(0) { $0 + $1.multiplications(rows: shape.rows, headRows: shape.scored) }
    return shape
  }
}
