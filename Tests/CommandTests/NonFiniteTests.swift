import JSON
import TestSupport
import Testing

/// Scores that are infinite or not numbers are never left out without a word, and equal tokens are no equal numbers.
@Suite struct NonFiniteTests {
  /// All weights are finite, but products with them overflow where the expert is used: scores of some positions are NaN.
  private static let overflowingExpert: [String: WeightChange] = [
    "model.layers.3.mlp.experts.2.": { $0.map { $0 * 1e18 } }
  ]
  /// All scores of one token are far too large.
  private static let overflowingHead: [String: WeightChange] = [
    "lm_head.weight": { weights in
      var weights = weights
      let row = 17 * 128..<18 * 128
      let largest = weights[row].reduce(0) { max($0, abs($1)) }
      // Finite, all of them: by way of a wider type.
      for index in row { weights[index] = Float(Double(weights[index]) * 3e38 / Double(largest)) }
      return weights
    }
  ]

  private func withData(_ changes: [String: WeightChange], _ body: (String) throws -> Void) throws {
    try withTemporaryDirectory { directory in
      try changePicoWeights(to: directory + "/changed", changes)
      let prompts = """
        {"prompt":"What is 60 + 23?","answer":"60 + 23 = 83"}

        {"prompt":"Spell kitten backwards.","answer":"n-e-t-t-i-k"}

        """
      try write(Array(prompts.utf8), to: directory + "/p.jsonl")
      let text = "The cat sat on the mat.\nThe dog sat on the log.\nOne two three four five six seven eight.\n"
      try write(Array(text.utf8), to: directory + "/t.txt")
      try body(directory)
    }
  }

  private func verify(_ arguments: [String], in directory: String, code: Int32) throws -> Command.Result {
    let result = try ingot(["verify"] + arguments, in: directory)
    #expect(result.code == code, "\(arguments): \(result)")
    return result
  }

  private func document(_ result: Command.Result) throws -> JSONValue { try JSONParser.parse(result.out) }

  private func value(_ document: JSONValue, _ keys: String...) -> JSONValue? {
    var value: JSONValue? = document
    for key in keys {
      if let index = Int(key) {
        value = value?.array.flatMap { $0.indices.contains(index) ? $0[index] : nil }
      } else {
        value = value?.object?[key]
      }
    }
    return value
  }

  private let masked = ["changed", "-r", pico, "--prompts", "p.jsonl", "--text", "t.txt", "--level", "masked", "-q"]

  @Test func positionsWithoutNumbersNeverPass() throws {
    try withData(Self.overflowingExpert) { directory in
      let gate = ["--no-floor", "--fail-if", "masked.kl.mean > 0.03"]
      let report = try document(try verify(masked + gate + ["--json", "--html", "p.html"], in: directory, code: 3))
      let left = try #require(value(report, "masked", "non_finite")?.int)
      let all = left + (value(report, "masked", "positions")?.int ?? 0)
      #expect(left > 0 && left < all)
      #expect(value(report, "masked", "kl", "max")?.double == 0, "the others are the reference, bit for bit")
      #expect(value(report, "verdict", "status") == "fail" && value(report, "verdict", "zero_drift") == false)
      #expect(value(report, "verdict", "gates", "0", "passed") == false)
      #expect(value(report, "verdict", "gates", "0", "left_out")?.int == left)
      let finding = try #require(value(report, "non_finite", "0"))
      #expect(value(finding, "section") == "masked" && value(finding, "model") == "candidate")
      #expect(value(finding, "path") == "changed" && value(finding, "layer") == 3)
      #expect(value(finding, "count")?.int == left && value(finding, "of")?.int == all)
      #expect(value(finding, "source")?.string?.contains("`p.jsonl`, line") == true)
      let words =
        "the scores of the candidate `changed` are infinite or not numbers at \(left) of \(all) scored positions"
      let note = try #require(value(report, "notes", "0")?.string)
      #expect(note.contains(words) && note.contains("position") && note.contains("layer 3"), "\(note)")
      #expect(try String(decoding: contents(of: directory + "/p.html"), as: UTF8.self).contains("\(left) of \(all)"))

      let screen = try verify(masked + gate, in: directory, code: 3).out
      #expect(screen.hasPrefix("FAIL: the scores of the candidate"), "\(screen)")
      #expect(screen.contains("\(left) of \(all)") && screen.contains("left out that are not finite"))
      #expect(!screen.contains("PASS"))
    }
  }

