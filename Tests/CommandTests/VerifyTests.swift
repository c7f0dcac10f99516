import Glibc
import JSON
import Safetensors
import Storage
import Tensors
import TestSupport
import Testing

/// `ingot verify` on the trained checkpoint.
@Suite struct VerifyTests {
  private func verify(
    _ candidate: String, _ arguments: [String], in directory: String, code: Int32 = 0
  ) throws -> JSONValue {
    let result = try ingot(
      ["verify", candidate, "--reference", pico, "--prompts", pico + "/eval.jsonl", "--limit", "24", "--json", "-q"]
        + arguments, in: directory)
    #expect(result.code == code, "\(result.err)")
    #expect(result.err.isEmpty)
    let bytes = Array(result.out.utf8)
    return try unsafe JSONParser.parse(bytes.span.bytes)
  }

  private func quantize(_ source: String, to path: String, _ experts: String, in directory: String) throws {
    let result = try ingot(["quantize", source, "-o", path, "-q", "--experts", experts], in: directory)
    #expect(result.code == 0, "\(result.err)")
  }

  private func value(_ document: JSONValue, _ path: String) -> JSONValue? {
    var value: JSONValue? = document
    for key in path.split(separator: ".") {
      if let index = Int(key) { value = value?.array?[index] } else { value = value?.object?[String(key)] }
    }
    return value
  }

  private func number(_ document: JSONValue, _ path: String) -> Double {
    value(document, path)?.double ?? .nan
  }

  @Test func twoRunsGiveTheSameReport() throws {
    try withTemporaryDirectory { directory in
      try quantize(pico, to: "p.ingot", "int4-g64", in: directory)
      let options = ["--attribute", "projections", "--block-lengths", "8", "--gen-length", "16"]
      let first = try verify("p.ingot", options, in: directory)
      let second = try verify("p.ingot", options, in: directory)
      for member in first.object?.members ?? [] where member.key != "cost" {
        #expect(second.object?[member.key] == member.value, "\(member.key)")
      }
      #expect(number(first, "masked.kl.mean") > 0 && number(first, "floor.kl_ratio") > 1)
      #expect(value(first, "data.texts.source") == "answers" && value(first, "tasks.prompts") == 24)
      #expect(value(first, "verdict.status") == "none")
    }
  }

  @Test func weightsAreRoundedAsEnginesDoWhereThatIsAskedFor() throws {
    try withTemporaryDirectory { directory in
      let options = ["--no-floor", "--no-replay"]
      var drifts: [[Double]] = []
      for (experts, isSame) in [("keep", true), ("int8-g32", false)] {
        try quantize(pico, to: "p.ingot", experts, in: directory)
        let exact = try verify("p.ingot", options, in: directory)
        let rounded = try verify("p.ingot", options + ["--arithmetic", "bf16-weights"], in: directory)
        #expect(value(exact, "candidate.arithmetic") == "fp32" && value(rounded, "reference.arithmetic") == "fp32")
        #expect(value(rounded, "candidate.arithmetic") == "bf16-weights")
        #expect(value(exact, "weights") == value(rounded, "weights"))
        #expect((value(exact, "masked") == value(rounded, "masked")) == isSame)
        drifts.append([number(exact, "masked.kl.mean"), number(rounded, "masked.kl.mean")])
        #expect(unsafe unlink(directory + "/p.ingot") == 0)
      }
      #expect(drifts[0] == [0, 0] && drifts[1].allSatisfy { $0 > 0 }, "\(drifts)")
      let refused = try ingot(
        ["verify", pico, "--reference", pico, "--arithmetic", "bf16-weights", "--activations", "int8"], in: directory)
      #expect(refused.code == 64 && refused.err.contains("--arithmetic"), "\(refused)")
    }
  }

  @Test func moreBitsDriftLess() throws {
    try withTemporaryDirectory { directory in
      var drifts: [Double] = []
      for experts in ["int8-g32", "int4-g32"] {
        try quantize(pico, to: experts + ".ingot", experts, in: directory)
        drifts.append(
          number(
            try verify(experts + ".ingot", ["--level", "masked", "--no-floor", "--no-replay"], in: directory),
            "masked.kl.mean"))
      }
      #expect(drifts[0] > 0 && drifts[1] > 10 * drifts[0], "\(drifts)")
    }
  }

