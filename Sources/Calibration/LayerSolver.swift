package import Kernels
import Models
package import Quantization
import Storage
import Tensors

/// Solves the experts of one layer, each independent of the others: `Formats/solver.md`.
package final class LayerSolver: Sendable {
  package let states: LayerStates
  package let kernels: KernelSet
  /// By expert its rows, ascending, and their ω.
  private let users: [[User]]
  /// For each row, Σ ω over its experts.
  private let rowWeights: [Float]
  private let layer: LayerMoments

  private struct User: Sendable {
    let row: Int32
    let weight: Float
  }

  /// Rows that are brought together at a time.
  private static let piece = 1024

  /// - Parameter threads: that make the moments of the whole layer.
  package init(_ states: LayerStates, _ classes: ClassWeights, expertCount: Int, kernels: KernelSet, threads: Int) {
    self.states = states
    self.kernels = kernels
    var rowWeights = [Float](repeating: 0, count: states.rowCount)
    var users = [[User]](repeating: [], count: expertCount)
    for (expert, rows) in states.users(expertCount: expertCount).enumerated() {
      for (row, router) in rows {
        let weight = ExpertMoments.weight(ofClass: classes[states.classes[row]], router: router)
        users[expert].append(User(row: Int32(row), weight: weight))
        rowWeights[row] += weight  // experts ascending
      }
    }
    self.users = users
    self.rowWeights = rowWeights
    var moments = Moments(columns: states.columns)
    moments.add(states.states.bytes, as: .bf16, weights: rowWeights.span, kernels: kernels, threads: threads)
    layer = moments.share()
  }

  /// Tokens that an expert saw.
  package func tokenCount(of expert: Int) -> Int { users[expert].count }

  /// An expert in full precision.
  package struct Weights {
    /// (rows, columns).
    package let gate: [Float], up: [Float]
    /// (columns, rows).
    package let down: [Float]
    /// Rows of gate and up.
    package let rows: Int

    package init(gate: [Float], up: [Float], down: [Float], rows: Int) {
      (self.gate, self.up, self.down, self.rows) = (gate, up, down, rows)
    }
  }

  /// What the matrices of an expert are solved with.
  package func condition(_ expert: Int, _ weights: Weights) throws(CalibrationError) -> ConditionedExpert {
    var moments = ExpertMoments(columns: states.columns, rows: weights.rows)
    for start in stride(from: 0, to: users[expert].count, by: Self.piece) {
      let part = users[expert][start..<min(start + Self.piece, users[expert].count)]
      let gathered = gather(part.map { Int($0.row) })
      let own = part.map(\.weight)
      moments.add(
        gathered.bytes, as: .bf16, weights: own.span, gate: weights.gate.span, up: weights.up.span, kernels: kernels)
    }
    let isSeen = users[expert].contains { $0.weight > 0 }
    return try moments.condition(layer: layer, emptyInner: isSeen ? nil : unseen(weights), kernels: kernels)
  }

  /// Rows that stand for all of a layer's where an expert has no tokens: all of them would take longer than ten other experts.
  private static let unseenRows = 4096

  /// What down would be fed in an expert without tokens if some of all the layer's went there.
  private func unseen(_ weights: Weights) -> LayerMoments {
    var moments = ExpertMoments(columns: states.columns, rows: weights.rows)
    let step = max(1, (states.rowCount + Self.unseenRows - 1) / Self.unseenRows)
    let rows = Array(stride(from: 0, to: states.rowCount, by: step))
    for start in stride(from: 0, to: rows.count, by: Self.piece) {
      let part = rows[start..<min(start + Self.piece, rows.count)]
      let own = part.map { rowWeights[$0] }
      moments.addInner(
        gather(Array(part)).bytes, as: .bf16, weights: own.span, gate: weights.gate.span, up: weights.up.span,
        kernels: kernels)
    }
    return moments.shareInner()
  }

  /// The masked tokens of an expert that count: their states, bf16, and ω, piece by piece.
  func forEachMaskedPiece(of expert: Int, _ body: (_ states: [UInt8], _ omega: [Float]) -> Void) {
    let own = users[expert].filter {
      $0.weight > 0 && states.classes[Int($0.row)] == StateClass.masked.rawValue
    }
    for start in stride(from: 0, to: own.count, by: Self.piece) {
      let part = own[start..<min(start + Self.piece, own.count)]
      body(gather(part.map { Int($0.row) }), part.map(\.weight))
    }
  }

  /// Rows one after the other, bf16.
  private func gather(_ rows: [Int]) -> [UInt8] {
    let rowByteCount = 2 * states.columns
    var gathered = [UInt8](repeating: 0, count: rows.count * rowByteCount)
    var span = gathered.mutableSpan
    var target = unsafe span.mutableBytes
    let bytes = states.states
    for (place, row) in rows.enumerated() {
      target.write(
        bytes.bytes.extracting(row * rowByteCount..<(row + 1) * rowByteCount), at: place * rowByteCount)
    }
    return gathered
  }

  /// Bytes that solving an expert takes: moments, their packed form and the factor, weights, codes and errors.
  ///
  /// - Parameters:
  ///   - columns, rows: of gate.
  package static func workingByteCount(columns: Int, rows: Int) -> Int {
    let moments = 4 * (4 * columns * columns + 4 * rows * rows)
    let matrices = 3 * columns * rows * (4 + 4 + 1)
    let pieces = piece * (2 * columns + 8 * rows) + 4 * 128 * (4 * max(columns, rows) + 64)
    return moments + matrices + pieces
  }

  /// Bytes beside ``workingByteCount(columns:rows:)`` that telling the damage of levels takes: gate and up at one of them, the
  /// metric of down, what a piece of tokens makes of both, and the users that count.
  package static func damageByteCount(columns: Int, rows: Int, tokens: Int) -> Int {
    8 * columns * rows + 4 * rows * rows + 24 * piece * rows + 16 * tokens
  }
}