  @Test func withoutGatesTheyStillFail() throws {
    try withData(Self.overflowingExpert) { directory in
      let screen = try verify(masked, in: directory, code: 1).out
      #expect(screen.hasPrefix("FAIL: the scores of the candidate"))
      // A gate on another section does not make it a pass.
      let other = try verify(masked + ["--json", "--fail-if", "cost.passes > 99"], in: directory, code: 1)
      #expect(value(try document(other), "verdict", "status") == "fail")
      // The other way round the same positions are the reference's.
      let turned = ["-r", "changed", "--prompts", "p.jsonl", "--level", "masked", "-q"]
      let reference = try document(try verify([pico, "--json"] + turned, in: directory, code: 1))
      #expect(value(reference, "non_finite", "0", "model") == "reference")
      #expect(try verify([pico] + turned, in: directory, code: 1).out.hasPrefix("FAIL: the scores of the reference"))
    }
  }

  @Test func pairsWithoutBoundsAreNotJudged() throws {
    try withData(Self.overflowingExpert) { directory in
      let pair =
        #"{"prompt":"What is 60 + 23?","chosen":"60 + 23 = 83","rejected":"60 + 23 = 84 or so, I think, or 85"}"#
      try write(Array((pair + "\n").utf8), to: directory + "/pairs.jsonl")
      let arguments = ["changed", "-r", pico, "--prompts", "pairs.jsonl", "--level", "masked", "--json", "-q"]
      let report = try document(try verify(arguments, in: directory, code: 1))
      let (pairs, left) = (value(report, "preferences", "pairs"), value(report, "preferences", "non_finite"))
      #expect(pairs == 0 && left == 1 && value(report, "preferences", "flipped") == .null)
      #expect(value(report, "preferences", "margin", "reference") == .null)
    }
  }

  @Test func aReferenceWithoutNumbersIsNotRecorded() throws {
    try withData(Self.overflowingExpert) { directory in
      let recording = ["--record", "r.record", "-r", "changed", "--prompts", "p.jsonl", "--level", "masked", "-q"]
      let result = try verify(recording, in: directory, code: 1)
      for words in ["no record was written", "the reference `changed`", "`p.jsonl`, line", "position", "overflow"] {
        #expect(result.err.contains(words), "\(result.err)")
      }
      // With a candidate beside it the report is there all the same.
      let both = try verify([pico, "--json"] + recording, in: directory, code: 1)
      #expect(value(try document(both), "non_finite", "0", "model") == "reference")
      #expect(both.err.contains("no record was written"))
      #expect(!exists(directory + "/r.record"))
    }
  }

  @Test func aLevelThatFailsTakesNoOtherAlong() throws {
    try withData(Self.overflowingHead) { directory in
      let arguments = ["changed", "-r", pico, "--limit", "2", "--gen-length", "32", "-q"]
      let result = try verify(arguments + ["--json", "--html", "p.html"], in: directory, code: 1)
      for words in ["the scores of `changed` at position", "built-in prompt", "overflow"] {
        #expect(result.err.contains(words), "\(result.err)")
      }
      let report = try document(result)
      #expect(value(report, "weights", "different") == 1 && value(report, "masked", "positions") != nil)
      #expect(value(report, "trajectories") == .null && value(report, "verdict", "status") == "fail")
      let missing = (value(report, "missing")?.array ?? []).compactMap { $0.object?["level"]?.string }
      #expect(missing == ["trajectories", "tasks"])
      #expect(value(report, "missing", "0", "reason")?.string?.contains("`changed` at position") == true)
      #expect(value(report, "notes", "0")?.string?.contains("the level trajectories could not be measured") == true)
      let page = String(decoding: try contents(of: directory + "/p.html"), as: UTF8.self)
      #expect(page.contains("the levels trajectories, tasks could not be measured"))
      let screen = try verify(arguments, in: directory, code: 1).out
      #expect(screen.hasPrefix("FAIL: the levels trajectories, tasks could not be measured"), "\(screen)")
      #expect(screen.contains("weight error"))
      // Where nothing else was measured there is nothing to be told.
      let alone = try verify(arguments + ["--level", "trajectories"], in: directory, code: 1)
      #expect(alone.out.isEmpty && alone.err.contains("the scores of `changed` at position"))

      let run = try ingot(["run", "changed", "-p", "Hello", "-q"], in: directory)
      #expect(run.code == 1 && run.err.contains("the scores of `changed` at position"), "\(run.err)")
    }
  }

