import Glibc
import JSON
import Safetensors
import TestSupport
import Testing

/// Checkpoints and texts as other tools write them: what every reader takes is taken, and what is not says a way on.
@Suite struct InputFileTests {
  private func answers(_ model: String, in directory: String) throws {
    let result = try ingot(["run", model, "-q", "-p", question], in: directory)
    #expect(result.code == 0 && result.out == picosAnswer && result.out.contains("60 + 23"), "\(model): \(result)")
  }

  private func refuses(_ arguments: [String], _ code: Int32, _ words: [String], in directory: String) throws {
    let result = try ingot(arguments, in: directory, redirection: "</dev/null")
    #expect(result.code == code && result.out.isEmpty, "\(arguments): \(result)")
    for word in words { #expect(result.err.contains(word), "\(arguments): \(result.err)") }
  }

  private func quantized(_ model: String, in directory: String, _ options: [String] = []) throws -> [UInt8] {
    let result = try ingot(["quantize", model, "-q", "-f", "-o", "of.ingot"] + options, in: directory)
    #expect(result.code == 0, "\(model): \(result)")
    return try contents(of: directory + "/of.ingot")
  }

  private let twoPrompts = [
    #"{"prompt":"What is 60 + 23?","answer":"60 + 23 = 83"}"#,
    #"{"prompt":"Spell kitten backwards.","answer":"n-e-t-t-i-k"}"#,
  ]

  /// `verify` of pico with itself; the prompts that its report counts.
  private func promptCount(_ options: [String], in directory: String) throws -> Int? {
    let result = try ingot(
      ["verify", pico, "--reference", pico, "--level", "trajectories", "--gen-length", "32", "--json", "-q"] + options,
      in: directory)
    #expect(result.code == 0, "\(options): \(result)")
    return try? JSONParser.parse(result.out).object?["trajectories"]?.object?["prompts"]?.int
  }

  // MARK: Text that is almost JSON

  @Test func aByteOrderMarkIsSkippedInTextsAndNamedInDocuments() throws {
    try withTemporaryDirectory { directory in
      try write([0xEF, 0xBB, 0xBF] + Array(twoPrompts.joined(separator: "\n").utf8), to: directory + "/p.jsonl")
      #expect(try promptCount(["--prompts", "p.jsonl"], in: directory) == 2)
      try write([0xEF, 0xBB, 0xBF] + Array(#"{"experts":"int8-g64"}"#.utf8), to: directory + "/recipe.json")
      _ = try quantized(pico, in: directory, ["--recipe", "recipe.json"])
      try write([0xEF, 0xBB, 0xBF] + Array("1 2 3".utf8), to: directory + "/ids")
      #expect(try ingot(["run", pico, "--tokens", "ids", "-q"], in: directory).code == 0)

      for name in ["config.json", "model.safetensors.index.json", "tokenizer.json"] {
        let model = "mark-\(name)"
        try changePico("\(directory)/\(model)", name) { "\u{FEFF}" + $0 }
        try refuses(["run", model, "-p", "x"], 1, ["byte order mark", name], in: directory)
      }
      try refuses(["quantize", "mark-config.json", "--dry-run"], 1, ["byte order mark", "byte 0"], in: directory)
    }
  }

  @Test("words that are no numbers of JSON are named, with the key", arguments: ["Infinity", "-Infinity", "NaN"])
  func wordsOfPython(word: String) throws {
    try withTemporaryDirectory { directory in
      try changePico(directory + "/model", "config.json") {
        $0.replacing("\"torch_dtype\"", with: "\"time_step_limit\": [0.0, \(word)],\n  \"torch_dtype\"")
      }
      for command in [["quantize", "model", "--dry-run"], ["run", "model", "-p", "x"]] {
        try refuses(command, 1, ["`\(word)` is no number of JSON", "`time_step_limit`", "byte"], in: directory)
      }
      try refuses(["verify", "model", "--reference", pico], 1, ["`\(word)`"], in: directory)
    }
  }

  @Test func lineEndsOfWindowsReadAsThoseOfUnix() throws {
    try withTemporaryDirectory { directory in
      for name in ["config.json", "model.safetensors.index.json", "tokenizer_config.json", "tokenizer.json"] {
        try changePico("\(directory)/crlf-\(name)", name) { $0.replacing("\n", with: "\r\n") }
        try answers("crlf-\(name)", in: directory)
      }
      try write(
        Array((twoPrompts[0] + "\r\n\r\n" + twoPrompts[1] + "\r\n").utf8), to: directory + "/p.jsonl")
      #expect(try promptCount(["--prompts", "p.jsonl"], in: directory) == 2)
      for end in ["\n", "\r\n", ""] {
        try write(Array((question + end).utf8), to: directory + "/q")
        let result = try ingot(["run", pico, "-q"], in: directory, redirection: "<q")
        #expect(result.out == picosAnswer, "\(result)")
      }
    }
  }

  // MARK: Weights

  @Test func tensorsAtOddPlacesHoldTheSameNumbers() throws {
    try withTemporaryDirectory { directory in
      // One of two neighbouring lengths is odd.
      for length in 0...1 {
        try rewritePico("\(directory)/odd\(length)", metadata: #"{"x":"\#(String(repeating: "y", count: length))"}"#)
      }
      let names = try picoTensors().map(\.name)
      try rewritePico(
        directory + "/shuffled",
        order: names.sorted { $0.utf8.reversed().lexicographicallyPrecedes($1.utf8.reversed()) })
      try rewritePico(directory + "/bare", metadata: nil)
      try rewritePico(directory + "/null", metadata: "null")
      _ = try quantized(pico, in: directory)
      #expect(unsafe rename(directory + "/of.ingot", directory + "/base.ingot") == 0)
      for model in ["odd0", "odd1", "shuffled", "bare", "null"] {
        _ = try quantized(model, in: directory)
        let diff = try ingot(["inspect", "base.ingot", "--diff", "of.ingot", "-q", "--json"], in: directory)
        let document = try JSONParser.parse(diff.out).object
        #expect(document?["numbers"]?.array == [] && document?["compared"]?.int == names.count, "\(model): \(diff)")
        try answers(model, in: directory)
        let scalar = try ingot(
          ["run", model, "-q", "-p", question], in: directory, environment: ["INGOT_KERNELS": "scalar"])
        #expect(scalar.out == picosAnswer)
      }
    }
  }

  @Test func whatTheIndexDoesNotNameIsNotRead() throws {
    try withTemporaryDirectory { directory in
      let index = Checkpoint.indexName
      try changePico(directory + "/extra", index) {
        $0.replacing(
          "\"weight_map\": {", with: "\"weight_map\": {\"mtp.fc.weight\": \"model-00002-of-00003.safetensors\",")
      }
      for command in [["quantize", "extra", "--dry-run"], ["run", "extra", "-p", "x"], ["inspect", "extra"]] {
        try refuses(command, 1, ["mtp.fc.weight", "model-00002-of-00003", "byte"], in: directory)
      }

      let model = directory + "/stray"
      try linkPico(model)
      let shard = try contents(of: pico + "/model-00002-of-00003.safetensors")
      for name in ["consolidated.safetensors", "model-00004-of-00004.safetensors"] {
        try write(shard, to: "\(model)/\(name)")
      }
      try write(Array("xxx".utf8), to: model + "/model-00002-of-00003.safetensors.incomplete")
      #expect(try quantized("stray", in: directory) == quantized(pico, in: directory))
    }
  }

  @Test(
    "a total size that is wrong is noted by every command, and nothing goes by it",
    arguments: ["3559112", "null", "0", "\"x\""])
  func totalSize(value: String) throws {
    try withTemporaryDirectory { directory in
      try changePico(directory + "/model", Checkpoint.indexName) { text in
        guard let start = text.firstRange(of: "\"total_size\": ") else { return text }
        let end = text[start.upperBound...].firstIndex { !$0.isNumber } ?? text.endIndex
        return text[..<start.upperBound] + value + text[end...]
      }
      let pack = try quantized("model", in: directory)
      #expect(pack == (try quantized(pico, in: directory)))
      try answers("model", in: directory)
      let commands = [
        ["quantize", "model", "--dry-run"], ["run", "model", "-p", question], ["inspect", "model"],
        ["verify", "of.ingot", "--reference", "model", "--level", "weights"],
      ]
      for command in commands {
        let result = try ingot(command, in: directory)
        #expect(
          result.code == 0 && result.err.contains("note: `total_size`") && result.err.contains("is \(value)"),
          "\(result)")
      }
      let check = try ingot(["inspect", "model", "--check", "-q"], in: directory)
      #expect(check.code == 0, "\(check)")
    }
  }

  @Test func elementTypesThatCameLaterAreListedAndRefusedByName() throws {
    try withTemporaryDirectory { directory in
      let norm = RawTensor(name: "norm.weight", dtype: "F32", shape: [2], bytes: [UInt8](repeating: 0, count: 8))
      let types = [
        ("F8_E8M0", [4, 1], 4), ("F4", [4, 32], 64), ("F6_E2M3", [8], 6), ("C64", [2], 16), ("Q3_NEW", [7], 5),
      ]
      for (dtype, shape, count) in types {
        let other = RawTensor(name: "w", dtype: dtype, shape: shape, bytes: [UInt8](repeating: 127, count: count))
        try writeSafetensors([norm, other], to: directory + "/x.safetensors")
        let list = try ingot(["inspect", "x.safetensors", "--json"], in: directory)
        let tensors = try JSONParser.parse(list.out).object?["tensors"]?.array ?? []
        let named = tensors.first { $0.object?["name"] == "w" }?.object
        #expect(named?["bytes"]?.int == count && named?["shape"] == .array(shape.map { JSONValue($0) }), "\(list)")
        #expect(named?["encoding"]?.string == (dtype == "Q3_NEW" ? dtype : dtype.lowercased()))
        #expect(try ingot(["inspect", "x.safetensors", "--check"], in: directory).code == 0)
        try refuses(["inspect", "x.safetensors", "--tensor", "w", "-q"], 1, ["`w`", dtype, "not read"], in: directory)

        let model = "with-\(dtype)"
        try rewritePico("\(directory)/\(model)") {
          $0[$0.firstIndex { $0.name == "lm_head.weight" } ?? 0].dtype = dtype == "Q3_NEW" ? dtype : "I16"
        }
        try refuses(["quantize", model, "--dry-run"], 1, ["`lm_head.weight`", "has type"], in: directory)
        try refuses(["run", model, "-p", "x"], 1, ["`lm_head.weight`"], in: directory)
      }
    }
  }

  // MARK: Files

  @Test func aCheckpointMayHaveMoreFilesThanTheShellAllows() throws {
    try withTemporaryDirectory { directory in
      let model = directory + "/model"
      try linkPico(model, except: Set(listing(of: pico).filter { $0.contains("safetensors") }))
      let tensors = try picoTensors()
      var map = JSONObject()
      for (number, tensor) in tensors.enumerated() {
        try writeSafetensors([tensor], to: "\(model)/part-\(number).safetensors")
        map.append(.init(key: tensor.name, value: .string("part-\(number).safetensors")))
      }
      let index: JSONValue = ["weight_map": .object(map)]
      try write(Array(index.text().utf8), to: "\(model)/\(Checkpoint.indexName)")

      let commands = [
        ["quantize", "model", "-f", "-o", "of.ingot", "-q"], ["run", "model", "-p", question, "-q"],
        ["verify", "of.ingot", "--reference", "model", "--limit", "1", "-q", "--gen-length", "32"],
        ["verify", "--record", "of.record", "-f", "--reference", "model", "--limit", "1", "-q", "--gen-length", "32"],
        ["inspect", "model", "--check", "-q"], ["inspect", "of.ingot", "--diff", "model", "-q"],
      ]
      // A soft limit that can be raised; a hard one that has room for each file once.
      for limit in ["ulimit -Sn 64", "ulimit -n \(tensors.count + 30)"] {
        for command in commands {
          let result = try ingot(command, in: directory, before: limit)
          #expect(result.code == (command.contains("--diff") ? 1 : 0), "\(limit); \(command): \(result)")
        }
      }
      for command in commands.dropLast() {
        let result = try ingot(command, in: directory, before: "ulimit -n 64")
        #expect(result.code == 1 && result.err.contains("ulimit -n \(2 * tensors.count + 64)"), "\(command): \(result)")
      }
    }
  }

  @Test func textsMayComeThroughPipes() throws {
    try withTemporaryDirectory { directory in
      let prompts = "printf '%s\\n%s\\n' '\(twoPrompts[0])' '\(twoPrompts[1])'"
      #expect(unsafe mkfifo(directory + "/pipe", 0o600) == 0)
      let piped = try Command(
        shell:
          "{ \(prompts) >pipe & exec \(Command.ingotPath()) verify \(pico) --reference \(pico) --level trajectories --json -q "
          + "--gen-length 32 --prompts pipe; }", in: directory
      ).wait()
      #expect(try JSONParser.parse(piped.out).object?["trajectories"]?.object?["prompts"]?.int == 2, "\(piped)")
      for name in ["-", "/dev/stdin"] {
        let result = try Command(
          shell:
            "\(prompts) | \(Command.ingotPath()) verify \(pico) --reference \(pico) --level trajectories --json -q "
            + "--gen-length 32 --prompts \(name)", in: directory
        ).wait()
        #expect(try JSONParser.parse(result.out).object?["trajectories"]?.object?["prompts"]?.int == 2, "\(result)")
        let text = try Command(
          shell:
            "printf 'Count from 3 to 9.' | \(Command.ingotPath()) verify \(pico) --reference \(pico) --level masked "
            + "--limit 1 -q --text \(name)", in: directory
        ).wait()
        #expect(text.code == 0, "\(text)")
        let recipe = try Command(
          shell: #"printf '{"experts":"int8-g64"}' | "#
            + "\(Command.ingotPath()) quantize \(pico) --dry-run --json -q --recipe \(name)",
          in: directory
        ).wait()
        #expect(try JSONParser.parse(recipe.out).object?["recipe"]?.object?["experts"] == "int8-g64", "\(recipe)")
      }
      for command in [
        "verify \(pico) -r \(pico) --prompts - --text /dev/stdin",
        "verify \(pico) -r \(pico) --prompts pipe --text pipe",
        "run \(pico) --tools -", "run \(pico) --chat --tools /dev/stdin",
      ] {
        let result = try Command(shell: "\(prompts) | \(Command.ingotPath()) \(command)", in: directory).wait()
        #expect(result.code == 64 && result.err.contains("read the same stream"), "\(command): \(result)")
      }
      try refuses(["quantize", pico, "--dry-run", "--recipe", "none"], 1, ["`none`", "No such file"], in: directory)
    }
  }

  @Test func namesThatAreNoUTF8LeadToTheirFiles() throws {
    try withTemporaryDirectory { directory in
      try linkPico(directory + "/model")
      let moved = try Command(shell: #"mv model "$(printf 'mod\350le')""#, in: directory).wait()
      #expect(moved.code == 0)
      let name = #""$(printf 'mod\350le')""#
      let binary = try Command.ingotPath()
      func run(_ words: String) throws -> Command.Result {
        try Command(shell: "\(binary) \(words)", in: directory).wait()
      }
      let packed = try run(#"quantize \#(name) -o "$(printf 'p\350.ingot')""#)
      #expect(packed.code == 0 && packed.err.contains(#"mod\xe8le"#), "\(packed)")
      #expect(try run(#"run "$(printf 'p\350.ingot')" -q -p '\#(question)'"#).code == 0)
      #expect(try run(#"run \#(name) -q -p '\#(question)'"#).out == picosAnswer)
      #expect(try run(#"inspect \#(name)"#).code == 0)
      #expect(try run(#"verify "$(printf 'p\350.ingot')" --reference \#(name) --level weights -q --attach"#).code == 0)
      #expect(try run(#"inspect "$(printf 'p\350.ingot')" --check"#).code == 0)
      let again = try run(#"quantize \#(name) -o "$(printf 'p\350.ingot')""#)
      #expect(again.code == 1 && again.err.contains(#"p\xe8.ingot` exists"#), "\(again)")
      let missing = try run(#"run "$(printf 'no\350')" -p x"#)
      #expect(missing.code == 1 && missing.err.contains(#"`no\xe8`"#), "\(missing)")
      // The output's bytes are those that were asked for.
      #expect(try Command(shell: #"test -f "$(printf 'p\350.ingot')""#, in: directory).wait().code == 0)
    }
  }

  @Test func keysOfPromptsThatNothingReadsAreToldOnce() throws {
    try withTemporaryDirectory { directory in
      let lines = (0..<3).map { #"{"prompt":"What is \#($0) + 1?","id":\#($0),"source":"x"}"# }
      try write(Array(lines.joined(separator: "\n").utf8), to: directory + "/p.jsonl")
      let result = try ingot(
        ["verify", pico, "--reference", pico, "--level", "trajectories", "--gen-length", "32", "--prompts", "p.jsonl"],
        in: directory)
      #expect(result.code == 0 && result.err.contains("keys that nothing reads: `id`, `source`"), "\(result)")
      #expect(result.err.ranges(of: "nothing reads").count == 1)
    }
  }
}
