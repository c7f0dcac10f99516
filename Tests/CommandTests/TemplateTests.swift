import JSON
import TestSupport
import Testing

/// Chat templates of models, in every command that needs one.
@Suite struct TemplateTests {
  private func answer(
    _ model: String, _ arguments: [String] = ["-p", "What is 2 + 3?"], in directory: String
  ) throws -> (tokens: JSONValue?, notes: [Substring]) {
    let result = try ingot(["run", model, "--json", "--gen-length", "32"] + arguments, in: directory)
    #expect(result.code == 0, "\(result.err)")
    return (
      try JSONParser.parse(result.out).object?["tokens"],
      result.err.split(separator: "\n").filter { $0.hasPrefix("note:") }
    )
  }

  /// Pico with another template in its tokenizer_config.json.
  private func makeModel(_ name: String, template: String, in directory: String) throws {
    try linkPico(to: "\(directory)/\(name)", file: "tokenizer_config.json") { text in
      var changed = JSONObject()
      for member in (try? JSONParser.parse(text))?.object?.members ?? [] {
        let isTemplate = member.key == "chat_template"
        changed.append(.init(key: member.key, value: isTemplate ? .string(template) : member.value))
      }
      return JSONValue.object(changed).text()
    }
  }

  @Test func theFilesOwnTemplateIsRendered() throws {
    try withTemporaryDirectory { directory in
      let template = """
        {%- for m in messages %}
        <role>{{ 'HUMAN' if m.role == 'user' else m.role | upper }}</role>{{ m.content }}<|role_end|>
        {%- endfor %}
        {%- if add_generation_prompt %}<role>ASSISTANT</role>{% endif %}
        """
      let prompt = "<role>HUMAN</role>What is 2 + 3?<|role_end|><role>ASSISTANT</role>"
      let wanted = try answer(pico, ["--raw", "-p", prompt], in: directory).tokens
      try makeModel("in-config", template: template, in: directory)
      #expect(try answer("in-config", in: directory) == (wanted, try answer(pico, in: directory).notes))
      // A file of its own comes first.
      try makeModel("beside", template: "{{ 1 / 0 }}", in: directory)
      try write(Array(template.utf8), to: directory + "/beside/chat_template.jinja")
      #expect(try answer("beside", in: directory).tokens == wanted)
      for model in ["in-config", "beside"] {
        #expect(
          try ingot(["quantize", model, "-o", "\(model).ingot", "-q", "--experts", "keep"], in: directory).code == 0)
        #expect(try answer("\(model).ingot", in: directory).tokens == wanted)
      }
      let plain = try answer(pico, in: directory).tokens
      #expect(plain != wanted)
    }
  }

  @Test func aPackCarriesTheTemplateForTools() throws {
    try withTemporaryDirectory { directory in
      try linkPico(to: directory + "/model")
      try makeDirectory(directory + "/model/additional_chat_templates")
      try write(
        Array(
          "<role>HUMAN</role>{{ tools[0].name }}: {{ messages[0].content }}<|role_end|><role>ASSISTANT</role>".utf8),
        to: directory + "/model/additional_chat_templates/tool_use.jinja")
      try write(
        Array("<role>HUMAN</role>{{ messages[0].content }}<|role_end|><role>ASSISTANT</role>".utf8),
        to: directory + "/model/chat_template.jinja")
      try write(Array(#"[{"name": "add"}]"#.utf8), to: directory + "/tools.json")
      #expect(try ingot(["quantize", "model", "-o", "p.ingot", "-q", "--experts", "keep"], in: directory).code == 0)
      let wanted = try answer(
        pico, ["--raw", "-p", "<role>HUMAN</role>add: Sort 4 1 3<|role_end|><role>ASSISTANT</role>"], in: directory)
      for model in ["model", "p.ingot"] {
        #expect(
          try answer(model, ["-p", "Sort 4 1 3", "--tools", "tools.json"], in: directory).tokens == wanted.tokens)
      }
      let diff = try ingot(["inspect", "p.ingot", "--diff", "model"], in: directory)
      #expect(!diff.out.contains("chat_template"), "\(diff.out)")
    }
  }

  @Test func whatCannotBeRenderedIsAnErrorInEveryCommand() throws {
    try withTemporaryDirectory { directory in
      try makeModel("model", template: "<role>SYSTEM</role>\n{% include 'other' %}", in: directory)
      try write(Array("Hello\n".utf8), to: directory + "/lines")
      let commands = [
        ["run", "model", "-p", "x"], ["run", "model", "--chat", "-p", "x"], ["run", "model", "-q", "-p", "x"],
        ["verify", "model", "--reference", "model", "--limit", "1"],
        ["verify", "--record", "a.record", "--reference", "model", "--limit", "1"],
      ]
      for command in commands {
        let result = try ingot(command, in: directory)
        #expect(result.code == 1 && result.out.isEmpty, "\(command)")
        for words in ["`{% include %}`, which is not supported", "`tokenizer_config.json`", "line 2", "--raw"] {
          #expect(result.err.contains(words), "\(command): \(result.err)")
        }
      }
      #expect(!exists(directory + "/a.record"))
      // A pack without prompts has its uses.
      let packed = try ingot(["quantize", "model", "-o", "p.ingot"], in: directory)
      #expect(packed.code == 0 && packed.err.contains("the chat template cannot be used"), "\(packed)")
      #expect(packed.err.contains("`{% include %}`, which is not supported"), "\(packed)")
      #expect(try ingot(["run", "model", "-q", "--raw", "-p", "x", "--gen-length", "8"], in: directory).code == 0)
      let quick = [
        "--raw", "--limit", "2", "--gen-length", "8", "--level", "trajectories", "--no-floor", "--no-replay",
      ]
      #expect(try ingot(["verify", "model", "--reference", "model"] + quick, in: directory).code == 0)
      #expect(try ingot(["verify", "--record", "b.record", "--reference", "model"] + quick, in: directory).code == 0)
      let given = try ingot(["verify", "model", "--reference", "b.record", "--raw"], in: directory)
      #expect(given.code != 0 && given.err.contains("--raw"))
      #expect(try ingot(["inspect", "model"], in: directory).code == 0)
    }
  }

  @Test func aModelWithoutTemplateIsToldInEveryCommand() throws {
    try withTemporaryDirectory { directory in
      try linkPico(to: directory + "/model", without: "tokenizer_config.json")
      let commands = [
        ["run", "model", "-p", "x", "--gen-length", "8"], ["run", "model", "--chat", "-p", "/exit"],
        ["verify", "model", "--reference", "model", "--limit", "1", "--gen-length", "8", "--level", "trajectories"],
        [
          "verify", "--record", "a", "--reference", "model", "--limit", "1", "--gen-length", "8", "--level",
          "trajectories",
        ],
      ]
      for command in commands {
        let result = try ingot(command, in: directory)
        #expect(result.code == 0, "\(command): \(result.err)")
        #expect(result.err.ranges(of: "the model has no chat template").count == 1, "\(command): \(result.err)")
      }
      let raw = try ingot(["run", "model", "--raw", "-p", "x", "--gen-length", "8"], in: directory)
      #expect(!raw.err.contains("chat template"))
    }
  }

  @Test func optionsThatTheTemplateIgnoresAreTold() throws {
    try withTemporaryDirectory { directory in
      try write(Array(#"[{"name": "add"}]"#.utf8), to: directory + "/tools.json")
      func notes(_ model: String) throws -> [Bool] {
        let arguments = ["-p", "x", "--system", "s", "--thinking", "on", "--tools", "tools.json", "--gen-length", "8"]
        let result = try ingot(["run", model] + arguments, in: directory)
        #expect(result.code == 0, "\(result.err)")
        return ["--system", "--thinking", "--tools"].map(result.err.contains)
      }
      #expect(try notes(pico) == [true, true, true])
      try makeModel(
        "model", template: "{{ messages[0].content }}{{ thinking_option }}{{ tools | tojson }}", in: directory)
      #expect(try notes("model") == [false, false, false])
      for (file, words) in [("{}", "an object"), ("[1]", "no object"), ("[", "byte 1"), ("[{\"a\": 1e}]", "digit")] {
        try write(Array(file.utf8), to: directory + "/tools.json")
        let result = try ingot(["run", pico, "-p", "x", "--tools", "tools.json"], in: directory)
        #expect(result.code == 1 && result.err.contains(words) && result.err.contains("`tools.json`"), "\(result.err)")
      }
      for option in [["--thinking", "on"], ["--tools", "tools.json"], ["--system", "s"]] {
        #expect(try ingot(["run", pico, "--raw", "-p", "x"] + option, in: directory).code == 64)
      }
    }
  }

  @Test(
    "keys of newer tokenizer configurations change no answer",
    arguments: [
      #"{"extra_special_tokens": ["<role>", "</role>"], "backend": "tokenizers", "is_local": true}"#,
      #"{"extra_special_tokens": {"role": "<role>"}, "additional_special_tokens": ["<role>"]}"#,
      #"{"mask_token": null}"#,
    ])
  func newerKeys(keys: String) throws {
    try withTemporaryDirectory { directory in
      let changes = try #require(try JSONParser.parse(keys).object)
      try linkPico(to: directory + "/model", file: "tokenizer_config.json") { text in
        var changed = changes
        for member in (try? JSONParser.parse(text))?.object?.members ?? [] { changed.append(member) }
        return JSONValue.object(changed).text()
      }
      if changes["mask_token"] != nil {
        try write(
          Array(#"{"mask_token": {"content": "<|mask|>"}, "eos_token": "<|endoftext|>"}"#.utf8),
          to: directory + "/model/special_tokens_map.json")
      }
      let wanted = try answer(pico, in: directory)
      #expect(try answer("model", in: directory) == wanted)
      #expect(try ingot(["quantize", "model", "-o", "p.ingot", "-q", "--experts", "keep"], in: directory).code == 0)
      #expect(try answer("p.ingot", in: directory).tokens == wanted.tokens)
    }
  }
}
