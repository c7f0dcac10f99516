import Calibration
import Inspection
import JSON
import Models
import Pack
import Tensors
import Text

/// What a pack says of matrices that were solved with states (`Formats/pack.md`, section 7.2).
struct Solutions {
  private let record: SolutionRecord

  /// Nil where a pack has no such file, or one that cannot be read.
  init?(_ model: InspectedModel) {
    guard case .pack(let pack) = model.store, model.files.contains(where: { $0.name == SolutionRecord.fileName }),
      let layers = model.description.layerCount, let experts = model.description.expertCount,
      let bytes = try? pack.file(named: SolutionRecord.fileName),
      let record = SolutionRecord(
        bytes, layers: layers, firstLayer: model.description.denseLayerCount ?? 0, experts: experts)
    else { return nil }
    self.record = record
  }

  /// Of one tensor; nil where the solver had no part in it.
  subscript(_ tensor: StoredTensor) -> SolutionRecord.Matrix? {
    guard let id = tensor.id, id.role == .expert, let layer = id.layer, let expert = id.expert,
      let projection = TensorPart.projections.firstIndex(of: id.part),
      (record.firstLayer..<record.firstLayer + record.layerCount).contains(layer),
      (0..<record.expertCount).contains(expert)
    else { return nil }
    let found = record[layer: layer, expert: expert, projection: projection]
    return found.outcome == .other ? nil : found
  }

  private func coverage(_ tensor: StoredTensor, _ matrix: SolutionRecord.Matrix) -> Double {
    Double(matrix.tokens) / Double(tensor.shape.columns)
  }

  func json(_ tensor: StoredTensor) -> JSONValue {
    guard let matrix = self[tensor] else { return .null }
    return [
      "tokens": JSONValue(Int(matrix.tokens)), "coverage": JSONValue(coverage(tensor, matrix)),
      "shrink": JSONValue(matrix.shrink), "damping": JSONValue(matrix.damping),
      "attempts": JSONValue(Int(matrix.attempts)), "outcome": .string("\(matrix.outcome)"),
      "output_error": JSONValue(matrix.outputError),
    ]
  }

  /// Matrices by what became of them, in a sentence.
  func summary(_ tensors: [StoredTensor]) -> String {
    let outcomes = tensors.compactMap { self[$0]?.outcome }
    let unseen = tensors.count { self[$0]?.tokens == 0 }
    func part(_ outcome: SolutionRecord.Outcome, _ text: String) -> String? {
      let count = outcomes.count { $0 == outcome }
      return count == 0 ? nil : "\(Format.count(count)) \(text)"
    }
    let parts = [
      part(.solved, "matrices solved with states"),
      part(.rounded, "rounded, since no damping made their moments positive definite"),
      part(.withoutStates, "rounded without states"),
      unseen == 0 ? nil : "\(Format.count(unseen)) of experts that saw no token",
    ]
    return parts.compactMap(\.self).joined(separator: "; ") + "; states \(XXH3.text(record.statesHash))"
  }

  static let heading = ["tokens", "n/N", "λ", "shrink", "output error"]

  /// Tokens, n/N, λ, k and output error as they are shown; empty texts where the solver had no part.
  func row(_ tensor: StoredTensor) -> [String] {
    guard let matrix = self[tensor] else { return Self.heading.map { _ in "" } }
    return [
      Format.count(Int(matrix.tokens)), Format.fixed(coverage(tensor, matrix), 2),
      Format.fixed(Double(matrix.damping), 4), Format.fixed(Double(matrix.shrink), 3),
      Format.fixed(Double(matrix.outputError), 5) + (matrix.outcome == .solved ? "" : " (\(matrix.outcome))"),
    ]
  }
}
