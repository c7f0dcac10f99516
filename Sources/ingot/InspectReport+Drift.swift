import Inspection
import JSON
import Pack
import Text

extension InspectReport {
  /// What the pack's drift report says, in a few lines; empty where there is none.
  var driftTexts: [String] {
    guard let report = model.report else { return [] }
    guard let document = report.document else {
      return ["the report cannot be read: \(Shown.text(report.problem ?? "unknown"))"]
    }
    if let problem = report.problem { return ["the report is not shown: \(Shown.text(problem))"] + ownership(report) }
    let drift = JSONValue.object(document)
    let lines = [verdict(drift), reference(drift), divergence(drift), decoding(drift)].compactMap(\.self)
    return ownership(report) + lines
  }

  /// A report about another file comes first: its numbers are then not this pack's.
  private func ownership(_ report: AttachedReport) -> [String] {
    guard !report.isAboutThisPack else { return [] }
    guard let named = report.namedHash else { return ["the report does not say which file it is about"] }
    return [
      "the report is about another file, \(Shown.text(named, limit: 20)); "
        + "without it this pack is \(XXH3.text(report.rootHash))"
    ]
  }

  private func verdict(_ drift: JSONValue) -> String? {
    guard let verdict = drift.member("verdict"), let status = verdict.member("status")?.string else { return nil }
    let gates = verdict.member("gates")?.array ?? []
    let failed = gates.filter { $0.member("passed")?.bool == false }
    let count = gates.count == 1 ? "1 gate" : "\(Format.count(gates.count)) gates"
    let zero = verdict.member("zero_drift")?.bool == true ? "; no drift at all, was quantization engaged?" : ""
    switch status {
    case "pass": return "pass, \(count)\(zero)"
    case "fail":
      let names = failed.prefix(2).compactMap { $0.member("expression")?.string.map { Shown.text($0, limit: 40) } }
      let more = failed.count > names.count ? ", …" : ""
      let list = names.isEmpty ? "" : ": \(names.joined(separator: ", "))\(more)"
      return "fail, \(Format.count(failed.count)) of \(count)\(list)\(zero)"
    default: return "measured, no gates\(zero)"
    }
  }

  private func reference(_ drift: JSONValue) -> String? {
    guard let path = drift.member("reference", "path")?.string else { return nil }
    let hash = drift.member("reference", "hash")?.string.map { ", hash \(Shown.text($0, limit: 20))" } ?? ""
    return "against \(Shown.text(path, limit: 60))\(hash)"
  }

  private func divergence(_ drift: JSONValue) -> String? {
    var parts: [String] = []
    if let kl = drift.member("masked", "kl"), let mean = kl.member("mean")?.double {
      let ends = kl.member("ci95")?.array?.compactMap(\.double) ?? []
      let interval =
        ends.count == 2 ? " (95 %: \(Format.significant(ends[0])) to \(Format.significant(ends[1])))" : ""
      parts.append("KL \(Format.significant(mean)) nats\(interval)")
    }
    if let share = drift.member("masked", "top1_agreement", "mean")?.double {
      parts.append("same top token \(Format.fixed(100 * share, 2)) %")
    }
    return parts.isEmpty ? nil : parts.joined(separator: ", ")
  }

  private func decoding(_ drift: JSONValue) -> String? {
    var parts: [String] = []
    let change = drift.member("trajectories", "tokens_per_forward", "change")
    if let change = change?.double ?? change?.member("mean")?.double {
      parts.append("tokens per forward \(change > 0 ? "+" : "")\(Format.fixed(100 * change, 1)) %")
    }
    if let lost = drift.member("tasks", "lost")?.int, let gained = drift.member("tasks", "gained")?.int {
      let all = drift.member("tasks", "prompts")?.int.map { " of \(Format.count($0))" } ?? ""
      parts.append("tasks lost \(Format.count(lost)), gained \(Format.count(gained))\(all)")
    }
    return parts.isEmpty ? nil : parts.joined(separator: ", ")
  }
}

extension JSONValue {
  /// What stands under these keys, one within the other; nil where something else is there.
  fileprivate func member(_ keys: String...) -> JSONValue? {
    keys.reduce(Optional(self)) { value, key in value?.object?[key] }
  }
}
