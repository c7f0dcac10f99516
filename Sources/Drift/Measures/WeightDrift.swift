import Glibc
package import Inspection
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

    var errors: DriftReport.WeightErrors {
      let error = difference.relativeRMSE
      return DriftReport.WeightErrors(
        relativeRMSE: error, sqnrDB: error.flatMap { $0 > 0 ? -20 * Glibc.log10($0) : nil },
        cosine: difference.cosine, gain: difference.gain, nonFinite: difference.nonFiniteCount,
        maxAbsError: difference.maximumError, saturatedShare: codes > 0 ? saturated / Double(codes) : nil)
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

  package var section: DriftReport.Weights {
    let total = parts.reduce(into: Sums()) { $0 += $1.sums }
    let experts = experts
    let error = { (sums: Sums) in sums.difference.relativeRMSE ?? .greatestFiniteMagnitude }
    let largest = { (values: [Double?]) in values.compactMap { $0 }.max() ?? 0 }
    let counts = DriftReport.WeightCounts(
      compared: compared, different: parts.count, keptDifferent: parts.count { !$0.isQuantized },
      worstExpertRMSE: largest(experts.map { $0.1.difference.relativeRMSE }),
      worstGainError: largest(experts.map { $0.1.difference.gain.map { abs($0 - 1) } }))
    let lists = DriftReport.WeightParts(
      byLayer: grouped(\.layer).map { .init(.init(layer: $0), $1.errors) },
      byProjection: grouped(\.projection).map { .init(.init(projection: $0), $1.errors) },
      experts: experts.sorted { error($1.1) < error($0.1) }.prefix(Self.shown).map { key, sums in
        .init(.init(layer: key.0, expert: key.1), sums.errors)
      },
      tensors: parts.prefix(Self.shown).map { .init(.init(name: $0.name, encoding: $0.encoding), $0.sums.errors) })
    return .init(counts, .init(total.errors, lists))
  }

  private func grouped<Key: Hashable & Comparable>(_ key: (Part) -> Key?) -> [(Key, Sums)] {
    var groups: [Key: Sums] = [:]
    for part in parts { if let key = key(part) { groups[key, default: Sums()] += part.sums } }
    return groups.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
  }
}
