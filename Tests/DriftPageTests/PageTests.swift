import Drift
import DriftPage
import JSON
import Testing

@Suite struct PageTests {
  static let charts = [
    "kl-by-mask-ratio", "kl-histogram", "kl-by-confidence", "kl-by-block", "kl-by-block-length", "hidden-by-layer",
    "routing-by-layer", "attribution", "weights-by-layer", "weights-by-projection",
  ]

  @Test func aFullReportHasEveryPart() throws {
    let page = DriftPage.html(SyntheticReport.full())
    try Tags.check(page)
    for id in Self.charts + [
      "gates", "versus", "predictions", "worst", "inside", "decoding", "tasks", "weights", "provenance", "numbers",
      "route-replay",
      "example-1", "example-2", "document",
    ] {
      #expect(page.contains("id=\"\(id)\""), "\(id)")
    }
    #expect(page.ranges(of: "class=\"tile\"").count == 12)
    #expect(page.ranges(of: "<svg ").count == Self.charts.count)
    #expect(page.ranges(of: "<desc ").count == Self.charts.count)
  }

  @Test func aReportOfNothingIsAPageToo() throws {
    let page = DriftPage.html(SyntheticReport.minimal())
    try Tags.check(page)
    let visible = page.replacing(embedded(page), with: "")
    #expect(!visible.contains("null"))
    #expect(!visible.contains("<svg"))
    #expect(visible.contains("Measured, not judged"))
  }

  /// Each section alone: none leans on another.
  @Test func everySectionStandsAlone() throws {
    for member in SyntheticReport.full().json.object?.members ?? [] {
      let document = SyntheticReport.minimalDocument().replacing([member.key: member.value])
      try Tags.check(DriftPage.html(SyntheticReport.report(document)))
    }
  }

  /// And none leans on any one of its own keys.
  @Test func everyKeyMayBeMissing() throws {
    let full = SyntheticReport.full().json
    var count = 0
    for section in full.object?.members ?? [] where !["reference", "candidate", "data", "cost"].contains(section.key) {
      for member in section.value.object?.members ?? [] {
        let part = section.value.replacing([member.key: .null])
        guard let report = try? DriftReport(json: full.replacing([section.key: part])) else { continue }
        try Tags.check(DriftPage.html(report))
        count += 1
      }
    }
    #expect(count > 60)
  }

  @Test func whatPredictsTheNextTokenHasNoMasks() throws {
    let full = SyntheticReport.full().json
    let data = try #require(full.object?["data"]).replacing(["decoder": "next-token"])
    let page = DriftPage.html(SyntheticReport.report(full.replacing(["data": data])))
    try Tags.check(page)
    for part in ["kl-by-mask-ratio", "masked share", "masked token", "of the block", "above τ", "ELBO, "] {
      #expect(!page.contains(part), "\(part)")
    }
    for part in ["loss, difference", "First divergence: token 1 of the answer, position 69."] {
      #expect(page.contains(part), "\(part)")
    }
  }

  @Test func everyNumberIsOnThePage() {
    let report = SyntheticReport.full()
    let page = DriftPage.html(report)
    let visible = page.replacing(embedded(page), with: "")
    // Cut where numbers end, so that 0.1 is not found in 0.12.
    let words = Set(visible.split { !($0.isNumber || ".-+e".contains($0)) }.map(String.init))
    let missing = numbers(report.json).filter { !words.contains($0) }
    #expect(missing.isEmpty)
  }

  @Test func theDocumentComesBackWhole() throws {
    let report = hostile()
    let page = DriftPage.html(report)
    #expect(try JSONParser.parse(embedded(page)) == report.json)
  }

  @Test func hostileTextStaysText() throws {
    let page = DriftPage.html(hostile())
    try Tags.check(page)
    #expect(page.ranges(of: "<script").count == 2)
    #expect(page.ranges(of: "</script>").count == 2)
    for part in ["<img", "<b onclick", "\u{202E}", "\u{0}", "\u{1B}", "\u{2028}", "onload=\"", "<!--", "]]>"] {
      let isThere = page.contains(part)
      #expect(!isThere, "\(part)")
    }
    #expect(page.contains(#"\u{202e}"#))
  }

  // MARK: Helpers

  /// Every text of the full report, but for the schema and the verdict's word, replaced by one that would break a careless page.
  private func hostile() -> DriftReport {
    let text =
      "</script><script>alert(1)</script><img src=x onload=\"y\">'<b onclick=x>&amp;\u{202E}\u{0}\u{1B}[2J\u{2028}<!--]]>"
    return SyntheticReport.report(replaced(SyntheticReport.full().json, by: text))
  }

  private func replaced(_ value: JSONValue, by text: String) -> JSONValue {
    switch value {
    case .string: return .string(text)
    case .array(let elements): return .array(elements.map { replaced($0, by: text) })
    case .object(let object):
      var result = JSONObject()
      for member in object.members {
        let isKept = member.key == "schema" || member.key == "status"
        result.append(.init(key: member.key, value: isKept ? member.value : replaced(member.value, by: text)))
      }
      return .object(result)
    default: return value
    }
  }

  private func numbers(_ value: JSONValue) -> [String] {
    switch value {
    case .number(let text): [text]
    case .array(let elements): elements.flatMap(numbers)
    case .object(let object): object.members.flatMap { numbers($0.value) }
    default: []
    }
  }

  private func embedded(_ page: String) -> String {
    let opening = "<script type=\"application/json\" id=\"document\">"
    guard let start = page.firstRange(of: opening)?.upperBound else { return "" }
    let rest = page[start...]
    return String(rest[..<(rest.firstRange(of: "</script>")?.lowerBound ?? rest.endIndex)])
  }
}
