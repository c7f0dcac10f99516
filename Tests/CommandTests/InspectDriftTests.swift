import JSON
import Pack
import TestSupport
import Testing

/// What `inspect` shows of a drift report in a pack.
@Suite struct InspectDriftTests {
  private static let report = """
    {"schema": "ingot.drift/1", "ingot": "0.1.0",
     "reference": {"path": "LLaDA2.0-mini", "kind": "checkpoint", "hash": "0123456789abcdef"},
     "candidate": {"path": "mini.ingot", "hash": "HASH"},
     "verdict": {"status": "fail", "zero_drift": false, "gates": [
       {"expression": "masked.kl.mean > 0.01", "passed": false}, {"expression": "masked.kl.p99 > 1.0", "passed": true}]},
     "weights": null,
     "masked": {"kl": {"mean": 0.02137, "ci95": [0.0188, 0.0241]}, "top1_agreement": {"mean": 0.9431, "ci95": null}},
     "trajectories": {"tokens_per_forward": {"reference": 3.1, "candidate": 3, "change": -0.0323}},
     "tasks": {"prompts": 48, "lost": 3, "gained": 1}}
    """

  /// Packs pico, attaches a report with the pack's root hash in the place of `HASH`, and inspects.
  private func inspect(_ report: String, _ options: String...) throws -> (run: Run, hash: String) {
    try withTemporaryDirectory { directory in
      let pack = directory + "/pico.ingot"
      let made = try ingot("quantize", pico, "-o", pack, "-q")
      try #require(made.status == 0, "\(made.stderr)")
      let amendment = try PackAmendment(path: pack)
      let hash = XXH3.text(amendment.rootHash)
      try amendment.attach(Array(report.replacing("HASH", with: hash).utf8))
      let check = try ingot("inspect", pack, "--check", "-q")
      #expect(check.status == 0, "\(check.stdout)")
      let result = try ingot(["inspect", pack] + options, in: directory)
      return (Run(status: result.code, stdout: result.out, stderr: result.err), hash)
    }
  }

  /// The lines of the summary that belong to `drift`.
  private func section(_ run: Run) throws -> [String] {
    #expect(run.status == 0 && run.stderr == "")
    let lines = run.stdout.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    let start = try #require(lines.firstIndex { $0.hasPrefix("drift ") }, "\(run.stdout)")
    let rest = lines[(start + 1)...].prefix { $0.hasPrefix("     ") }
    return ([lines[start]] + rest).map { String($0.dropFirst(13)) }
  }

  @Test func theSummaryHasTheReport() throws {
    let lines = try section(try inspect(Self.report).run)
    #expect(
      lines == [
        "fail, 1 of 2 gates: masked.kl.mean > 0.01", "against LLaDA2.0-mini, hash 0123456789abcdef",
        "KL 0.02137 nats (95 %: 0.01880 to 0.02410), same top token 94.31 %",
        "tokens per forward -3.2 %, tasks lost 3, gained 1 of 48",
      ])
    #expect(lines.allSatisfy { $0.count <= 97 })
  }

  @Test func whatWasNotMeasuredIsLeftOut() throws {
    let report = """
      {"schema": "ingot.drift/1", "candidate": {"hash": "HASH"}, "reference": {"path": "R", "hash": null},
       "verdict": {"status": "none", "gates": [], "zero_drift": true}, "masked": null, "trajectories": null, "tasks": null}
      """
    let lines = try section(try inspect(report).run)
    #expect(lines == ["measured, no gates; no drift at all, was quantization engaged?", "against R"])
  }

  @Test func aReportAboutAnotherFileIsSaidToBe() throws {
    let (run, hash) = try inspect(Self.report.replacing("HASH", with: "00000000deadbeef"))
    let lines = try section(run)
    #expect(lines[0] == "the report is about another file, 00000000deadbeef; without it this pack is \(hash)")
    #expect(lines.count == 5)
    let nameless = try section(try inspect(#"{"schema": "ingot.drift/1", "masked": 7}"#).run)
    #expect(nameless == ["the report does not say which file it is about"])
  }

  @Test(
    "a report that makes no sense neither crashes nor steers the terminal",
    arguments: [
      "not JSON", "[]", "{}", #"{"schema": "\u001b[31m"}"#, String(repeating: "{\"a\":", count: 5_000),
      #"{"schema": "ingot.drift/1", "candidate": {"hash": "\u001b]0;x\u0007"}, "reference": {"path": "\u001b[2J"}}"#,
      """
      {"schema": "ingot.drift/1", "verdict": {"status": "fail", "gates": [null, 1, {"passed": false, "expression": "\\u009b"}]},
       "masked": {"kl": {"mean": 1e999, "ci95": [-1e999, 1e400]}, "top1_agreement": {"mean": -1e300}},
       "trajectories": {"tokens_per_forward": {"change": 1e308}},
       "tasks": {"lost": -9223372036854775808, "gained": 9223372036854775807, "prompts": 99999999999999999999}}
      """,
    ])
  func nonsense(report: String) throws {
    let (run, _) = try inspect(report)
    let lines = try section(run)
    #expect(!lines.isEmpty && !run.stdout.contains("\u{1B}") && !run.stdout.contains("\u{9B}"))
  }

  @Test func theJSONHasTheDocument() throws {
    let (run, hash) = try inspect(Self.report, "--json")
    let object = try #require(try JSONParser.parse(run.stdout).object)
    #expect(object["drift_report"] == (try JSONParser.parse(Self.report.replacing("HASH", with: hash))))
    let file = try #require(object["file"]?.object)
    #expect(file["root_hash_without_report"]?.string == hash && file["root_hash"]?.string != hash)
    let broken = try #require(try JSONParser.parse(try inspect("no", "--json").run.stdout).object)
    #expect(broken["drift_report"] == .null)
    let checkpoint = try #require(try JSONParser.parse(try ingot("inspect", pico, "--json").stdout).object)
    #expect(checkpoint["drift_report"] == .null && checkpoint["file"]?.object?["root_hash_without_report"] == .null)
  }
}
