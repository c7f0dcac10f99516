import Calibration
import Kernels
import Models
import Quantization
import Storage
import Tensors
import TestSupport
import Testing

/// What levels are told to cost an expert: `Formats/solver.md`, section 10.
@Suite struct LevelDamageTests {
  private static let levels = ["int4-g128s8", "int4-g64s8", "int4-g32s8", "int4-g16s8", "int8-g64s8"].compactMap {
    Encoding(name: $0)
  }
  private static let layer = 2

  private struct Expert {
    let weights: LayerSolver.Weights
    let columns: Int

    init(_ model: TransformerModel, _ index: Int) throws {
      let own = try model.weights.expert(layer: layer, expert: index)
      let decode = { (matrix: Matrix) in (0..<matrix.rows).flatMap { model.compute.row($0, of: matrix) } }
      weights = LayerSolver.Weights(
        gate: decode(own.gate), up: decode(own.up), down: decode(own.down), rows: own.gate.rows)
      columns = own.gate.columns
    }

    /// Of one state, in binary64.
    func answer(_ z: [Float], gate: [Float], up: [Float]) -> [Double] {
      let hidden = (0..<weights.rows).map { row in
        let (g, u) = (dot(gate, row, z), dot(up, row, z))
        return g / (1 + exponential(-g)) * u
      }
      return (0..<columns).map { row in
        (0..<weights.rows).reduce(0.0) { $0 + Double(weights.down[row * weights.rows + $1]) * hidden[$1] }
      }
    }

    private func dot(_ matrix: [Float], _ row: Int, _ z: [Float]) -> Double {
      z.indices.reduce(0.0) { $0 + Double(matrix[row * columns + $1]) * Double(z[$1]) }
    }

    /// By its series, halved often enough before.
    private func exponential(_ x: Double) -> Double {
      var term = 1.0
      var sum = 1.0
      for n in 1...20 {
        term *= x / 1024 / Double(n)
        sum += term
      }
      for _ in 0..<10 { sum *= sum }
      return sum
    }
  }

  private func withStates(_ body: (TransformerModel, LayerStates) throws -> Void) throws {
    try withTemporaryDirectory { directory in
      let model = try pico()
      try writeStates(model, picoCopies(), to: directory + "/states")
      try body(model, try CalibrationFile(path: directory + "/states").layer(Self.layer))
    }
  }

  private func solver(_ states: LayerStates, kernels: KernelSet = .best) -> LayerSolver {
    LayerSolver(states, ClassWeights(edits: false, isLast: false), expertCount: 16, kernels: kernels, threads: 1)
  }

  private func damage(_ solver: LayerSolver, _ index: Int, _ expert: Expert) throws -> [[Double]] {
    try solver.damage(index, expert.weights, levels: Self.levels, solver: Solvers.standardCalibrated).damage
  }

  @Test("gate and up cost at their least level what the expert then says otherwise on masked tokens")
  func least() throws {
    try withStates { model, states in
      let index = 5
      let expert = try Expert(model, index)
      let solver = solver(states)
      let found = try damage(solver, index, expert)
      let moments = try solver.condition(index, expert.weights).outer
      // 128 columns: int4-g128s8 is the least.
      let gptq = try #require(GPTQ(Self.levels[0]))
      let draft = { (matrix: [Float]) in
        try gptq.draft(matrix.span, rows: expert.weights.rows, moments: moments, hasCodes: true).decoded
      }
      let (gate, up) = (try draft(expert.weights.gate), try draft(expert.weights.up))
      var (ofGate, ofUp) = (0.0, 0.0)
      for (row, router) in states.users(expertCount: 16)[index]
      where states.classes[row] == StateClass.masked.rawValue {
        let z = Self.state(row, of: states)
        let exact = expert.answer(z, gate: expert.weights.gate, up: expert.weights.up)
        let distance = { (answer: [Double]) in zip(answer, exact).reduce(0.0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) } }
        let omega = Double(router) * Double(router)
        ofGate += omega * distance(expert.answer(z, gate: gate, up: expert.weights.up))
        ofUp += omega * distance(expert.answer(z, gate: expert.weights.gate, up: up))
      }
      #expect(ofGate > 0 && abs(found[0][0] / ofGate - 1) < 1e-3)
      #expect(ofUp > 0 && abs(found[1][0] / ofUp - 1) < 1e-3)
    }
  }

  /// Widened.
  private static func state(_ row: Int, of states: LayerStates) -> [Float] {
    let bytes = states.states.bytes
    return (row * states.columns..<(row + 1) * states.columns).map { place in
      unsafe BFloat16.widen(bytes.unsafeLoadUnaligned(fromByteOffset: 2 * place, as: UInt16.self))
    }
  }

  @Test("more bits cost less, other levels as their scales say, and one that does not divide cannot be had")
  func levels() throws {
    try withStates { model, states in
      let solver = solver(states)
      for index in [0, 9] {
        let expert = try Expert(model, index)
        let found = try damage(solver, index, expert)
        let conditioned = try solver.condition(index, expert.weights)
        for (projection, matrix) in [expert.weights.gate, expert.weights.up].enumerated() {
          let expected = try Self.levels.map { level in
            try #require(GPTQ(level)).draft(
              matrix.span, rows: expert.weights.rows, moments: conditioned.outer, hasCodes: false
            ).expectedError(conditioned.outer)
          }
          for level in Self.levels.indices {
            #expect(found[projection][level] == found[projection][0] * (expected[level] / expected[0]))
          }
        }
        // Down has 64 columns.
        #expect(found[2][0] == .infinity)
        for (level, encoding) in Self.levels.enumerated().dropFirst() {
          let draft = try #require(GPTQ(encoding)).draft(
            expert.weights.down.span, rows: expert.columns, moments: conditioned.inner, hasCodes: true)
          #expect(found[2][level] == draft.outputError)
        }
        for matrix in found {
          let own = matrix.filter(\.isFinite)
          #expect(own.allSatisfy { $0 > 0 })
          #expect(own[own.count - 1] < own[0] / 50, "int8 rounds sixteen times as finely")
        }
      }
    }
  }

  @Test("kernels do not change a bit") func kernels() throws {
    try withStates { model, states in
      let expert = try Expert(model, 3)
      let expected = try damage(solver(states, kernels: KernelSet.available[0]), 3, expert)
      for kernels in KernelSet.available.dropFirst() {
        #expect(try damage(solver(states, kernels: kernels), 3, expert) == expected, "\(kernels)")
      }
    }
  }

  @Test("an expert that no token reached costs nothing at any level") func unseen() throws {
    try withStates { model, states in
      let without = LayerStates(
        layer: states.layer, columns: states.columns, slots: states.slots, states: states.states,
        experts: states.experts.map { $0 == 5 ? 6 : $0 }, weights: states.weights, classes: states.classes,
        hash: states.hash)
      let found = try damage(solver(without), 5, try Expert(model, 5))
      #expect(found.allSatisfy { $0.allSatisfy { $0 == 0 || $0 == .infinity } })
    }
  }
}