  @Test func theOtherCandidateIsMeasuredAtTheSamePositions() throws {
    try withTemporaryDirectory { directory in
      for experts in ["int8-g32", "int4-g64"] { try quantize(pico, to: experts, experts, in: directory) }
      let levels = ["--level", "masked", "--level", "trajectories", "--no-floor", "--no-replay"]
      let both = try verify("int8-g32", ["--versus", "int4-g64"] + levels, in: directory)
      let other = try verify("int4-g64", levels, in: directory)
      for (key, path) in [
        ("kl", "masked.kl.mean"), ("kl_p99", "masked.kl.p99"), ("kl_trimmed", "masked.robust.trimmed.mean"),
        ("top1_agreement", "masked.top1_agreement.mean"), ("routing_changed", "routing.changed.mean"),
        ("same_decision", "trajectories.along_reference.same_decision.mean"),
      ] {
        let near = { (x: Double, y: Double) in abs(x - y) <= 1e-9 * abs(y) }
        #expect(near(number(both, "versus.\(key).candidate"), number(both, path)), "\(key)")
        #expect(near(number(both, "versus.\(key).versus"), number(other, path)), "\(key)")
      }
      #expect(number(both, "versus.kl.ratio") < 0.1 && number(both, "versus.kl.ci95.1") < 0.1)
      #expect(number(both, "versus.kl_geometric.smaller") == number(both, "versus.kl_geometric.texts"))
      #expect(value(both, "versus.model.path") == "int4-g64" && value(other, "versus") == .null)
      // A record serves both as the model does, and is no candidate.
      let record = ["--record", "a.record", "-r", pico, "--prompts", pico + "/eval.jsonl", "--limit", "24", "-q"]
      #expect(try ingot(["verify"] + record, in: directory).code == 0)
      let recorded = try ingot(
        ["verify", "int8-g32", "--versus", "int4-g64", "-r", "a.record", "--json", "-q"], in: directory)
      let bytes = Array(recorded.out.utf8)
      #expect(value(try unsafe JSONParser.parse(bytes.span.bytes), "versus.kl") == value(both, "versus.kl"))
      let refused = try ingot(["verify", "int8-g32", "--versus", "a.record", "-r", pico], in: directory)
      #expect(refused.code == 64 && refused.err.contains("a record is no model"))
    }
  }

  @Test func aLosslessCandidateDoesNotDrift() throws {
    try withTemporaryDirectory { directory in
      try quantize(pico, to: "p.ingot", "keep", in: directory)
      let report = try verify("p.ingot", ["--gate", "default"], in: directory)
      #expect(value(report, "candidate.lossless") == true && value(report, "verdict.zero_drift") == false)
      #expect(number(report, "masked.kl.max") == 0 && number(report, "trajectories.identical.mean") == 1)
      #expect(number(report, "routing.changed.mean") == 0 && number(report, "tasks.lost") == 0)
      #expect(value(report, "verdict.status") == "pass")
    }
  }