  @Test("a line without numbers has its error in its place, and takes no other along", arguments: ["run", "score"])
  func oneLineOfMany(command: String) throws {
    try withTemporaryDirectory { directory in
      // The embedding of `@` is no number, so that nothing behind one is.
      let at = 128 * 31
      try changePicoWeights(
        to: directory + "/changed",
        ["model.word_embeddings.weight": { $0.enumerated().map { (at..<at + 128).contains($0) ? .nan : $1 } }])
      func arguments(_ input: String, _ output: String) -> [String] {
        command == "run"
          ? ["run", "changed", "--batch", input, "-o", output, "--gen-length", "40", "-q"]
          : ["score", "changed", input, "-o", output, "-q"]
      }
      let asked = ["What is 60 + 23?", "What is @?", "Spell kitten backwards.", "And @ again?", "What is 1 + 1?"]
      let continuation = command == "run" ? "" : #", "continuation": "60 + 23 = 83""#
      let lines = asked.map { #"{"prompt": "\#($0)"\#(continuation)}"# }
      try write(Array(lines.joined(separator: "\n").utf8), to: directory + "/all")
      try write(Array([lines[0], "", lines[2], "", lines[4]].joined(separator: "\n").utf8), to: directory + "/good")
      let result = try ingot(arguments("all", "a"), in: directory)
      #expect(result.code == 1 && result.err.contains("2 of 5 lines have an error"), "\(result)")
      #expect(result.err.contains("the first is line 2") && result.err.contains("overflow"), "\(result)")
      let good = try ingot(arguments("good", "g"), in: directory)
      #expect(good.code == 0, "\(good)")
      let found = String(decoding: try contents(of: directory + "/a"), as: UTF8.self).split(separator: "\n")
      let rest = String(decoding: try contents(of: directory + "/g"), as: UTF8.self).split(separator: "\n")
      #expect(found.count == 5 && [found[0], found[2], found[4]] == rest)
      for index in [1, 3] {
        let line = try #require(try JSONParser.parse(String(found[index])).object)
        #expect(line["line"]?.int == index + 1 && line["text"] == nil && line["bound"] == nil)
        #expect(line["error"]?.string?.contains("the scores of `changed` at position") == true, "\(line)")
      }
      #expect(listing(of: directory) == ["a", "all", "changed", "g", "good"])
    }
  }

  // MARK: Equality

  @Test("good quantization is no error, whatever was measured", arguments: ["int8-g32", "int4-g64"])
  func oneLevel(experts: String) throws {
    try withTemporaryDirectory { directory in
      let packed = try ingot(["quantize", pico, "-o", "p.ingot", "-q", "--experts", experts], in: directory)
      #expect(packed.code == 0, "\(packed.err)")
      for level in ["weights", "masked", "trajectories", "tasks"] {
        let arguments = [
          "p.ingot", "-r", pico, "--prompts", pico + "/eval.jsonl", "--limit", "3", "--gen-length", "32", "--level",
          level,
          "--json", "-q",
        ]
        let report = try document(try verify(arguments, in: directory, code: 0))
        #expect(value(report, "verdict", "zero_drift") == false, "\(level)")
        #expect(value(report, "missing") == [] && value(report, "non_finite") == [])
      }
    }
  }

  /// An expert that no token goes to has other weights: numbers are equal, and the models are not.
  @Test func noDriftAtAllIsAnErrorWhereWeightsDiffer() throws {
    let unused: WeightChange = { [-1000] + $0.dropFirst() }
    try withData([
      "model.layers.1.mlp.gate.expert_bias": unused, "model.layers.1.mlp.experts.0.": { $0.map { 2 * $0 } },
    ]) { directory in
      try changePicoWeights(to: directory + "/reference", ["model.layers.1.mlp.gate.expert_bias": unused])
      let arguments = ["changed", "-r", "reference", "--prompts", "p.jsonl", "--gen-length", "32", "-q"]
      for level in ["masked", "trajectories"] {
        let both = try verify(arguments + ["--level", "weights", "--level", level], in: directory, code: 1)
        #expect(both.out.hasPrefix("ERROR: no drift at all although the candidate is not lossless"), "\(both.out)")
        // Without the weights nobody knows that they are not the same.
        let alone = try verify(arguments + ["--level", level, "--json"], in: directory, code: 0)
        #expect(value(try document(alone), "verdict", "zero_drift") == false)
      }
    }
  }

  // MARK: At opening

  @Test(
    "routers, norms and biases that are not finite are refused by name",
    arguments: [
      ("model.layers.2.mlp.gate.expert_bias", 5, Float.nan), ("model.norm.weight", 127, .infinity),
      ("model.layers.1.mlp.gate.weight", 130, -.infinity), ("model.layers.3.input_layernorm.weight", 0, .nan),
    ])
  func atOpening(tensor: String, element: Int, value: Float) throws {
    let change: WeightChange = { weights in
      var weights = weights
      weights[element] = value
      return weights
    }
    try withData([tensor: change]) { directory in
      for arguments in [
        ["run", "changed", "-p", "Hello"], ["verify", "changed", "-r", pico], ["verify", pico, "-r", "changed"],
        ["verify", "--record", "r", "-r", "changed"], ["quantize", "changed", "-o", "p.ingot"],
      ] {
        let result = try ingot(arguments, in: directory)
        #expect(result.code == 1 && result.out.isEmpty, "\(arguments): \(result)")
        #expect(result.err.contains("`\(tensor)`") && result.err.contains("changed"), "\(result.err)")
        if arguments[0] != "quantize" { #expect(result.err.contains("element \(element)"), "\(result.err)") }
      }
      #expect(listing(of: directory) == ["changed", "p.jsonl", "t.txt"])
    }
  }
}
