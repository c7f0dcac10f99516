import JSON
import Pack
import TestSupport
import Testing

/// What `inspect` shows of a drift report in a pack.
@Suite struct InspectDriftTests {
  private static let report = """
    {"schema": "ingot.drift/1", "ingot": "0.1.0",
     "reference": {"path": "LLaDA2.0-mini", "kind": "checkpoint", "hash": "0123456789abcdef", "bytes": 7,
       "bits_per_weight": 16.0, "experts": ["bf16"], "activations": "fp32", "lossless": null},
     "candidate": {"path": "mini.ingot", "kind": "pack", "hash": "HASH", "bytes": 2, "bits_per_weight": 4.3,
       "experts": ["int4-g64"], "activations": "fp32", "lossless": false},
     "data": {"prompts": {"source": "q", "count": 48, "hash": "1", "with_answers": 48, "with_preferences": 0},
       "texts": {"source": "answers", "count": 48, "tokens": 9, "scored_positions": 8, "hash": "2"}, "seed": 0,
       "mask_ratios": [0.5], "block_length": 32, "steps": 32, "generation_length": 64, "threshold": 0.95,
       "temperature": 0.0, "decoder": "2.0", "editing": null, "stops_early": false, "levels": ["masked"]},
     "verdict": {"status": "fail", "zero_drift": false, "gates": [
       {"expression": "masked.kl.mean > 0.01", "key": "masked.kl.mean", "value": 0.02, "limit": 0.01, "left_out": 0,
        "passed": false},
       {"expression": "masked.kl.p99 > 1.0", "key": "masked.kl.p99", "value": 1, "limit": 1.0, "left_out": 0,
        "passed": true}]},
     "weights": null,
     "masked": {"texts": 48, "states": 60, "positions": 500, "non_finite": 0,
       "kl": {"mean": 0.02137, "ci95": [0.0188, 0.0241], "median": 0, "p90": 0, "p99": 0, "p999": 0, "max": 0},
       "kl_full_mean": null, "top1_agreement": {"mean": 0.9431, "ci95": null}, "top1_probability_change": null,
       "threshold": null, "nll": null, "elbo": null, "by_mask_ratio": [], "by_block": [], "by_confidence": [],
       "histogram": [], "worst": []},
     "layers": [], "routing": null, "preferences": null, "block_lengths": [], "floor": null,
     "trajectories": {"prompts": 48, "identical": null, "same_path": null,
       "first_divergence": {"count": 0, "block": null, "step": null, "mask_ratio": null, "beyond_first_block": null},
       "edit_distance": null, "order_agreement": null, "forwards": {"reference": 3, "candidate": 4, "change": 0.3},
       "tokens_per_forward": {"reference": 3.1, "candidate": 3, "change": -0.0323},
       "stopped": {"reference": 1.0, "candidate": 1.0, "changed": 0.0}, "along_reference": null, "examples": []},
     "tasks": {"prompts": 48, "match": "exact", "reference_correct": null, "candidate_correct": null, "both": 40,
       "neither": 4, "lost": 3, "gained": 1, "p": 0.625, "lost_significantly": 0,
       "truncated": {"reference": 0.0, "candidate": 0.0}, "by_task": []},
     "attribution": null, "route_replay": null, "missing": [], "non_finite": [], "notes": [],
     "cost": {"seconds": 1.5, "by_level": {"masked": 1.0}, "peak_memory": 1, "bytes_read":
       {"reference": 1, "candidate": 1}, "passes": 1, "threads": 2, "kernels": "avx2"}}
    """

  /// The report with other values for some of its keys.
  private static func report(_ changes: [String: JSONValue]) throws -> String {
    var object = JSONObject()
    for member in try JSONParser.parse(report).object?.members ?? [] {
      object.append(.init(key: member.key, value: changes[member.key] ?? member.value))
    }
    return JSONValue.object(object).text()
  }

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
    let report = try Self.report([
      "verdict": ["status": "none", "gates": [], "zero_drift": true], "masked": .null, "trajectories": .null,
      "tasks": .null,
    ])
    let lines = try section(try inspect(report).run)
    #expect(
      lines == [
        "measured, no gates; no drift at all, was quantization engaged?",
        "against LLaDA2.0-mini, hash 0123456789abcdef",
      ])
  }

  @Test func whatIsNotAsDocumentedIsLeftOutAndSaid() throws {
    let lines = try section(try inspect(try Self.report(["masked": 7, "tasks": ["lost": "\u{1B}[31m"]])).run)
    #expect(
      lines == [
        "fail, 1 of 2 gates: masked.kl.mean > 0.01", "against LLaDA2.0-mini, hash 0123456789abcdef",
        "tokens per forward -3.2 %", "not as documented: `masked` is a number, not an object, and 1 more",
      ])
  }

  @Test func aReportAboutAnotherFileIsSaidToBe() throws {
    let (run, hash) = try inspect(Self.report.replacing("HASH", with: "00000000deadbeef"))
    let lines = try section(run)
    #expect(lines[0] == "the report is about another file, 00000000deadbeef; without it this pack is \(hash)")
    #expect(lines.count == 5)
    let nameless = try section(try inspect(#"{"schema": "ingot.drift/1", "masked": 7}"#).run)
    #expect(
      nameless == ["the report is not shown: `ingot` is missing", "the report does not say which file it is about"])
    let other = try section(try inspect(#"{"schema": "ingot.drift/2", "candidate": {"hash": "HASH"}}"#).run)
    #expect(other == ["the report is not shown: its schema is `ingot.drift/2`, this version knows `ingot.drift/1`"])
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
