import JSON
import TestSupport
import Testing

/// Characters that nobody sees, or that change how others are seen, in what the commands print.
@Suite struct HiddenTextTests {
  /// C1 controls, marks and isolates of direction, characters without width, separators, a tag.
  private static let hidden = [
    "\u{85}", "\u{9B}", "\u{200B}", "\u{200D}", "\u{200F}", "\u{202E}", "\u{2028}", "\u{2029}", "\u{2060}", "\u{2066}",
    "\u{FEFF}", "\u{E0041}",
  ]
  private static let name = "a" + hidden.joined(separator: "b") + "é"

  private func requireNone(in text: String, _ label: String) {
    for character in Self.hidden { #expect(!text.unicodeScalars.contains(character.unicodeScalars.first!), "\(label)") }
  }

  @Test("names of tensors are spelled in lists and in JSON, where a reader gets them back")
  func tensorNames() throws {
    try withTemporaryDirectory { directory in
      let header = #"{"\#(Self.name)":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#
      let length = (0..<8).map { UInt8(truncatingIfNeeded: header.utf8.count >> (8 * $0)) }
      try write(length + Array(header.utf8) + [0], to: directory + "/m.safetensors")
      for arguments in [[], ["--all"], ["--check"], ["--json"], ["--tensor", "nothing"]] {
        let result = try ingot(["inspect", "m.safetensors"] + arguments, in: directory)
        requireNone(in: result.out + result.err, "\(arguments)")
      }
      let json = try object(try ingot(["inspect", "m.safetensors", "--json"], in: directory))
      #expect(json["tensors"]?.array?.first?.object?["name"]?.string == Self.name)
    }
  }

  @Test("the JSON of an answer spells what the prompt and the model are called")
  func answers() throws {
    try withTemporaryDirectory { directory in
      let linked = try Command(shell: "ln -s '\(pico)' '\(Self.name)'", in: directory).wait()
      #expect(linked.code == 0)
      let result = try ingot(["run", Self.name, "-q", "--json", "--gen-length", "8", "-p", "hi"], in: directory)
      requireNone(in: result.out, "run")
      #expect(try object(result)["model"]?.string == Self.name)
    }
  }

  @Test("documents that are kept in files stay as they were")
  func files() throws {
    try withTemporaryDirectory { directory in
      let recipe = #"{"overrides":[{"match":"x\u202ey*","encoding":"keep","optional":true}]}"#
      try write(Array(recipe.utf8), to: directory + "/r.json")
      let result = try ingot(["quantize", pico, "-o", "p.ingot", "-q", "--recipe", "r.json"], in: directory)
      #expect(result.code == 0, "\(result)")
      #expect(try contents(of: directory + "/p.ingot").contains(Array("x\u{202E}y*".utf8)))
      let json = try ingot(["inspect", "p.ingot", "--json"], in: directory)
      requireNone(in: json.out, "inspect")
      #expect(json.out.contains(#"x\u202ey*"#))
    }
  }
}
