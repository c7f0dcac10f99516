import JSON
import TestSupport
import Testing

/// `ingot verify --record`, and a record in place of the reference.
@Suite struct RecordTests {
  private let data = ["--prompts", "q.jsonl", "--gen-length", "48", "--mask-ratios", "0.2,0.6,1", "--seed", "5"]

  private func withModels(_ body: (String) throws -> Void) throws {
    try withTemporaryDirectory { directory in
      let packed = try ingot(["quantize", pico, "-o", "p.ingot", "-q"], in: directory)
      #expect(packed.code == 0, "\(packed.err)")
      let lines = String(decoding: try contents(of: pico + "/eval.jsonl"), as: UTF8.self)
        .split(separator: "\n").prefix(9).map(String.init)
      let pair = #"{"prompt": "What is 2 + 3?", "chosen": "2 + 3 = 5", "rejected": "2 + 3 = 7"}"#
      try write(Array((lines + [pair]).joined(separator: "\n").utf8), to: directory + "/q.jsonl")
      try body(directory)
    }
  }

  private func run(_ arguments: [String], in directory: String, code: Int32 = 0) throws -> Command.Result {
    let result = try ingot(["verify"] + arguments, in: directory)
    #expect(result.code == code, "\(arguments): \(result)")
    return result
  }

  /// Two documents, but for what only a model can give.
  private func differences(_ a: JSONValue, _ b: JSONValue, _ path: String = "") -> [String] {
    if ["/cost", "/notes", "/reference", "/layers"].contains(path) || a.isNull || b.isNull { return [] }
    if let a = a.object, let b = b.object {
      guard a.members.map(\.key) == b.members.map(\.key) else { return [path] }
      return zip(a.members, b.members).flatMap { differences($0.value, $1.value, "\(path)/\($0.key)") }
    }
    if let a = a.array, let b = b.array {
      guard a.count == b.count else { return [path] }
      return zip(a, b).flatMap { differences($0, $1, path + "[]") }
    }
    return a == b ? [] : [path]
  }

  /// Paths of nulls, those of arrays once.
  private func nulls(_ value: JSONValue, _ path: String = "") -> Set<String> {
    switch value {
    case .null: [path]
    case .object(let object): Set(object.members.flatMap { nulls($0.value, "\(path)/\($0.key)") })
    case .array(let array): Set(array.flatMap { nulls($0, path + "[]") })
    default: []
    }
  }

