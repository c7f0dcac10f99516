import Calibration
import Dispatch
import Kernels
import Models
import Pack
import Quantization
import Safetensors
import Storage
import Tensors

// Routed experts that are solved with the states that they were fed.

extension Converter {
  /// Gives each layer's states and what solves its experts; nil where none of them is solved.
  func eachLayer(
    of states: any StateSource, in layers: Range<Int>? = nil,
    _ body: (LayerStates, LayerSolver?) throws(ConversionError) -> Void
  ) throws(ConversionError) {
    let document = states.document
    let solved = Set(plan.pack.chunks.filter { $0.kind == .expert && plan.needsStates($0) }.map(\.layer))
    var failure: ConversionError?
    do throws(StateError) {
      try states.forEachLayer(in: layers ?? document.layers) { layer in
        do throws(ConversionError) {
          let classes = ClassWeights(edits: document.edits, isLast: layer.layer == document.layers.upperBound - 1)
          let solver =
            solved.contains(layer.layer)
            ? LayerSolver(
              layer, classes, expertCount: document.sizes.experts, kernels: kernels, threads: threads) : nil
          try body(layer, solver)
          return true
        } catch {
          failure = error
          return false
        }
      }
    } catch { throw failure ?? .states(error) }
    if let failure { throw failure }
  }

  /// A matrix as a pack holds it.
  struct SolvedMatrix: Sendable {
    let codes: [UInt8]
    let scales: [UInt8]
    let statistics: QuantizationStatistics
    let record: SolutionRecord.Matrix
  }

  /// Solves the matrices of an expert that are to be solved; nil for those that are not, and for a chunk that is no expert.
  func solve(_ index: Int, _ solver: LayerSolver) throws(ConversionError) -> [SolvedMatrix?]? {
    let chunk = plan.pack.chunks[index]
    guard chunk.kind == .expert, plan.needsStates(chunk) else { return nil }
    encoders.wait()
    defer { encoders.signal() }
    let parts = parts(of: index)
    let weights = try weights(of: index)
    let conditioned: ConditionedExpert
    do throws(CalibrationError) { conditioned = try solver.condition(chunk.expert, weights) } catch {
      guard case .statesNotFinite(let column) = error else { preconditionFailure("weights were looked at") }
      throw .statesNotFinite(layer: chunk.layer, expert: chunk.expert, column: column)
    }
    let tokens = solver.tokenCount(of: chunk.expert)
    var solved: [SolvedMatrix?] = []
    for (position, part) in parts.enumerated() {
      let encoding = part.tensor.encoding
      guard let own = part.solver as? any CalibratedSolver, encoding.isGrouped else {
        solved.append(nil)
        continue
      }
      let values = [weights.gate, weights.up, weights.down][position]
      do throws(CalibrationError) {
        let matrix = try own.solve(
          values.span, rows: part.tensor.shape.rows, as: encoding,
          moments: position == 2 ? conditioned.inner : conditioned.outer, threads: 1)
        solved.append(
          SolvedMatrix(
            codes: matrix.codePlane(bits: encoding.codeBits), scales: matrix.scalePlane,
            statistics: matrix.statistics, record: .init(matrix, tokens: tokens)))
      } catch {
        switch error {
        case .scaleTooLarge(let element):
          let (row, column, byteOffset) = place(of: element, in: part)
          throw .tooLarge(
            tensor: part.tensor.name, row: row, column: column, path: part.file.path, byteOffset: byteOffset)
        case .weightNotFinite(let element): throw notFinite(part, element)
        case .statesNotFinite: preconditionFailure("states were looked at")
        }
      }
    }
    return solved
  }

  /// An expert in full precision.
  func weights(of index: Int) throws(ConversionError) -> LayerSolver.Weights {
    let parts = parts(of: index)
    return LayerSolver.Weights(
      gate: try widened(parts[0]), up: try widened(parts[1]), down: try widened(parts[2]),
      rows: parts[0].tensor.shape.rows)
  }

  private func widened(_ part: Part) throws(ConversionError) -> [Float] {
    guard let format = FloatFormat(part.dtype) else { preconditionFailure("the store checked its types") }
    var values = [Float](repeating: 0, count: part.tensor.shape.elementCount)
    try forEachPiece(of: part, unit: 1, wasResident: part.file.isCached(part.range)) {
      (source, first) throws(ConversionError) in
      if let element = Quantizer.firstNotFinite(source, dtype: part.dtype, kernels: kernels) {
        throw notFinite(part, first + element)
      }
      var all = values.mutableSpan
      var own = all._mutatingExtracting(first..<first + source.byteCount / part.dtype.byteCount)
      kernels.widen(source, source: format, into: &own)
    }
    return values
  }
}
