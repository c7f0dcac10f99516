package import Drift
import Models

/// What is held to be right: a model that runs, or what one said when it was recorded.
package enum VerificationReference {
  case model(ComparedModel)
  case record(DriftRecord, path: String)

  package var model: ComparedModel? { if case .model(let model) = self { model } else { nil } }
  package var record: DriftRecord? { if case .record(let record, _) = self { record } else { nil } }

  /// Where the model or the record is.
  var path: String {
    switch self {
    case .model(let model): model.path
    case .record(_, let path): path
    }
  }

  /// The model, also of a record.
  func described() throws(VerificationError) -> DriftRecord.Model {
    switch self {
    case .model(let model): try DriftRecord.Model(model)
    case .record(let record, _): record.model
    }
  }

  /// `reference` of the report.
  func section(_ described: DriftRecord.Model) -> DriftReport.Model {
    switch self {
    case .model(let model): .init(described, running: model)
    case .record(_, let path): .init(described, path: path, kind: "record", running: nil)
    }
  }

  /// Refuses a candidate that is another model.
  package func requireComparable(with candidate: ComparedModel) throws(VerificationError) {
    func refuse(_ difference: String) -> VerificationError {
      .incomparable(difference, reference: path, candidate: candidate.path)
    }
    let (own, tokenizer): (DriftRecord.Sizes, UInt64) =
      switch self {
      case .model(let model): (DriftRecord.Sizes(model.configuration), model.tokenizerHash)
      case .record(let record, _): (record.model.sizes, record.model.tokenizerHash)
      }
    let other = DriftRecord.Sizes(candidate.configuration)
    let sizes = [
      ("vocabulary", own.vocabulary, other.vocabulary), ("layers", own.layers, other.layers),
      ("hidden size", own.hidden, other.hidden), ("experts", own.experts, other.experts),
    ]
    for (what, first, second) in sizes where first != second { throw refuse("\(what): \(first) and \(second)") }
    if let computation = record?.model.computation,
      let difference = computation.difference(to: DriftRecord.Computation(candidate.configuration))
    {
      throw refuse("their config.json describe different computations, \(difference)")
    }
    // Of one checkpoint, whatever its weights became, the computation is the same.
    if let model, !model.configuration.computes(as: candidate.configuration) {
      throw refuse("their config.json describe different computations")
    }
    guard candidate.tokenizerHash == tokenizer else { throw refuse("their tokenizer.json differ") }
  }
}
