import Drift
import JSON
import Testing

@Suite struct GateTests {
  private let document: JSONValue = [
    "masked": [
      "kl": ["mean": .number("0.0213"), "ci95": [.number("0.019"), .number("0.024")], "p99": .null],
      "top1_agreement": ["mean": .number("0.94")], "worst": [["token": 7]],
    ],
    "routing": .null, "tasks": ["lost_significantly": 0], "layers": [],
  ]

  @Test(arguments: [
    ("masked.kl.mean > 0.03", "masked.kl.mean", ">", 0.03),
    ("  masked.kl.mean>0.03 ", "masked.kl.mean", ">", 0.03),
    ("masked.kl.ci95[1]>=5e-2", "masked.kl.ci95[1]", ">=", 0.05),
    ("a.0.b <= -1", "a.0.b", "<=", -1),
    ("x < 0", "x", "<", 0),
  ])
  func expressionsAreRead(expression: String, key: String, sign: String, limit: Double) throws {
    let gate = try Gate(expression)
    #expect(gate.expression == expression)
    #expect(gate.key == key)
    #expect(gate.comparison.rawValue == sign)
    #expect(gate.limit == limit)
  }

  @Test(arguments: [
    ("", "it has no `<`, `<=`, `>` or `>=`"),
    ("masked.kl.mean", "it has no `<`, `<=`, `>` or `>=`"),
    ("masked.kl.mean == 1", "`==` is no comparison; there are `<`, `<=`, `>` and `>=`"),
    ("a => 1", "`=>` is no comparison; there are `<`, `<=`, `>` and `>=`"),
    ("a != 1", "`!=` is no comparison; there are `<`, `<=`, `>` and `>=`"),
    ("> 1", "nothing stands before `>`"),
    ("a >", "no number stands after `>`"),
    ("a > b", "`b` is no number"),
    ("a > 5%", "`5%` is no number; shares are written 0.05, not 5%"),
    ("a > nan", "`nan` is no number"),
    ("a > inf", "`inf` is no number"),
    ("a > 1 > 2", "`1 > 2` is no number"),
    ("a..b > 1", "`a..b` is no path of keys, such as `masked.kl.ci95[1]`"),
    ("a. > 1", "`a.` is no path of keys, such as `masked.kl.ci95[1]`"),
    ("a[ > 1", "`a[` is no path of keys, such as `masked.kl.ci95[1]`"),
    ("a[x] > 1", "`a[x]` is no path of keys, such as `masked.kl.ci95[1]`"),
    ("a[-1] > 1", "`a[-1]` is no path of keys, such as `masked.kl.ci95[1]`"),
    ("a]0[ > 1", "`a]0[` is no path of keys, such as `masked.kl.ci95[1]`"),
    ("a b > 1", "`a b` is no path of keys, such as `masked.kl.ci95[1]`"),
  ])
  func whatIsNoGateIsRefused(expression: String, reason: String) {
    #expect(throws: GateError(expression: expression, reason: reason)) { try Gate(expression) }
  }

  @Test(arguments: [
    ("masked.kl.mean", "0.0213"), ("masked.kl.ci95[1]", "0.024"), ("masked.kl.ci95.0", "0.019"),
    ("masked.worst[0].token", "7"),
  ])
  func pathsFindValues(path: String, number: String) {
    #expect(DocumentPath(path)?.value(in: document) == .number(number))
  }

  @Test(arguments: [
    "masked.kl.p99", "masked.kl.ci95[2]", "masked.kl.ci95.x", "routing.changed.mean", "nothing",
    "masked.kl.mean.deeper",
    "masked.kl.ci95[99999999999999999999]",
  ])
  func whatIsNotThereIsNil(path: String) throws {
    let path = try #require(DocumentPath(path))
    #expect(path.value(in: document) == nil)
  }

  @Test(arguments: [
    ("masked.kl.mean > 0.03", true), ("masked.kl.mean > 0.02", false), ("masked.kl.mean > 0.0213", true),
    ("masked.kl.mean >= 0.0213", false), ("masked.kl.mean < 0.0213", true), ("masked.kl.mean <= 0.0213", false),
    ("masked.kl.p99 > 1", false), ("routing.changed.mean > 0.3", false), ("masked.kl > 1", false),
    ("tasks.lost_significantly > 0", true),
  ])
  func gatesTellWhenTheyFail(expression: String, passes: Bool) throws {
    #expect(try Gate(expression).passes(document) == passes)
  }

