import Drift
import Inspection
import JSON
import Pack
import Text

extension AttachedReport {
  /// The report, or why there is none to be shown; and what of it is not as documented.
  var reading: (report: DriftReport?, problem: String?, leftOut: [JSONTypeError]) {
    guard let document else { return (nil, problem ?? "it is no JSON object", []) }
    return DriftReport.reading(.object(document))
  }
}

extension DriftReport {
  /// A report that anybody may have written, or why it is none; and what of it is not as documented.
  static func reading(_ document: JSONValue) -> (report: DriftReport?, problem: String?, leftOut: [JSONTypeError]) {
    var leftOut: [JSONTypeError] = []
    do throws(DriftReport.ReadingError) {
      return (try DriftReport(json: document) { leftOut.append($0) }, nil, leftOut)
    } catch {
      switch error {
      case .noSchema: return (nil, "it names no schema", [])
      case .schema(let found):
        return (nil, "its schema is `\(found)`, this version knows `\(DriftReport.currentSchema)`", [])
      case .broken(let error): return (nil, "\(error)", [])
      }
    }
  }
}

extension InspectReport {
  /// What the pack's drift report says, in a few lines; empty where there is none.
  var driftTexts: [String] {
    guard let attached = model.report else { return [] }
    let (report, problem, leftOut) = attached.reading
    guard attached.document != nil else { return ["the report cannot be read: \(Shown.text(problem ?? "unknown"))"] }
    guard let report else {
      return ["the report is not shown: \(Shown.text(problem ?? "unknown"))"] + ownership(attached)
    }
    let lines = [verdict(report.verdict), reference(report.reference), divergence(report.masked), decoding(report)]
    return ownership(attached) + lines.compactMap(\.self)
      + leftOut.prefix(1).map { first in
        let more = leftOut.count > 1 ? ", and \(Format.count(leftOut.count - 1)) more" : ""
        return "not as documented: \(Shown.text(first.description, limit: 80))\(more)"
      }
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

  private func verdict(_ verdict: DriftReport.Verdict) -> String {
    let failed = verdict.gates.filter { !$0.passed }
    let count = verdict.gates.count == 1 ? "1 gate" : "\(Format.count(verdict.gates.count)) gates"
    let zero = verdict.zeroDrift ? "; no drift at all, was quantization engaged?" : ""
    switch verdict.status {
    case .pass: return "pass, \(count)\(zero)"
    case .fail:
      let names = failed.prefix(2).map { Shown.text($0.expression, limit: 40) }
      let more = failed.count > names.count ? ", …" : ""
      let list = names.isEmpty ? "" : ": \(names.joined(separator: ", "))\(more)"
      return "fail, \(Format.count(failed.count)) of \(count)\(list)\(zero)"
    case .none: return "measured, no gates\(zero)"
    }
  }

  private func reference(_ model: DriftReport.Model) -> String {
    "against \(Shown.text(model.path, limit: 60)), hash \(Shown.text(model.hash, limit: 20))"
  }

  private func divergence(_ masked: DriftReport.Masked?) -> String? {
    var parts: [String] = []
    if let kl = masked?.kl {
      let interval = kl.ci95.map {
        " (95 %: \(Format.significant($0.lowerBound)) to \(Format.significant($0.upperBound)))"
      }
      parts.append("KL \(Format.significant(kl.mean)) nats\(interval ?? "")")
    }
    if let same = masked?.top1Agreement { parts.append("same top token \(Format.fixed(100 * same.mean, 2)) %") }
    return parts.isEmpty ? nil : parts.joined(separator: ", ")
  }

  private func decoding(_ report: DriftReport) -> String? {
    var parts: [String] = []
    if let change = report.trajectories?.tokensPerForward.change {
      parts.append("tokens per forward \(change > 0 ? "+" : "")\(Format.fixed(100 * change, 1)) %")
    }
    if let tasks = report.tasks {
      parts.append(
        "tasks lost \(Format.count(tasks.lost)), gained \(Format.count(tasks.gained)) of \(Format.count(tasks.prompts))"
      )
    }
    return parts.isEmpty ? nil : parts.joined(separator: ", ")
  }
}
