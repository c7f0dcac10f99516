import JSON
import TestSupport
import Testing

/// The options of decoders, for `run` and `verify`.
@Suite struct DecoderOptionTests {
  /// The runs of the published code whose options are no preset's.
  @Test("the published code's runs with options of their own", arguments: ["decode-2.1.json", "decode-2.2.json"])
  func golden(file: String) throws {
    let text = String(decoding: try contents(of: Trained.golden("pico", file)), as: UTF8.self)
    let document = try #require(try JSONParser.parse(text).object)
    let runs = (document["runs"]?.array ?? []).compactMap(\.object).filter { $0["cli"] == .bool(false) }
    #expect(runs.count >= 6)
    for run in runs {
      let variant = document["variants"]?.object?[run["variant"]?.string ?? ""]?.object?["config"]?.object
      try Trained.withVariant(of: "pico", variant ?? JSONObject()) { directory in
        try write(Array((run["prompt_ids"] ?? .null).text().utf8), to: directory + "/ids")
        let options = try #require(run["options"]?.object)
        let named = [
          ("--block-length", "block"), ("--gen-length", "gen"), ("--threshold", "threshold"),
          ("--editing-threshold", "editing_threshold"), ("--steps", "steps"), ("--max-post-steps", "max_post_steps"),
          ("--max-steps", "max_steps"),
        ].compactMap { name, key in options[key].map { [name, $0.text()] } }
        let decoder = variant == nil ? ["--decoder", "2.1-quality"] : []
        let result = try ingot(
          ["run", directory, "--tokens", "ids", "--json", "-q"] + decoder + named.flatMap(\.self), in: directory)
        #expect(result.code == 0, "\(result)")
        let answer = try object(result)
        #expect(answer["tokens"] == run["output_ids"] && answer["forwards"] == run["forwards"], "\(named)")
      }
    }
  }

  @Test("what a decoder does not have is told, by run and by verify")
  func idle() throws {
    try withTemporaryDirectory { directory in
      try write(Array(#"{"prompt": "What is 2 + 3?"}"#.utf8), to: directory + "/q.jsonl")
      let run = ["run", pico, "-p", "What is 2 + 3?", "--gen-length", "8"]
      let verify = ["verify", "-r", pico, "--prompts", "q.jsonl", "--gen-length", "32", "--record", "a.record", "-f"]
      for command in [run, verify] {
        let plain = try ingot(
          command + ["--editing-threshold", "0.5", "--max-post-steps", "3", "--max-steps", "9"], in: directory)
        for option in ["--editing-threshold", "--max-post-steps", "--max-steps"] {
          #expect(plain.err.contains("note: \(option) changes nothing: decoder 2.0 "), "\(plain)")
        }
        let edits = try ingot(
          command + ["--decoder", "2.1-speed", "--stop-early", "--steps", "8", "--max-post-steps", "3"], in: directory)
        #expect(edits.err.contains("note: --stop-early changes nothing"), "\(edits)")
        #expect(edits.err.contains("note: --steps changes nothing") && !edits.err.contains("--max-post-steps"))
        for (option, value) in [("--editing-threshold", "1.5"), ("--max-post-steps", "-1"), ("--max-post-steps", "x")] {
          let bad = try ingot(command + ["--decoder", "2.1-speed", "\(option)=\(value)"], in: directory)
          #expect(bad.code == 64 && !bad.err.isEmpty, "\(bad)")
        }
      }
    }
  }

  @Test("a record keeps the options of editing, a report shows them, and others are refused beside it")
  func recorded() throws {
    try withTemporaryDirectory { directory in
      try write(Array(#"{"prompt": "What is 2 + 3?"}"#.utf8), to: directory + "/q.jsonl")
      let decoder = ["--decoder", "2.1-speed", "--editing-threshold", "0.3", "--max-post-steps", "2"]
      let recorded = try ingot(
        [
          "verify", "-q", "-r", pico, "--prompts", "q.jsonl", "--gen-length", "32", "--no-floor", "--record",
          "a.record",
        ]
          + decoder, in: directory)
      #expect(recorded.code == 0, "\(recorded)")
      let verify = ["verify", pico, "-q", "-r", "a.record", "--json"]
      let data = try #require(try object(try ingot(verify + decoder, in: directory))["data"]?.object)
      #expect(data["editing"]?.object?["threshold"]?.double.map { abs($0 - 0.3) < 1e-6 } == true)
      #expect(data["editing"]?.object?["maximum_post_steps"] == 2 && data["editing"]?.object?["maximum_steps"] == .null)
      #expect(data["stops_early"] == false)
      for option in [
        ["--editing-threshold", "0.4"], ["--max-post-steps", "3"], ["--max-steps", "9"], ["--stop-early"],
      ] {
        let refused = try ingot(verify + option, in: directory)
        #expect(refused.code == 64 && refused.err.contains("\(option[0]) is"), "\(refused)")
      }
    }
  }

  @Test("an answer of 2.0 may stop within a block")
  func stopEarly() throws {
    try withTemporaryDirectory { directory in
      let run = ["run", pico, "-p", "Count from 20 to 43.", "--json", "-q"]
      let whole = try object(try ingot(run, in: directory))
      let early = try object(try ingot(run + ["--stop-early"], in: directory))
      #expect(early["tokens"] == whole["tokens"])
      #expect((early["forwards"]?.int ?? 99) < (whole["forwards"]?.int ?? 0))
    }
  }
}