  @Test func aJudgementListsEveryGate() throws {
    let judgement = try Gates(["masked.kl.mean > 0.02", "masked.kl > 1", "tasks.p < 0"]).judge(document)
    #expect(judgement.status == .fail)
    #expect(
      JSONValue(encoding: judgement.gates).text(indented: false)
        == #"[{"expression":"masked.kl.mean > 0.02","key":"masked.kl.mean","value":0.0213,"limit":0.02,"left_out":0,"passed":false},"#
        + #"{"expression":"masked.kl > 1","key":"masked.kl","value":null,"limit":1.0,"left_out":0,"passed":false},"#
        + #"{"expression":"tasks.p < 0","key":"tasks.p","value":null,"limit":0.0,"left_out":0,"passed":false}]"#)
    #expect(
      judgement.notes == [
        "gate `masked.kl > 1` fails because `masked.kl` is an object, not a number; its mean is at `masked.kl.mean`",
        "gate `tasks.p < 0` fails because the report has no number at `tasks.p`",
      ])
  }

  @Test("a number over what is left passes nothing, a number beside it does")
  func whatIsNotFiniteFails() throws {
    let document: JSONValue = [
      "masked": ["non_finite": 39, "kl": ["mean": 0]], "layers": [["non_finite": 0], ["non_finite": 2, "cosine": 1]],
      "trajectories": ["edit_distance": ["mean": 0], "along_reference": ["non_finite": 1, "slots": ["mean": 1]]],
      "non_finite": [["section": "masked"]],
    ]
    for (expression, passes, left) in [
      ("masked.kl.mean > 1", false, 39), ("masked.non_finite > 0", false, 0), ("masked.non_finite > 39", true, 0),
      ("layers[1].cosine < 0.5", false, 2), ("layers[0].non_finite > 0", true, 0),
      ("trajectories.edit_distance.mean > 1", true, 0), ("trajectories.along_reference.slots.mean < 0.5", false, 1),
    ] {
      let judgement = try Gates([expression]).judge(document)
      #expect(judgement.gates[0].passed == passes, "\(expression)")
      #expect(judgement.gates[0].leftOut == left, "\(expression)")
      #expect(judgement.status == .fail, "whatever the gates, the report has a gap")
    }
    #expect(try Gates([]).judge(["non_finite": [["section": "masked"]], "missing": []]).status == .fail)
    #expect(try Gates([]).judge(["non_finite": [], "missing": [["level": "tasks"]]]).status == .fail)
    #expect(try Gates([]).judge(["non_finite": [], "missing": []]).status == .none)
  }

  @Test func withoutGatesThereIsNoVerdict() throws {
    let judgement = try Gates([]).judge(document)
    #expect(judgement.status == .none)
    #expect(judgement.gates.isEmpty && judgement.notes.isEmpty)
  }

  @Test func thePresetLeavesOutWhatWasNotMeasured() throws {
    let judgement = try Gates(["default"]).judge(document)
    #expect(judgement.status == .fail)  // p99 and nll are missing from a section that was measured
    let keys = judgement.gates.map(\.key)
    #expect(
      keys == [
        "masked.non_finite", "masked.kl.mean", "masked.kl.p99", "masked.top1_agreement.mean",
        "masked.nll.difference.mean",
        "tasks.lost_significantly",
      ])
    #expect(
      judgement.notes.last == "gates of the preset left out, because their sections were not measured: "
        + "`weights.non_finite`, `weights.kept_different`, `weights.worst_expert_rmse`, `weights.worst_gain_error`, `routing.changed.mean`, "
        + "`trajectories.tokens_per_forward.change`")
  }

  @Test func aTypedGateTakesThePlaceOfThePresets() throws {
    let gates = try Gates(["masked.kl.mean > 0.2", "default"])
    #expect(gates.preset.count == (Gates.presets["default"]?.count ?? 0) - 1)
    let first = gates.judge(document).gates.last
    #expect(first?.expression == "masked.kl.mean > 0.2")
  }

  @Test func thePresetAloneOfNothingIsNoVerdict() throws {
    let judgement = try Gates(["default"]).judge(["masked": .null])
    #expect(judgement.status == .none)
    #expect(judgement.notes.count == 1)
  }

  @Test("a word is a preset or no gate at all", arguments: ["strict", "masked.kl", "", "defaults"])
  func wordsAreNamesOfPresets(word: String) {
    let reason = "it has no `<`, `<=`, `>` or `>=` and is not the name of a preset (`default`)"
    #expect(throws: GateError(expression: word, reason: reason)) { try Gates([word]) }
  }

  @Test func aPresetNamedTwiceCountsOnce() throws {
    #expect(try Gates(["default", "default"]).preset == Gates(["default"]).preset)
  }
}
