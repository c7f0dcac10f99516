import Calibration
import Conversion
import Kernels
import Models
import Pack
import Quantization
import Storage
import Tensors
import TestSupport
import Testing

@Suite struct CalibratedPackTests {
  /// Converts pico with states; gives the pack's bytes.
  private func packed(
    _ states: any StateSource, experts: String = "int4-g32s8", _ overrides: [Recipe.Rule] = [],
    kernels: KernelSet = .best, threads: Int = 2, memoryLimit: Int = 1 << 30, compression: Compression = .none,
    in directory: String
  ) throws -> (bytes: [UInt8], outcome: Converter.Outcome) {
    var options = ConversionPlan.Options()
    guard let choice = Recipe.Choice(name: experts) else { throw TestFailure("no encoding \(experts)") }
    options.recipe = Recipe(experts: choice, rest: .keep, overrides: overrides)
    options.calibration = states.document
    options.compression = compression
    options.tool = "ingot test"
    let plan = try ConversionPlan(checkpoint: Trained.checkpoint("pico"), options: options)
    let converter = try Converter(
      plan, kernels: kernels, threads: threads, memoryLimit: memoryLimit, statesHeld: states.heldByteCount)
    let path = directory + "/out.ingot"
    let outcome = try converter.write(to: path, states: states, progress: { _ in }, isInterrupted: { false })
    #expect(outcome.byteCount == plan.rawByteCount || compression != .none)
    return (try TestSupport.contents(of: path), outcome)
  }

  private func withFile<Result>(_ body: (String, CalibrationFile) throws -> Result) throws -> Result {
    try withTemporaryDirectory { directory in
      try writeStates(try pico(), picoCopies(), to: directory + "/states")
      return try body(directory, try CalibrationFile(path: directory + "/states"))
    }
  }

  @Test("threads, kernels and memory do not change a bit, nor does whether a file was between")
  func determinism() throws {
    try withFile { directory, file in
      let expected = try packed(file, in: directory).bytes
      for kernels in KernelSet.available {
        for threads in [1, 2, 7] {
          let found = try packed(file, kernels: kernels, threads: threads, in: directory).bytes
          #expect(found == expected, "\(kernels), \(threads) threads")
        }
      }
      #expect(try packed(file, threads: 1, memoryLimit: 40 << 20, in: directory).bytes == expected)
      for threads in [1, 2, 7] {
        let model = try pico(threads: threads)
        let copies = picoCopies()
        let live = LiveStates(document(model, copies), model, copies)
        #expect(try packed(live, threads: threads, in: directory).bytes == expected, "\(threads) threads, one pass")
      }
    }
  }

