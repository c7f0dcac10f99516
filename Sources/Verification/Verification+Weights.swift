import Drift
import Inspection
import JSON
import Models

// The weights themselves.

extension Verification {
  /// - Returns: relative errors by layer and expert.
  func weights(
    _ reference: ComparedModel, _ candidate: ComparedModel, _ sections: inout Sections
  ) throws(VerificationError) -> [Int: [Int: Double]] {
    let found = try measured("weights", nil, keep: \.kept, read: ComparedWeights.init) {
      () throws(VerificationError) in try compareWeights(reference, candidate)
    }
    guard let found else { return [:] }
    sections.weights = found.section
    sections.isLossless = found.isLossless
    return found.expertErrors
  }

  private func compareWeights(
    _ reference: ComparedModel, _ candidate: ComparedModel
  ) throws(VerificationError) -> ComparedWeights {
    do throws(InspectionError) {
      let (first, second) = (try InspectedModel(reference.weights), try InspectedModel(candidate.weights))
      let diff = try ModelDiff(
        first, second, threads: reference.model.compute.threads, kernels: reference.model.compute.kernels
      ) { progress.update("weights", Double($0) / Double(max($1, 1))) }
      return ComparedWeights(WeightDrift(diff, candidate: second))
    } catch { throw .inspection(error) }
  }
}

/// What the comparison of weights says.
struct ComparedWeights {
  let section: DriftReport.Weights
  let isLossless: Bool
  let expertErrors: [Int: [Int: Double]]

  init(_ drift: WeightDrift) {
    (section, isLossless, expertErrors) = (drift.section, drift.isLossless, drift.expertErrors)
  }

  var kept: JSONValue {
    [
      "section": JSONValue(encoding: section), "lossless": JSONValue(isLossless),
      "experts": .array(
        expertErrors.sorted { $0.key < $1.key }.flatMap { layer, experts in
          experts.sorted { $0.key < $1.key }.map { [JSONValue(layer), JSONValue($0.key), JSONValue($0.value)] }
        }),
    ]
  }

  init?(kept: JSONValue) {
    do throws(JSONTypeError) {
      guard let object = kept.object, let lossless = object["lossless"]?.bool, let list = object["experts"]?.array
      else { return nil }
      section = try (object["section"] ?? .null).decoded()
      isLossless = lossless
      var errors: [Int: [Int: Double]] = [:]
      for item in list {
        guard let row = item.array, row.count == 3, let layer = row[0].int, let expert = row[1].int,
          let error = row[2].double
        else { return nil }
        errors[layer, default: [:]][expert] = error
      }
      expertErrors = errors
    } catch { return nil }
  }
}
