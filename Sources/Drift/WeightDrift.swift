import Glibc
package import Inspection
package import JSON
import Models
import Storage
import Tensors

/// Level 1: how far the candidate's weights are from the reference's (`Formats/drift-report.md` §5).
package struct WeightDrift: Sendable {
  private struct Part: Sendable {
    let name: String
    let encoding: String
    /// Whether its numbers could not but change.
    let isQuantized: Bool
    let layer: Int?
    let expert: Int?
    let projection: String
    let sums: Sums
  }

  private struct Sums: Sendable {
    var difference = ElementDifference()
    var saturated = 0.0
    var codes = 0

    static func += (sum: inout Sums, other: Sums) {
      sum.difference += other.difference
      sum.saturated += other.saturated
      sum.codes += other.codes
    }

    var members: [(String, JSONValue)] {
      let error = difference.relativeRMSE
      return [
        ("relative_rmse", JSONValue(error)),
        ("sqnr_db", error.map { $0 > 0 ? JSONValue(-20 * Glibc.log10($0)) : .null } ?? .null),
        ("cosine", JSONValue(difference.cosine)),
        ("gain", JSONValue(difference.gain)),
        ("non_finite", JSONValue(difference.nonFiniteCount)), ("max_abs_error", JSONValue(difference.maximumError)),
        ("saturated_share", codes > 0 ? JSONValue(saturated / Double(codes)) : .null),
      ]
    }
  }

  private static let shown = 100
  private var parts: [Part] = []
  private let compared: Int

  /// Whether every tensor holds the same numbers.
  package let isLossless: Bool

  /// - Parameter diff: reference first.
  package init(_ diff: ModelDiff, candidate: InspectedModel) {
    compared = diff.comparedCount
    isLossless =
      diff.numbers.isEmpty && diff.onlyInFirst.isEmpty && diff.onlyInSecond.isEmpty && diff.shapes.isEmpty
      && diff.incomparable.isEmpty
    let tensors = Dictionary(candidate.tensors.map { ($0.name, $0) }) { first, _ in first }
    for numbers in diff.numbers {
      let tensor = tensors[numbers.name]
      let codes = tensor?.saturatedShare == nil ? 0 : tensor?.shape.elementCount ?? 0
      let sums = Sums(
        difference: numbers.difference, saturated: Double(tensor?.saturatedShare ?? 0) * Double(codes), codes: codes)
      parts.append(
        Part(
          name: numbers.name, encoding: "\(numbers.second)", isQuantized: numbers.second.isGrouped,
          layer: tensor?.id?.layer, expert: tensor?.id?.expert, projection: TensorNames.label(of: numbers.name),
          sums: sums))
    }
  }

  /// Relative RMSE of each expert whose numbers differ, by layer and expert.
  package var expertErrors: [Int: [Int: Double]] {
    var errors: [Int: [Int: Double]] = [:]
    for (key, sums) in experts { errors[key.0, default: [:]][key.1] = sums.difference.relativeRMSE ?? 1 }
    return errors
  }

  private var experts: [((Int, Int), Sums)] {
    var order: [[Int]: Sums] = [:]
    for part in parts {
      guard let layer = part.layer, let expert = part.expert else { continue }
      order[[layer, expert], default: Sums()] += part.sums
    }
    return order.sorted { $0.key.lexicographicallyPrecedes($1.key) }.map { (($0.key[0], $0.key[1]), $0.value) }
  }

  package var json: JSONValue {
    let total = parts.reduce(into: Sums()) { $0 += $1.sums }
    let byLayer = grouped { $0.layer.map { $0 } }
    let byProjection = grouped(\.projection)
    let error = { (sums: Sums) in sums.difference.relativeRMSE ?? .greatestFiniteMagnitude }
    let experts = experts
    let largest = { (values: [Double?]) in JSONValue(values.compactMap { $0 }.max() ?? 0) }
    return object(
      [
        ("compared", JSONValue(compared)), ("different", JSONValue(parts.count)),
        ("kept_different", JSONValue(parts.count { !$0.isQuantized })),
        ("worst_expert_rmse", largest(experts.map { $0.1.difference.relativeRMSE })),
        ("worst_gain_error", largest(experts.map { $0.1.difference.gain.map { abs($0 - 1) } })),
      ] + total.members + [
        ("by_layer", .array(byLayer.map { object([("layer", JSONValue($0))] + $1.members) })),
        ("by_projection", .array(byProjection.map { object([("projection", JSONValue($0))] + $1.members) })),
        (
          "experts",
          .array(
            experts.sorted { error($1.1) < error($0.1) }.prefix(Self.shown).map { key, sums in
              object([("layer", JSONValue(key.0)), ("expert", JSONValue(key.1))] + sums.members)
            })
        ),
        (
          "tensors",
          .array(
            parts.prefix(Self.shown).map {
              object([("name", JSONValue($0.name)), ("encoding", JSONValue($0.encoding))] + $0.sums.members)
            })
        ),
      ])
  }

  private func grouped<Key: Hashable & Comparable>(_ key: (Part) -> Key?) -> [(Key, Sums)] {
    var groups: [Key: Sums] = [:]
    for part in parts { if let key = key(part) { groups[key, default: Sums()] += part.sums } }
    return groups.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
  }

  private func object(_ members: [(String, JSONValue)]) -> JSONValue {
    var object = JSONObject()
    for (key, value) in members { object.append(.init(key: key, value: value)) }
    return .object(object)
  }
}
