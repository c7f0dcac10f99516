import Drift
import Inspection
import JSON
import Models
import Pack

/// What is held to be right: a model that runs, or what one said when it was recorded.
enum VerifyReference {
  case model(RunModel)
  case record(DriftRecord, path: String)

  /// - Parameters:
  ///   - path: a pack, a checkpoint directory or a record.
  ///   - cacheBudget: bytes of unpacked chunks to keep.
  init(path: String, compute: Compute, cacheBudget: Int) throws(Failure) {
    guard DriftRecord.isRecord(path) else {
      self = .model(try RunModel(path: path, compute: compute, cacheBudget: cacheBudget))
      return
    }
    do throws(RecordError) { self = .record(try DriftRecord(path: path), path: path) } catch { throw Failure(error) }
  }

  var model: RunModel? { if case .model(let model) = self { model } else { nil } }
  var record: DriftRecord? { if case .record(let record, _) = self { record } else { nil } }

  /// The model, also of a record.
  func described() throws(Failure) -> DriftRecord.Model {
    switch self {
    case .model(let model): try DriftRecord.Model(model)
    case .record(let record, _): record.model
    }
  }

  /// `reference` of the report.
  func json(_ described: DriftRecord.Model) -> JSONValue {
    switch self {
    case .model(let model): described.json(activations: model.model.compute.activations)
    case .record(_, let path): described.json(path: path, kind: "record", activations: .fp32)
    }
  }

  /// Refuses a candidate that is another model.
  func requireComparable(with candidate: RunModel) throws(Failure) {
    let (own, path, tokenizer): (DriftRecord.Sizes, String, UInt64) =
      switch self {
      case .model(let model): (DriftRecord.Sizes(model.configuration), model.path, try model.tokenizerHash())
      case .record(let record, let path): (record.model.sizes, path, record.model.tokenizerHash)
      }
    let other = DriftRecord.Sizes(candidate.configuration)
    let sizes = [
      ("vocabulary", own.vocabulary, other.vocabulary), ("layers", own.layers, other.layers),
      ("hidden size", own.hidden, other.hidden), ("experts", own.experts, other.experts),
    ]
    for (what, first, second) in sizes where first != second {
      throw Failure(incomparable: "\(what): \(first) and \(second)", path, candidate.path)
    }
    // Of one checkpoint, whatever its weights became, the computation is the same.
    if let model, model.configuration != candidate.configuration {
      throw Failure(incomparable: "their config.json describe different computations", path, candidate.path)
    }
    guard try candidate.tokenizerHash() == tokenizer else {
      throw Failure(incomparable: "their tokenizer.json differ", path, candidate.path)
    }
  }
}

extension RunModel {
  /// XXH3 of `tokenizer.json` as it is stored.
  func tokenizerHash() throws(Failure) -> UInt64 {
    let bytes = try tokenizerBytes()
    return unsafe XXH3.hash(bytes.span.bytes)
  }
}

extension DriftRecord.Model {
  /// Which model it is.
  init(_ model: RunModel) throws(Failure) {
    let identity: ModelIdentity
    do throws(InspectionError) { identity = ModelIdentity(try InspectedModel(model.weights)) } catch {
      throw Failure(error)
    }
    self.init(
      path: identity.path, kind: identity.kind == .pack ? "pack" : "checkpoint", hash: identity.hash,
      byteCount: identity.byteCount, bitsPerWeight: identity.bitsPerWeight, experts: identity.experts,
      tokenizerHash: try model.tokenizerHash(), sizes: DriftRecord.Sizes(model.configuration))
  }

  /// `reference` or `candidate` of the report.
  ///
  /// - Parameters:
  ///   - path: in place of its own, as `kind`: of a record that stands for the model.
  ///   - activations: what its quantized weights were multiplied with.
  ///   - isLossless: of a candidate whose weights were compared.
  func json(
    path: String? = nil, kind: String? = nil, activations: Activations, isLossless: Bool? = nil
  ) -> JSONValue {
    [
      "path": JSONValue(path ?? self.path), "kind": JSONValue(kind ?? self.kind),
      "hash": JSONValue(XXH3.text(hash)), "bytes": JSONValue(byteCount),
      "bits_per_weight": bitsPerWeight.map { JSONValue($0) } ?? .null,
      "experts": .array(experts.map { JSONValue($0) }), "activations": JSONValue(activations.rawValue),
      "lossless": isLossless.map { JSONValue($0) } ?? .null,
    ]
  }
}