  @Test(
    "what a pack decodes to is what the solver says", arguments: ["int4-g64", "int4-g16s8", "int4-g32s8", "int8-g64s8"])
  func decoded(experts: String) throws {
    try withFile { directory, file in
      let (_, outcome) = try packed(file, experts: experts, in: directory)
      let pack = try PackFile(path: directory + "/out.ingot")
      let check = try PackCheck(path: directory + "/out.ingot").run(threads: 2) { _ in }
      #expect(check.violations.isEmpty, "\(check.violations)")
      let record = try #require(outcome.solutions)
      let model = try pico()
      #expect(
        SolutionRecord(
          try pack.file(named: SolutionRecord.fileName), layers: 4, firstLayer: 1, experts: 16) == record)
      let states = try file.layer(2)
      let solver = LayerSolver(
        states, ClassWeights(edits: false, isLast: false), expertCount: 16, kernels: .best, threads: 1)
      let weights = try StoredWeights(path: directory + "/out.ingot", cacheBudget: 0)
      let encoding = try #require(Encoding(name: experts))
      for expert in [0, 9] {
        let own = try model.weights.expert(layer: 2, expert: expert)
        let decode = { (matrix: Matrix) in (0..<matrix.rows).flatMap { model.compute.row($0, of: matrix) } }
        let (gate, up, down) = (decode(own.gate), decode(own.up), decode(own.down))
        let conditioned = try solver.condition(
          expert, .init(gate: gate, up: up, down: down, rows: own.gate.rows))
        let gptq = try #require(GPTQ(encoding))
        let stored = try weights.expert(layer: 2, expert: expert)
        for (projection, (source, rows, matrix)) in [
          (gate, own.gate.rows, stored.gate), (up, own.up.rows, stored.up), (down, own.down.rows, stored.down),
        ].enumerated() {
          let moments = projection == 2 ? conditioned.inner : conditioned.outer
          let solved = try gptq.solve(source.span, rows: rows, moments: moments)
          let values = solved.codes.indices.map { Float(solved.codes[$0]) * solved.scales[$0 / encoding.groupSize] }
          #expect(decode(matrix) == values)
          let found = record[layer: 2, expert: expert, projection: projection]
          #expect(found == .init(solved, tokens: solver.tokenCount(of: expert)))
          #expect(found.outcome == .solved && found.tokens > 0 && found.outputError > 0)
        }
      }
    }
  }

  @Test("rules name solvers; what is not a routed expert has no states")
  func rules() throws {
    try withFile { directory, file in
      let rules = [
        Recipe.Rule(match: "experts\\.3\\.up", choice: .encode(Encoding(name: "int8-g32")!), solver: "search"),
        Recipe.Rule(match: "experts\\.4\\.down", choice: .keep),
      ]
      let record = try #require(try packed(file, rules, in: directory).outcome.solutions)
      for layer in 1...3 {
        #expect(record[layer: layer, expert: 3, projection: 1].outcome == .other)
        #expect(record[layer: layer, expert: 4, projection: 2].outcome == .other)
        #expect(record[layer: layer, expert: 3, projection: 0].outcome == .solved)
      }
      let refused = [Recipe.Rule(match: "lm_head", choice: .encode(Encoding(name: "int8-g32")!), solver: "gptq")]
      #expect(throws: ConversionError.self) { try packed(file, refused, in: directory) }
    }
    var options = ConversionPlan.Options()
    options.recipe.overrides = [
      .init(match: "experts", choice: .standardExperts, solver: "gptq")
    ]
    #expect(throws: ConversionError.self) {
      try ConversionPlan(checkpoint: Trained.checkpoint("pico"), options: options)
    }
  }

  // MARK: What is missing or bad

  /// Changes the layers of a file.
  private struct Changed: StateSource {
    let base: CalibrationFile
    let change: (LayerStates) -> LayerStates
    var document: CalibrationDocument { base.document }
    var heldByteCount: Int { 0 }
    func forEachLayer(in layers: Range<Int>, _ body: (LayerStates) -> Bool) throws(StateError) {
      try base.forEachLayer(in: layers) { body(change($0)) }
    }
  }

  private static func copy(
    _ x: LayerStates, states: SharedBytes? = nil, experts: [Int32]? = nil, classes: [UInt8]? = nil
  ) -> LayerStates {
    LayerStates(
      layer: x.layer, columns: x.columns, slots: x.slots, states: states ?? x.states, experts: experts ?? x.experts,
      weights: x.weights, classes: classes ?? x.classes, hash: x.hash)
  }

  @Test("an expert that saw no token takes what its layer's tokens would have fed it")
  func emptyExpert() throws {
    try withFile { directory, file in
      let states = Changed(base: file) { Self.copy($0, experts: $0.experts.map { $0 == 5 ? 6 : $0 }) }
      let record = try #require(try packed(states, in: directory).outcome.solutions)
      for projection in 0..<3 {
        let found = record[layer: 1, expert: 5, projection: projection]
        #expect(found.tokens == 0 && found.outcome == .solved && found.shrink == 1 && found.damping == 0.1)
        #expect(found.outputError > 0 && found.outputError < 0.1)
        #expect(record[layer: 1, expert: 4, projection: projection].tokens > 0)
      }
    }
  }

  @Test("a layer of whose tokens none counts is rounded without states, and says so")
  func emptyLayer() throws {
    try withFile { directory, file in
      // In the last layer only masked tokens count.
      let states = Changed(base: file) { Self.copy($0, classes: $0.classes.map { _ in 0 }) }
      let record = try #require(try packed(states, in: directory).outcome.solutions)
      for expert in 0..<16 {
        for projection in 0..<3 {
          #expect(record[layer: 3, expert: expert, projection: projection].outcome == .withoutStates)
          #expect(record[layer: 2, expert: expert, projection: projection].outcome == .solved)
        }
      }
    }
  }

  @Test("states that overflow are an error with a place, and nothing is written")
  func badStates() throws {
    try withFile { directory, file in
      for bits: UInt16 in [0x7FC0, 0x7F80, 0x7F00] {
        let states = Changed(base: file) { x in
          var bytes = x.states.bytes.array
          if x.layer == 2 {
            for row in 0..<x.rowCount {
              (bytes[2 * (row * x.columns + 17)], bytes[2 * (row * x.columns + 17) + 1]) = (
                UInt8(bits & 0xFF), UInt8(bits >> 8)
              )
            }
          }
          var buffer = AlignedBuffer(byteCount: bytes.count)
          var target = buffer.mutableBytes
          target.write(bytes.bytes, at: 0)
          return Self.copy(x, states: SharedBytes(buffer))
        }
        do {
          _ = try packed(states, threads: 1, in: directory)
          Issue.record("accepted")
        } catch ConversionError.statesNotFinite(let layer, _, let column) {
          #expect(layer == 2 && (bits == 0x7FC0 || column == 17 || column == 0))
        }
        #expect(listing(of: directory) == ["states"])
      }
    }
  }

  @Test("states of another shape are refused before any work")
  func otherModel() throws {
    try withTemporaryDirectory { directory in
      let tiny = TinyCheckpoint()
      try tiny.write(to: directory)
      try writeStates(try pico(), picoCopies([someTexts()[2]]), to: directory + "/states")
      var options = ConversionPlan.Options()
      options.recipe = Recipe(experts: .encode(Encoding(name: "int4-g32")!), rest: .keep)
      options.calibration = try CalibrationFile(path: directory + "/states").document
      #expect(throws: ConversionError.self) { try ConversionPlan(checkpoint: directory, options: options) }
    }
  }
}