  @Test func rejectedAnswersCountInTheirMarginOnly() throws {
    try withTemporaryDirectory { directory in
      try quantize(pico, to: "p.ingot", "int4-g64", in: directory)
      let chosen = #""prompt": "What is the capital of Egypt?", "chosen": "The capital of Egypt is Cairo.""#
      for (name, rejected) in [("a", "It is Rome."), ("b", "zzz qqq xxx 123")] {
        try write(Array("{\(chosen), \"rejected\": \"\(rejected)\"}\n".utf8), to: directory + "/" + name)
      }
      let reports = try ["a", "b"].map { name in
        let result = try ingot(
          ["verify", "p.ingot", "-r", pico, "--prompts", name, "--level", "masked", "--json", "-q"], in: directory)
        let bytes = Array(result.out.utf8)
        return try unsafe JSONParser.parse(bytes.span.bytes)
      }
      for path in [
        "masked.kl.mean", "masked.kl_full_mean", "masked.positions", "layers.4.relative_error", "routing.changed.mean",
        "masked.by_mask_ratio.0.routing_changed.mean",
      ] {
        // Products of other numbers of rows round in their own way.
        let (a, b) = (number(reports[0], path), number(reports[1], path))
        #expect(abs(a - b) <= 1e-3 * abs(a) + 1e-9, "\(path): \(a) \(b)")
      }
      #expect(
        number(reports[0], "preferences.margin.reference") != number(reports[1], "preferences.margin.reference"))
    }
  }

  @Test func aGateThatFailsStillWritesTheReport() throws {
    try withTemporaryDirectory { directory in
      try quantize(pico, to: "p.ingot", "int4-g64", in: directory)
      let report = try verify(
        "p.ingot",
        [
          "--level", "masked", "--gate", "masked.kl.ci95[1] > 1e-9", "--gate", "masked.kl.mean > 5", "--html",
          "p.html",
        ],
        in: directory, code: 3)
      #expect(value(report, "verdict.status") == "fail")
      #expect(value(report, "verdict.gates.0.passed") == false && value(report, "verdict.gates.1.passed") == true)
      #expect(try String(decoding: contents(of: directory + "/p.html"), as: UTF8.self).contains("masked.kl.ci95"))
    }
  }

  @Test func aTextThatWouldTakeMoreMemoryIsNotBegun() throws {
    try withTemporaryDirectory { directory in
      for (name, count) in [("long", 120_000), ("huge", 400_000)] {
        try write(
          Array(String(repeating: "The cat sat on the mat.\n", count: count / 24).utf8), to: "\(directory)/\(name)")
        let arguments = ["verify", pico, "-r", pico, "--text", name, "--level", "masked", "--max-memory", "8MiB", "-q"]
        let result = try ingot(arguments, in: directory)
        #expect(result.code == 5 && result.out.isEmpty, "\(result)")
        #expect(result.err.contains("`\(name)`") && result.err.contains("--max-memory to at least"), "\(result.err)")
      }
    }
  }

  // MARK: Damage on purpose

  /// What is done to the checkpoint that the candidate is made from.
  struct Damage: Sendable, CustomTestStringConvertible {
    let testDescription: String
    /// The gate of the preset that must fail.
    let gate: String
    /// The part that attribution must name first, of layers and of experts.
    let layer: String
    let expert: String?
    /// Elements of the tensors whose names have one of these beginnings.
    let tensors: [String]
    /// Gets the bf16 (or f32) words of the tensors, in the order of `tensors`.
    let change: @Sendable (inout [[UInt8]]) -> Void
  }

  static let damages: [Damage] = [
    Damage(
      testDescription: "one expert's codes shuffled", gate: "weights.worst_expert_rmse", layer: "layer 2",
      expert: "layer 2 expert 3",
      tensors: ["model.layers.2.mlp.experts.3.up_proj", "model.layers.2.mlp.experts.3.gate_proj"]
    ) { tensors in
      // Each group of 32 turned round: the same codes and scale, elsewhere.
      for index in tensors.indices {
        for group in stride(from: 0, to: tensors[index].count, by: 64) {
          let turned = stride(from: 62, through: 0, by: -2).flatMap { tensors[index][group + $0...group + $0 + 1] }
          tensors[index].replaceSubrange(group..<group + 64, with: turned)
        }
      }
    },
    Damage(
      testDescription: "one layer's scales × 1.05", gate: "weights.worst_gain_error", layer: "layer 3", expert: nil,
      tensors: ["model.layers.3.mlp.experts."]
    ) { tensors in
      for index in tensors.indices {
        tensors[index] = floats(tensors[index], as: .bf16).flatMap { elementBytes($0 * 1.05, as: .bf16) }
      }
    },
    Damage(
      testDescription: "router bias dropped", gate: "weights.kept_different", layer: "layer 2", expert: nil,
      tensors: ["model.layers.2.mlp.gate.expert_bias"]
    ) { tensors in
      for index in tensors.indices { tensors[index] = Array(repeating: 0, count: tensors[index].count) }
    },
    Damage(
      testDescription: "two experts swapped", gate: "weights.worst_expert_rmse", layer: "layer 1",
      expert: "layer 1 expert ", tensors: ["model.layers.1.mlp.experts.0.", "model.layers.1.mlp.experts.1."]
    ) { tensors in
      // Three projections each, of the same shapes in the same order.
      for index in 0..<3 { tensors.swapAt(index, index + 3) }
    },
  ]

  @Test("damage is found and located", arguments: damages)
  func damage(_ damage: Damage) throws {
    try withTemporaryDirectory { directory in
      try spoil(damage, to: directory + "/broken")
      try quantize("broken", to: "broken.ingot", "int8-g32", in: directory)
      let levels = ["--level", "weights", "--level", "masked", "--no-floor", "--gate", "default", "--limit", "6"]
      let byLayer = try verify("broken.ingot", levels + ["--attribute", "layers"], in: directory, code: 3)
      let failed = (value(byLayer, "verdict.gates")?.array ?? []).filter { $0.object?["passed"] == false }
      #expect(failed.contains { $0.object?["key"]?.string == damage.gate }, "\(failed)")
      #expect(value(byLayer, "attribution.parts.0.part")?.string == damage.layer)
      #expect(number(byLayer, "attribution.parts.0.share") > 0.5)
      guard let expert = damage.expert else { return }
      let byExpert = try verify("broken.ingot", levels + ["--attribute", "experts"], in: directory, code: 3)
      #expect(value(byExpert, "attribution.parts.0.part")?.string?.hasPrefix(expert) ?? false)
      let worst =
        "layer \(Int(number(byExpert, "weights.experts.0.layer"))) expert "
        + "\(Int(number(byExpert, "weights.experts.0.expert")))"
      #expect(worst.hasPrefix(expert))
    }
  }

  /// Copies the checkpoint and changes some tensors in place.
  private func spoil(_ damage: Damage, to copy: String) throws {
    let copied = try Command(shell: "cp -rL '\(pico)' '\(copy)' && chmod -R u+w '\(copy)'", in: "/tmp").wait()
    #expect(copied.code == 0)
    var files: [String: [UInt8]] = [:]
    var places: [(file: String, range: Range<Int>)] = []
    let shards = listing(of: copy).filter { $0.hasSuffix(".safetensors") }.sorted()
    let headers = try shards.map { try SafetensorsFile(path: copy + "/" + $0) }
    for prefix in damage.tensors {
      let before = places.count
      for (shard, header) in zip(shards, headers) {
        for entry in header.tensors.sorted(by: { $0.name < $1.name }) where entry.name.hasPrefix(prefix) {
          places.append((shard, entry.byteRange))
        }
      }
      #expect(places.count > before, "\(prefix)")
    }
    for shard in shards { files[shard] = try contents(of: copy + "/" + shard) }
    var tensors = places.map { place in Array(files[place.file]![place.range]) }
    damage.change(&tensors)
    for (place, bytes) in zip(places, tensors) { files[place.file]!.replaceSubrange(place.range, with: bytes) }
    for shard in shards { try write(files[shard]!, to: copy + "/" + shard) }
  }

  // MARK: Refusals

  @Test("what cannot be compared is refused before any work")
  func refusals() throws {
    try withTemporaryDirectory { directory in
      try write(Array("{\"prompt\": \"a\"}\n{\"prompt\": 3}\n".utf8), to: directory + "/bad.jsonl")
      try write(Array("{\"prompt\": \"a\", \"chosen\": \"b\"}\n".utf8), to: directory + "/half.jsonl")
      try write([], to: directory + "/empty.jsonl")
      let long = String(repeating: "word ", count: 5000)
      try write(Array("{\"prompt\": \"a\"}\n\n{\"prompt\": \"\(long)\"}\n".utf8), to: directory + "/long.jsonl")
      var tiny = TinyCheckpoint()
      tiny.vocabulary = 40
      try makeDirectory(directory + "/tiny")
      try tiny.write(to: directory + "/tiny")
      let cases: [([String], Int32, String)] = [
        (["--prompts", "bad.jsonl"], 1, "line 2 `prompt` is a number, not a string"),
        (["--prompts", "long.jsonl"], 1, "`long.jsonl`, line 3"),
        (["--prompts", "half.jsonl"], 1, "a pair needs both"),
        (["--prompts", "empty.jsonl"], 1, "holds no prompts"),
        (["--prompts", "none.jsonl"], 1, "none.jsonl"), (["--text", "empty.jsonl"], 1, "no text to be scored"),
        (["--mask-ratios", "0.5,0.5"], 64, "twice"), (["--level", "weights", "--attribute", "layers"], 64, "masked"),
        (["--block-lengths", "8192"], 64, "4096 positions"), (["--html", "none/p.html"], 1, "none"),
        (["--gate", "masked.kl"], 64, "masked.kl"), (["--fail-if", "a > b"], 64, "--gate 'masked.kl.mean > 0.03'"),
        (["--versus", pico, "--level", "weights"], 64, "--versus"), (["--versus", "none"], 1, "none"),
        (["--gate", "strict"], 64, "strict"),
        (["--mask-ratios", "0,0.5"], 64, "--mask-ratios"),
        (["--block-lengths", "0"], 64, "--block-lengths"),
        (["--level", "speed"], 64, "speed"),
        (["--block-length", "0"], 64, "block length"),
      ]
      for (arguments, code, message) in cases {
        let result = try ingot(["verify", pico, "-r", pico] + arguments, in: directory)
        #expect(result.code == code, "\(arguments) \(result.code) \(result.err)")
        #expect(result.err.contains(message) && result.out.isEmpty, "\(arguments): \(result.err)")
      }
      let unlike = try ingot(["verify", "tiny", "-r", pico], in: directory)
      #expect(unlike.code == 1 && !unlike.err.isEmpty)
    }
  }
}
