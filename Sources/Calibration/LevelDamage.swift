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
  /// Tells what each matrix of an expert alone would change of what the expert says, at every level.
  ///
  /// Down's damage is the error of its drafted codes. Gate and up are followed to the output at the least level that they can have;
  /// the damage of their other levels is estimated from the scales.
  package func damage(
    _ expert: Int, _ weights: Weights, levels: [Encoding], solver: any CalibratedSolver
  ) throws(CalibrationError) -> LevelDamage {
    let conditioned = try condition(expert, weights)
    let gate = drafts(weights.gate, levels, conditioned.outer, solver)
    let up = drafts(weights.up, levels, conditioned.outer, solver)
    let measured = inputDamage(expert, weights, gate: gate.least, up: up.least)
    // Without tokens that weigh something nothing is changed; the moments are then those of the layer.
    let isSeen = conditioned.inner.conditioning.tokens > 0
    let down = levels.map { level in
      let error = draft(weights.down, level, conditioned.inner, solver, hasCodes: true)?.outputError
      return error.map { isSeen ? $0 : 0 } ?? .infinity
    }
    return LevelDamage(damage: [scaled(gate.errors, to: measured.gate), scaled(up.errors, to: measured.up), down])
  }

  /// What a matrix is at the least level that it can have, and by level what it is expected to lose, in a measure of its own; nil
  /// where it cannot have the level.
  private func drafts(
    _ matrix: [Float], _ levels: [Encoding], _ moments: ConditionedMoments, _ solver: any CalibratedSolver
  ) -> (least: [Float]?, errors: [Double?]) {
    var least: [Float]?
    let errors = levels.map { level -> Double? in
      let draft = draft(matrix, level, moments, solver, hasCodes: least == nil)
      least = least ?? draft?.decoded
      return draft?.expectedError(moments)
    }
    return (least, errors)
  }

  private func draft(
    _ matrix: [Float], _ level: Encoding, _ moments: ConditionedMoments, _ solver: any CalibratedSolver, hasCodes: Bool
  ) -> MatrixDraft? {
    guard level.isGrouped, level.divides(columns: moments.columns) else { return nil }
    return try? solver.draft(
      matrix.span, rows: matrix.count / moments.columns, as: level, moments: moments, hasCodes: hasCodes)
  }

  /// The damage of every level, that of the least being known.
  private func scaled(_ expected: [Double?], to damage: Double) -> [Double] {
    let least = expected.lazy.compactMap { $0 }.first ?? 0
    return expected.map { $0.map { least > 0 ? damage * ($0 / least) : damage } ?? .infinity }
  }

  /// Σ ω |change of the expert's output|² where gate or up is another, on the masked tokens, which have nearly all of the
  /// weight.
  private func inputDamage(
    _ expert: Int, _ weights: Weights, gate changedGate: [Float]?, up changedUp: [Float]?
  ) -> (gate: Double, up: Double) {
    let rows = weights.rows
    // |Wd v|² = v · (Wdᵀ Wd) v
    var metric = [Float](repeating: 0, count: rows * rows)
    let ones = [Float](repeating: 1, count: states.columns)
    unsafe kernels.addMoments(of: weights.down.span.bytes, as: .f32, weights: ones.span, columns: rows, to: &metric)
    KernelSet.mirrorUpper(&metric, columns: rows)
    var sums = (gate: 0.0, up: 0.0)
    forEachMaskedPiece(of: expert) { gathered, omega in
      let product = { (matrix: [Float]) in
        self.kernels.chainedProduct(
          of: gathered.bytes, as: .bf16, tokens: omega.count, with: matrix.span, rows: rows,
          columns: self.states.columns)
      }
      let (gate, up) = (product(weights.gate), product(weights.up))
      var hidden = gate
      kernels.chainedGate(&hidden, up)
      let change = { (gate: [Float], up: [Float]) in
        var changed = gate
        self.kernels.chainedGate(&changed, up)
        for i in changed.indices { changed[i] -= hidden[i] }
        return self.energy(changed, metric, omega)
      }
      if let changedGate { sums.gate += change(product(changedGate), up) }
      if let changedUp { sums.up += change(gate, product(changedUp)) }
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
