import Kernels
package import Quantization
import Storage
package import Tensors

/// What an expert's matrices would cost at several encodings: `Formats/solver.md`, section 10.
package struct LevelDamage: Sendable {
  /// By projection (gate, up, down) and level: Σ ω |change of the expert's output|²; infinite where the encoding does not
  /// divide the columns, or cannot hold a weight.
  package let damage: [[Double]]
}

extension LayerSolver {
  /// Solves an expert at every level and tells what each matrix alone changes of what the expert says.
  package func damage(
    _ expert: Int, _ weights: Weights, levels: [Encoding], solver: any CalibratedSolver
  ) throws(CalibrationError) -> LevelDamage {
    let conditioned = try condition(expert, weights)
    var solved: [[[Float]?]] = []
    var damage = [[Double]](repeating: levels.map { _ in .infinity }, count: 3)
    for (projection, matrix) in [weights.gate, weights.up, weights.down].enumerated() {
      let moments = projection == 2 ? conditioned.inner : conditioned.outer
      var decoded: [[Float]?] = []
      for (level, encoding) in levels.enumerated() {
        // Down's damage is its error. Of gate and up a draft tells enough, and the polish is two thirds of the work.
        guard let found = solve(matrix, encoding, moments, solver, projection == 2 ? .codes : .draft) else {
          decoded.append(nil)
          continue
        }
        // Without tokens that weigh something nothing is changed; the moments are then those of the layer.
        damage[projection][level] = found.conditioning.tokens > 0 ? found.outputError : 0
        decoded.append(projection == 2 ? nil : found.decoded(groupSize: encoding.groupSize))
      }
      solved.append(decoded)
    }
    let sums = inputDamage(expert, weights, gates: solved[0], ups: solved[1])
    for projection in 0..<2 {
      for level in levels.indices where damage[projection][level].isFinite {
        damage[projection][level] = sums[projection][level]
      }
    }
    return LevelDamage(damage: damage)
  }

  private func solve(
    _ matrix: [Float], _ encoding: Encoding, _ moments: ConditionedMoments, _ solver: any CalibratedSolver,
    _ depth: SolvingDepth
  ) -> CalibratedMatrix? {
    guard encoding.isGrouped, encoding.divides(columns: moments.columns) else { return nil }
    return try? solver.solve(
      matrix.span, rows: matrix.count / moments.columns, as: encoding, moments: moments, depth: depth, threads: 1)
  }

  /// Of gate and up at each level, on the masked tokens, which have nearly all of the weight.
  private func inputDamage(
    _ expert: Int, _ weights: Weights, gates: [[Float]?], ups: [[Float]?]
  ) -> [[Double]] {
    let rows = weights.rows
    // |Wd v|² = v · (Wdᵀ Wd) v
    var metric = [Float](repeating: 0, count: rows * rows)
    let ones = [Float](repeating: 1, count: states.columns)
    unsafe kernels.addMoments(of: weights.down.span.bytes, as: .f32, weights: ones.span, columns: rows, to: &metric)
    KernelSet.mirrorUpper(&metric, columns: rows)
    var sums = [gates.map { _ in 0.0 }, ups.map { _ in 0.0 }]
    forEachMaskedPiece(of: expert) { gathered, omega in
      let product = { (matrix: [Float]) in
        self.kernels.chainedProduct(
          of: gathered.bytes, as: .bf16, tokens: omega.count, with: matrix.span, rows: rows,
          columns: self.states.columns)
      }
      let (gate, up) = (product(weights.gate), product(weights.up))
      var hidden = gate
      kernels.chainedGate(&hidden, up)
      for (projection, levels) in [gates, ups].enumerated() {
        for (level, matrix) in levels.enumerated() {
          guard let matrix else { continue }
          var changed = projection == 0 ? product(matrix) : gate
          kernels.chainedGate(&changed, projection == 0 ? up : product(matrix))
          for i in changed.indices { changed[i] -= hidden[i] }
          sums[projection][level] += energy(changed, metric, omega)
        }
      }
    }
    return sums
  }

  /// Σ ω v · (G v) in binary64.
  private func energy(_ v: [Float], _ metric: [Float], _ omega: [Float]) -> Double {
    let width = v.count / omega.count
    let turned = unsafe kernels.chainedProduct(
      of: v.span.bytes, as: .f32, tokens: omega.count, with: metric.span, rows: width, columns: width)
    var sum = 0.0
    for (token, weight) in omega.enumerated() {
      var own = 0.0
      for i in token * width..<(token + 1) * width { own += Double(v[i]) * Double(turned[i]) }
      sum += Double(weight) * own
    }
    return sum
  }
}

extension CalibratedMatrix {
  /// (rows, columns): what codes and scales stand for.
  fileprivate func decoded(groupSize: Int) -> [Float] {
    var values = [Float](repeating: 0, count: codes.count)
    for (group, scale) in scales.enumerated() {
      for i in group * groupSize..<(group + 1) * groupSize { values[i] = Float(codes[i]) * scale }
    }
    return values
  }
}