  /// Small memory makes batches of few rows, whose products go another way.
  @Test("a record gives the numbers of the model", arguments: ["1MiB", "3MiB", "9MiB", "2GiB"])
  func live(memory: String) throws {
    try withModels { directory in
      let common = ["-q", "--max-memory", memory]
      let levels = ["masked", "trajectories", "tasks"].flatMap { ["--level", $0] }
      let recorded = try run(["--record", "a.record", "-r", pico] + data + common, in: directory)
      #expect(recorded.out.isEmpty && recorded.err.isEmpty)
      let live = JSONValue.object(
        try object(
          try run(
            ["p.ingot", "-r", pico, "--record", "b.record", "--json"] + levels + data + common, in: directory)))
      let other = JSONValue.object(
        try object(try run(["p.ingot", "-r", "a.record", "--json"] + common, in: directory)))
      #expect(differences(live, other) == [])
      #expect(
        nulls(other).subtracting(nulls(live)) == [
          "/route_replay", "/masked/kl_full_mean", "/routing/kl", "/routing/by_layer[]/kl",
          "/routing/by_mask_ratio[]/kl",
        ])
      #expect(nulls(live).subtracting(nulls(other)) == [])
      #expect(other.object?["layers"] == [] && other.object?["reference"]?.object?["kind"] == "record")
      #expect(other.object?["notes"]?.array?.first?.string?.contains("route_replay") == true)
      #expect(try contents(of: directory + "/a.record") == contents(of: directory + "/b.record"))
    }
  }

  @Test func textsThatTheReferenceWroteAreInTheRecord() throws {
    try withModels { directory in
      let few = ["--limit", "3", "--gen-length", "32", "-q"]
      _ = try run(["--record", "a.record", "-r", pico, "--level", "masked"] + few, in: directory)
      let live = try object(try run(["p.ingot", "-r", pico, "--level", "masked", "--json"] + few, in: directory))
      let other = try object(try run(["p.ingot", "-r", "a.record", "--json", "-q"], in: directory))
      #expect(differences(.object(live), .object(other)) == [])
      #expect(other["data"]?.object?["texts"]?.object?["source"] == "generations")
      #expect(other["trajectories"]?.isNull == true && other["tasks"]?.isNull == true)
      #expect(other["notes"]?.array?.contains { $0.string?.contains("no free decoding") == true } == true)
      let refused = try run(["p.ingot", "-r", "a.record", "--level", "tasks"], in: directory, code: 64)
      #expect(refused.err.contains("--level tasks"))
    }
  }

  @Test func theScreenAndThePageKnowRecords() throws {
    try withModels { directory in
      let recorded = try run(["--record", "a.record", "-r", pico] + data, in: directory)
      #expect(recorded.err.contains("committed positions in `a.record`"))
      let shown = try run(
        ["p.ingot", "-r", "a.record", "--gate", "default", "--html", "p.html", "--no-floor", "--no-replay"],
        in: directory)
      #expect(shown.out.contains("record"))
      #expect(exists(directory + "/p.html"))
    }
  }

  @Test func anExistingFileIsReplacedOnlyByForce() throws {
    try withModels { directory in
      let arguments = ["--record", "a.record", "-r", pico, "-q", "--level", "masked", "--limit", "2"] + data
      _ = try run(arguments, in: directory)
      let refused = try run(arguments, in: directory, code: 1)
      #expect(refused.err.contains("exists already") && refused.err.contains("--force"))
      _ = try run(arguments + ["--force"], in: directory)
      #expect(listing(of: directory) == ["a.record", "p.ingot", "q.jsonl"])
    }
  }

  @Test func whatARecordCannotServeIsRefusedByName() throws {
    try withModels { directory in
      _ = try run(["--record", "a.record", "-r", pico, "-q"] + data, in: directory)
      func refuse(_ arguments: [String], _ words: String..., code: Int32 = 64) throws {
        let result = try run(arguments, in: directory, code: code)
        #expect(result.out.isEmpty)
        for word in words { #expect(result.err.contains(word), "\(arguments): \(result.err)") }
      }
      let against = ["p.ingot", "-r", "a.record"]
      try refuse(against + ["--prompts", "q.jsonl"], "--prompts", "a.record")
      try refuse(against + ["--text", "q.jsonl"], "--text")
      try refuse(against + ["--limit", "2"], "--limit")
      try refuse(against + ["--mask-ratios", "0.5"], "--mask-ratios is 0.5", "0.2,0.6,1")
      try refuse(against + ["--block-length", "16"], "--block-length is 16", "32")
      try refuse(against + ["--gen-length", "47"], "--gen-length is 47", "48")
      try refuse(against + ["--steps", "3"], "--steps is 3", "32")
      try refuse(against + ["--threshold", "0.5"], "--threshold is 0.5", "0.95")
      try refuse(against + ["--decoder", "2.1-speed"], "--decoder is 2.1-speed", "2.0")
      try refuse(against + ["--seed", "0"], "--seed is 0", "made with 5")
      try refuse(against + ["--attribute", "layers"], "--attribute", "reference itself")
      try refuse(against + ["--block-lengths", "16"], "--block-lengths", "reference itself")
      try refuse(against + ["--level", "weights"], "--level weights", "reference itself")
      try refuse(against + ["--record", "b.record"], "a record already")
      try refuse(["a.record", "-r", pico], "a record is no model", "--reference a.record")
      // What it was made with may be said again.
      _ = try run(
        against + ["--mask-ratios", "0.20,0.6,1", "--seed", "5", "--block-length", "32", "--level", "masked", "-q"],
        in: directory)

      try refuse(["-r", pico], "nothing to do", "--record")
      try refuse(["-r", pico, "--record", "b", "--json"], "--json")
      try refuse(["-r", pico, "--record", "b", "--attribute", "layers"], "--attribute")
      try refuse(["-r", pico, "--record", "b", "--level", "weights"], "--level weights")
      try refuse(["p.ingot", "-r", pico, "--record", "b", "--html", "b"], "the same file")
      try refuse(["-r", pico, "--record", "q.jsonl", "--force"] + data, "one of the files to be read", code: 1)
      try refuse(["-r", pico, "--record", "."], "a directory", code: 1)
      #expect(listing(of: directory) == ["a.record", "p.ingot", "q.jsonl"])
    }
  }

  @Test func anotherModelIsRefused() throws {
    try withModels { directory in
      try linkPico(to: directory + "/other", file: "tokenizer.json") { $0 + " " }
      _ = try run(["--record", "a.record", "-r", "other", "-q", "--level", "masked"] + data, in: directory)
      let live = try run(["p.ingot", "-r", "other"], in: directory, code: 1)
      let recorded = try run(["p.ingot", "-r", "a.record"], in: directory, code: 1)
      #expect(live.err.contains("cannot be compared: their tokenizer.json differ"))
      #expect(recorded.err == live.err.replacing("`other`", with: "`a.record`"))
    }
  }

  @Test func anotherRotaryBaseIsRefused() throws {
    try withModels { directory in
      let small = ["--limit", "2", "--level", "masked", "-q"]
      _ = try run(["--record", "a.record", "-r", pico, "--raw", "--prompts", "q.jsonl"] + small, in: directory)
      try linkPico(to: directory + "/other", file: "config.json") { text in
        text.replacing("\"rope_theta\": ", with: "\"rope_theta\": 1")
      }
      let refused = try run(["other", "-r", "a.record"], in: directory, code: 1)
      #expect(refused.err.contains("describe different computations, rope_theta: "), "\(refused.err)")
      // That prompts were taken as they are is in the record and in reports from it.
      let report = try object(try run(["p.ingot", "-r", "a.record", "--json", "-q"], in: directory))
      #expect(report["data"]?.object?["raw"] == true)
      let own = try object(try run(["p.ingot", "-r", pico, "--json"] + small, in: directory))
      #expect(own["data"]?.object?["raw"] == false)
    }
  }

  @Test func damageIsRefused() throws {
    try withModels { directory in
      _ = try run(["--record", "a.record", "-r", pico, "-q", "--level", "masked"] + data, in: directory)
      let bytes = try contents(of: directory + "/a.record")
      for count in [100, 3000, bytes.count / 2, bytes.count - 1] {
        try write(Array(bytes[..<count]), to: directory + "/cut")
        let result = try run(["p.ingot", "-r", "cut"], in: directory, code: 4)
        #expect(result.err.contains("cut") && result.err.contains("record"), "\(result.err)")
      }
      for place in [bytes.count / 3, bytes.count - 5] {
        var damaged = bytes
        damaged[place] ^= 4
        try write(damaged, to: directory + "/broken")
        let result = try run(["p.ingot", "-r", "broken"], in: directory, code: 4)
        #expect(result.err.contains("the record is damaged") && result.err.contains("hash differs"))
      }
    }
  }
}
