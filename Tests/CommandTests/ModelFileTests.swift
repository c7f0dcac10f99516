import Glibc
import JSON
import TestSupport
import Testing

/// Files and keys that change what a model is: each is used, or named in a note or an error, by every command.
@Suite struct ModelFileTests {
  private func commands(_ model: String) -> [[String]] {
    [
      ["quantize", model, "--dry-run"], ["run", model, "-p", "x"],
      ["verify", model, "--reference", pico, "--limit", "1"],
      ["verify", pico, "--reference", model, "--limit", "1"],
      ["verify", "--record", "r.record", "--reference", model, "--limit", "1"],
    ]
  }

  private func expectRefused(_ words: [String], by model: String = "model", in directory: String) throws {
    for command in commands(model) {
      let result = try ingot(command, in: directory, redirection: "</dev/null")
      #expect(result.code == 1 && result.out.isEmpty, "\(command): \(result)")
      for word in words { #expect(result.err.contains(word), "\(command): \(result.err)") }
    }
  }

  private func run(_ options: [String] = [], in directory: String) throws -> Command.Result {
    try ingot(["run", "model", "-p", question] + options, in: directory)
  }

  // MARK: config.json

  @Test(
    "rotary positions that are scaled are refused by key, value and byte",
    arguments: [
      (
        "rope_parameters",
        ["rope_type": "yarn", "factor": 4, "rope_theta": 600000, "partial_rotary_factor": .number("0.5")]
      ),
      ("rope_parameters", ["type": "linear", "factor": 2]), ("rope_parameters", ["rope_type": "default", "factor": 2]),
      ("rope_parameters", ["full_attention": ["rope_type": "default", "rope_theta": 600000]]),
      ("rope_parameters", ["rope_type": "default", "mrope_section": [8, 8]]), ("rope_parameters", 3),
      ("rope_scaling", ["rope_type": "yarn", "factor": 4]), ("layer_types", ["full_attention", "sliding_attention"]),
      ("quantization_config", ["quant_method": "fp8"]), ("compression_config", ["format": "pack-quantized"]),
    ] as [(String, JSONValue)])
  func scaling(key: String, value: JSONValue) throws {
    try withTemporaryDirectory { directory in
      var changes: [String: JSONValue?] = ["rope_scaling": nil]
      changes.updateValue(value, forKey: key)
      try configurePico(directory + "/model", changes)
      try expectRefused(["`\(key)`", "`model/config.json`, byte "], in: directory)
    }
  }

  @Test(
    "what asks for nothing changes nothing",
    arguments: [
      ["rope_parameters": ["rope_type": "default", "rope_theta": 600000, "partial_rotary_factor": .number("0.5")]],
      [
        "rope_theta": nil, "partial_rotary_factor": nil, "rope_scaling": nil,
        "rope_parameters": ["rope_theta": 600000, "partial_rotary_factor": .number("0.5")],
      ],
      ["rope_scaling": ["type": "default", "original_max_position_embeddings": 1024, "factor": .number("1.0")]],
      ["rope_scaling": [:], "rope_parameters": [:]], ["pad_token_id": -1],
      ["pad_token_id": .null, "mask_token_id": -1],
      ["sliding_window": 0, "expert_capacity": 0, "moe_shared_expert_intermediate_size": 0],
      ["dtype": "bfloat16", "torch_dtype": nil, "layer_types": ["full_attention", "full_attention"]],
      ["quantization_config": .null, "eos_token_id": []],
    ] as [[String: JSONValue?]])
  func nothing(changes: [String: JSONValue?]) throws {
    try withTemporaryDirectory { directory in
      try configurePico(directory + "/model", changes)
      let result = try run(in: directory)
      #expect(result.code == 0 && result.out == picosAnswer && !result.err.contains("note:"), "\(result)")
      #expect(try ingot(["quantize", "model", "--dry-run", "-q"], in: directory).code == 0)
      // The same computation, so that they may be compared.
      let verify = try ingot(
        ["verify", "model", "--reference", pico, "--level", "weights", "-q"], in: directory)
      #expect(verify.code == 0 || changes.keys.contains { $0.hasSuffix("token_id") }, "\(verify)")
    }
  }

  @Test func rotaryParametersHavePriority() throws {
    try withTemporaryDirectory { directory in
      try configurePico(
        directory + "/model", ["rope_theta": 10000, "rope_parameters": ["rope_type": "default", "rope_theta": 600000]])
      let result = try run(in: directory)
      #expect(result.out == picosAnswer && result.err.contains("`rope_theta` 10000"), "\(result)")
      #expect(result.err.contains("`rope_parameters.rope_theta` has priority"))
      let pack = try ingot(["quantize", "model", "-o", "of.ingot"], in: directory)
      #expect(pack.code == 0 && pack.err.contains("has priority"), "\(pack)")
      #expect(try ingot(["run", "of.ingot", "-p", "x"], in: directory).err.contains("has priority"))

      try configurePico(directory + "/other", ["rope_parameters": ["rope_type": "default", "rope_theta": 500000]])
      let verify = try ingot(["verify", "other", "--reference", pico, "--limit", "1"], in: directory)
      #expect(verify.code == 1 && verify.err.contains("different computations"), "\(verify)")
    }
  }

  @Test func groupsThatAreOffAreOneGroup() throws {
    try withTemporaryDirectory { directory in
      try configurePico(directory + "/model", ["n_group": 0, "topk_group": 0])
      try configurePico(directory + "/one", ["n_group": 1, "topk_group": 1])
      let (off, one) = try (run(in: directory), ingot(["run", "one", "-p", question], in: directory))
      #expect(off.code == 0 && off.out == one.out, "\(off)")
    }
  }

  // MARK: What ends an answer

  /// Tokens of pico's answer.
  private func tokens(_ directory: String, _ options: [String] = []) throws -> [Int] {
    let result = try run(["--json", "-q"] + options, in: directory)
    return try JSONParser.parse(result.out).object?["tokens"]?.array?.compactMap(\.int) ?? []
  }

  @Test func stopsOfAllFilesEndAnAnswer() throws {
    try withTemporaryDirectory { directory in
      try linkPico(directory + "/model")
      let whole = try tokens(directory)
      let stop = try #require(whole.dropFirst(2).first { !whole.prefix(2).contains($0) })
      let cut = Array(whole.prefix(through: try #require(whole.firstIndex(of: stop))))
      #expect(cut.count < whole.count)
      for value in ["\(stop)", "[\(stop)]", "[635, \(stop), -1]"] {
        let generation = directory + "/model/generation_config.json"
        try write(Array(#"{"eos_token_id": \#(value), "transformers_version": "5.2.0"}"#.utf8), to: generation)
        #expect(try tokens(directory) == cut, "\(value)")
        // The pack takes the file along.
        #expect(
          try ingot(["quantize", "model", "-f", "-q", "--experts", "keep", "-o", "of.ingot"], in: directory).code == 0)
        let packed = try ingot(["run", "of.ingot", "-p", question, "--json", "-q"], in: directory)
        #expect(try JSONParser.parse(packed.out).object?["tokens"]?.array?.count == cut.count, "\(packed)")
        let record = try ingot(
          ["verify", "--record", "r", "-f", "-q", "--reference", "model", "--limit", "1", "--gen-length", "32"],
          in: directory)
        #expect(record.code == 0, "\(record)")
        #expect(
          String(decoding: try contents(of: directory + "/r"), as: UTF8.self).contains(#""stops":[635,\#(stop)]"#))
      }
      try configurePico(directory + "/listed", ["eos_token_id": [635, JSONValue(stop)]])
      let listed = try ingot(["run", "listed", "-p", question, "--json", "-q"], in: directory)
      #expect(try JSONParser.parse(listed.out).object?["tokens"]?.array?.count == cut.count, "\(listed)")
    }
  }

  @Test(
    "a generation_config.json that cannot be right is refused by every command",
    arguments: [
      (#"{"eos_token_id": "x"}"#, "`eos_token_id`"), (#"{"eos_token_id": [1, 640]}"#, "640"), ("[]", "not an object"),
      ("{", "cannot be read"),
    ])
  func badGeneration(text: String, word: String) throws {
    try withTemporaryDirectory { directory in
      try linkPico(directory + "/model")
      try write(Array(text.utf8), to: directory + "/model/generation_config.json")
      try expectRefused([word, "generation_config.json"], in: directory)
    }
  }

  @Test func otherWishesForDecodingAreTold() throws {
    try withTemporaryDirectory { directory in
      try linkPico(directory + "/model")
      let generation = directory + "/model/generation_config.json"
      try write(
        Array(
          #"{"do_sample": true, "temperature": 0.7, "top_p": 0.9, "max_new_tokens": 512, "eos_token_id": 635}"#.utf8),
        to: generation)
      let result = try run(in: directory)
      #expect(result.code == 0 && result.out == picosAnswer)
      #expect(result.err.contains("asks for `do_sample` true, `temperature` 0.7, `top_p` 0.9;"), "\(result)")
      #expect(try !run(["-q"], in: directory).err.contains("asks for"))
      let verify = try ingot(
        ["verify", "model", "--reference", "model", "--limit", "1", "--gen-length", "32"], in: directory)
      #expect(verify.err.ranges(of: "asks for").count == 1, "\(verify)")
      // Without drawing, these numbers mean nothing.
      try write(Array(#"{"do_sample": false, "temperature": 0.7, "top_p": 0.9, "top_k": 50}"#.utf8), to: generation)
      #expect(try !run(in: directory).err.contains("asks for"))
    }
  }

  // MARK: Files beside the weights

  @Test(
    "what is not taken along is named",
    arguments: [
      ("adapter_config.json", "not merged"), ("tuned.lora", "not merged"), ("optimizer.pt", "nothing reads"),
      ("preprocessor_config.json", "only its text model"), ("processor_config.json", "only its text model"),
    ])
  func beside(name: String, words: String) throws {
    try withTemporaryDirectory { directory in
      try linkPico(directory + "/model")
      try write(Array("{}".utf8), to: "\(directory)/model/\(name)")
      for command in commands("model") + [["inspect", "model"]] {
        let result = try ingot(command + (command[0] == "verify" ? ["--gen-length", "32"] : []), in: directory)
        #expect(result.code == 0, "\(command): \(result)")
        #expect(result.err.contains("`\(name)`") && result.err.contains(words), "\(command): \(result.err)")
        unsafe _ = unlink(directory + "/r.record")
      }
      let json = try ingot(["quantize", "model", "--dry-run", "--json", "-q"], in: directory)
      #expect(try JSONParser.parse(json.out).object?["notes"]?.array?.count == 1, "\(json)")
    }
  }

  @Test func aHeadThatIsTheEmbeddingIsTold() throws {
    try withTemporaryDirectory { directory in
      try rewritePico(directory + "/weights") { $0.removeAll { $0.name == "lm_head.weight" } }
      try configurePico(directory + "/model", ["tie_word_embeddings": true])
      for name in listing(of: directory + "/model") where name.contains("safetensors") {
        unsafe _ = unlink("\(directory)/model/\(name)")
      }
      #expect(unsafe rename(directory + "/weights/model.safetensors", directory + "/model/model.safetensors") == 0)
      let pack = try ingot(["quantize", "model", "-o", "of.ingot"], in: directory)
      #expect(pack.code == 0 && pack.err.contains("its embedding is the head"), "\(pack)")
      for model in ["model", "of.ingot"] {
        #expect(try ingot(["run", model, "-p", "x"], in: directory).err.contains("its embedding is the head"))
      }
    }
  }
}
