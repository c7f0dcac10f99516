import Glibc
import JSON
import TestSupport
import Testing

/// A plan, its parts made one by one, and the pack of all.
@Suite struct PartsTests {
  private static let recipes: [[String]] = [
    ["--experts", "int4-g32"], ["--experts", "int8-g32", "--rest", "int4-g64", "--solver", "absmax"],
    ["--compress", "zstd", "--override", "experts\\.(1|2)\\.=int4-g32s8"],
  ]

  private func plan(_ options: [String], parts: Int, in directory: String, model: String = pico) throws {
    let arguments = ["plan", model, "--parts", "\(parts)", "-o", "plan.json", "--force", "-q"]
    let result = try ingot(arguments + options, in: directory)
    try #require(result.code == 0 && result.out == "plan.json\n", "\(result)")
  }

  private func make(
    _ part: Int, in directory: String, model: String? = nil, more: [String] = []
  ) throws -> Command.Result {
    let model = model.map { [$0] } ?? []
    return try ingot(
      ["quantize"] + model + ["--plan", "plan.json", "--part", "\(part)", "--parts-dir", "parts"] + more, in: directory)
  }

  private func merge(in directory: String, model: String? = nil, to name: String = "merged.ingot") throws
    -> Command.Result
  {
    try ingot(
      ["merge"] + (model.map { [$0] } ?? []) + ["--plan", "plan.json", "--parts-dir", "parts", "-o", name],
      in: directory)
  }

  private func status(in directory: String, _ more: String...) throws -> Command.Result {
    try ingot(["status", "--plan", "plan.json", "--parts-dir", "parts"] + more, in: directory)
  }

  @Test("the pack is the same for any number of parts in any order", arguments: recipes, [1, 3, 7, 64])
  func anyNumber(recipe: [String], parts: Int) throws {
    try withTemporaryDirectory { directory in
      #expect(try ingot(["quantize", pico, "-o", "whole.ingot", "-q"] + recipe, in: directory).code == 0)
      try plan(recipe, parts: parts, in: directory)
      for part in (0..<parts).reversed() {
        let result = try make(part, in: directory, more: ["--threads", "\(1 + part % 3)", "-q"])
        try #require(result.code == 0 && result.out == "parts/part-\(part)\n" && result.err.isEmpty, "\(result)")
      }
      let merged = try merge(in: directory)
      #expect(merged.code == 0 && merged.out == "merged.ingot\n", "\(merged)")
      let isSame = try contents(of: directory + "/merged.ingot") == contents(of: directory + "/whole.ingot")
      #expect(isSame)
      #expect(listing(of: directory) == ["merged.ingot", "parts", "plan.json", "whole.ingot"])
      #expect(listing(of: directory + "/parts").count == parts)
    }
  }

  @Test("states, and what a target makes of them, come to the same in parts", arguments: [[], ["--target", "4.6bpw"]])
  func calibrated(options: [String]) throws {
    try withTemporaryDirectory { directory in
      let data = ["--prompts", pico + "/eval.jsonl", "--tokens", "1k", "-q"]
      #expect(try ingot(["calibrate", pico, "-o", "states"] + data, in: directory).code == 0)
      let recipe = ["--calibration", "states"] + options
      #expect(try ingot(["quantize", pico, "-o", "whole.ingot", "-q"] + recipe, in: directory).code == 0)
      try plan(recipe, parts: 5, in: directory)
      for part in 0..<5 { #expect(try make(part, in: directory, more: ["-q"]).code == 0) }
      #expect(try merge(in: directory).code == 0)
      let isSame = try contents(of: directory + "/merged.ingot") == contents(of: directory + "/whole.ingot")
      #expect(isSame)
      // Other states under the same name are refused, and the right ones may lie elsewhere.
      #expect(try Command(shell: "mv states old && rm -r parts", in: directory).wait().code == 0)
      let other = try ingot(["calibrate", pico, "-o", "states", "--seed", "1"] + data, in: directory)
      #expect(other.code == 0)
      let refused = try make(0, in: directory)
      #expect(refused.code == 4 && refused.err.contains("--calibration"), "\(refused)")
      #expect(try make(0, in: directory, more: ["--calibration", "old"]).code == 0)
    }
  }

  @Test func aPlanDependsOnNothingButWhatItPlans() throws {
    try withTemporaryDirectory { directory in
      try plan([], parts: 4, in: directory)
      let first = try contents(of: directory + "/plan.json")
      try plan(["--threads", "1"], parts: 4, in: directory)
      #expect(try contents(of: directory + "/plan.json") == first)
      let object = try #require(try JSONParser.parse(String(decoding: first, as: UTF8.self)).object)
      #expect(object["schema"] == "ingot.plan/1" && object["target"] == .null && object["calibration"] == .null)
      let parts = try #require(object["parts"]?.array)
      let counts = parts.compactMap { $0.object?["chunks"]?.int }
      #expect(parts.count == 4 && counts.reduce(0, +) == object["result"]?.object?["chunks"]?.int)
      #expect(!parts.contains { $0.object?["shards"]?.array?.isEmpty ?? true })
      // White space is nobody's edit.
      try write(Array(JSONValue.object(object).text(indented: false).utf8), to: directory + "/plan.json")
      #expect(try make(3, in: directory).code == 0)
    }
  }

  @Test func aPlanThatWasEditedIsRefusedEverywhere() throws {
    try withTemporaryDirectory { directory in
      try plan([], parts: 2, in: directory)
      let text = String(decoding: try contents(of: directory + "/plan.json"), as: UTF8.self)
      for (old, new) in [
        (#""int4-g64""#, #""int8-g64""#), (#""first_chunk": 0"#, #""first_chunk": 1"#), (#""hash": ""#, #""hash": "0"#),
        ("F32", "F16"), (#""target": null"#, #""target": 0"#),
      ] {
        try write(Array(text.replacing(old, with: new, maxReplacements: 1).utf8), to: directory + "/plan.json")
        for result in [try make(0, in: directory), try merge(in: directory), try status(in: directory)] {
          #expect(result.code == 4 && result.err.contains("edited") && result.err.contains("ingot plan"), "\(result)")
        }
      }
      for (bad, word) in [
        ("", "JSON"), ("{", "JSON"), ("{}", "schema"), (#"{"schema":"ingot.plan/9"}"#, "ingot.plan/9"),
      ] {
        try write(Array(bad.utf8), to: directory + "/plan.json")
        let result = try make(0, in: directory)
        #expect(result.code == 4 && result.err.contains(word), "\(result)")
      }
      #expect(listing(of: directory) == ["plan.json"])
      try write(Array(text.utf8), to: directory + "/plan.json")
      #expect(try make(0, in: directory).code == 0)
    }
  }

  @Test func aPartOfAnotherPlanIsNeitherTakenNorReplaced() throws {
    try withTemporaryDirectory { directory in
      try plan([], parts: 2, in: directory)
      #expect(try make(0, in: directory).code == 0)
      #expect(try make(1, in: directory).code == 0)
      let before = try contents(of: directory + "/parts/part-0")
      try plan(["--experts", "int8-g64"], parts: 2, in: directory)
      for result in [try make(0, in: directory), try merge(in: directory)] {
        #expect(
          result.code == 4 && result.err.contains("parts/part-0") && result.err.contains("--parts-dir"), "\(result)")
      }
      #expect(try status(in: directory).code == 4)
      #expect(try contents(of: directory + "/parts/part-0") == before)
      // Nor is another part of the same plan.
      try plan([], parts: 2, in: directory)
      try write(before, to: directory + "/parts/part-1")
      let result = try merge(in: directory)
      #expect(result.code == 4 && result.err.contains("parts/part-1"), "\(result)")
      #expect(listing(of: directory) == ["parts", "plan.json"])
    }
  }

  @Test func aDamagedChunkIsNamedAndItsPartIsMadeAgain() throws {
    try withTemporaryDirectory { directory in
      try plan(["--experts", "int4-g32"], parts: 3, in: directory)
      for part in 0..<3 { #expect(try make(part, in: directory).code == 0) }
      #expect(try merge(in: directory, to: "whole.ingot").code == 0)
      let path = directory + "/parts/part-1"
      let sound = try contents(of: path)
      var random = SeededRandom(seed: 3)
      for _ in 0..<12 {
        var bytes = sound
        let place = Int(random.next() % UInt64(bytes.count))
        bytes[place] ^= UInt8(1 << (random.next() % 8))
        try write(bytes, to: path)
        let result = try merge(in: directory)
        // What lies between chunks belongs to nothing.
        if result.code == 0 {
          #expect(try Command(shell: "rm merged.ingot", in: directory).wait().code == 0)
          continue
        }
        #expect(result.code == 4 && result.err.contains("parts/part-1"), "\(place): \(result)")
        #expect(!exists(directory + "/merged.ingot"))
        #expect(try status(in: directory, "--check").code == 4)
      }
      // The first bytes of the first chunk.
      var bytes = sound
      bytes[4096] ^= 1
      try write(bytes, to: path)
      let result = try merge(in: directory)
      #expect(result.code == 4 && result.err.contains("chunk ") && result.err.contains("bytes 4,096 to"), "\(result)")
      #expect(result.err.contains("ingot quantize --plan plan.json --part 1 --parts-dir parts"), "\(result)")
      #expect(try status(in: directory).code == 0 && status(in: directory, "--check").code == 4)
      let again = try make(1, in: directory)
      #expect(again.code == 0 && again.err.contains("it is made again"), "\(again)")
      #expect(try contents(of: path) == sound)
      #expect(try merge(in: directory).code == 0)
      let isSame = try contents(of: directory + "/merged.ingot") == contents(of: directory + "/whole.ingot")
      #expect(isSame)
    }
  }

  @Test("a file of a part that is none, or not whole, is told from a sound one")
  func malformed() throws {
    try withTemporaryDirectory { directory in
      try plan([], parts: 2, in: directory)
      #expect(try make(0, in: directory).code == 0)
      let path = directory + "/parts/part-0"
      let sound = try contents(of: path)
      func number(_ at: Int) -> Int { (0..<8).reduce(0) { $0 | Int(sound[at + $1]) << (8 * $1) } }
      let cuts = [8, 63, 64, 4095, 4096, 5000, number(16), sound.count - 1]
      for cut in cuts {
        try write(Array(sound[..<cut]), to: path)
        #expect(try status(in: directory).code == 4, "cut at \(cut)")
        let result = try make(0, in: directory)
        #expect(result.code == 0 && result.err.contains("made again"), "cut at \(cut): \(result)")
        #expect(try contents(of: path) == sound)
      }
      // Without its magic it is a stranger's file.
      for strange in [[], Array("note".utf8), Array("not a part".utf8) + sound.dropFirst(10)] {
        try write(strange, to: path)
        let foreign = try make(0, in: directory)
        #expect(foreign.code == 4 && foreign.err.contains("belongs to another plan"), "\(foreign)")
        #expect(try contents(of: path) == strange)
      }
      try write(sound + [0], to: path)
      #expect(try status(in: directory).code == 4)
    }
  }

  @Test func aPartThatIsThereIsLeftAlone() throws {
    try withTemporaryDirectory { directory in
      try plan([], parts: 2, in: directory)
      #expect(try make(1, in: directory).code == 0)
      var before = stat()
      unsafe stat(directory + "/parts/part-1", &before)
      // Without the checkpoint, too.
      let again = try make(1, in: directory, model: "nowhere")
      #expect(again.code == 0 && again.out == "parts/part-1\n" && again.err.contains("sound"), "\(again)")
      var after = stat()
      unsafe stat(directory + "/parts/part-1", &after)
      #expect(before.st_ino == after.st_ino && before.st_mtim.tv_nsec == after.st_mtim.tv_nsec)
    }
  }

  @Test func twoThatMakeTheSamePartAtOnceMakeTheSame() throws {
    try withTemporaryDirectory { directory in
      try plan([], parts: 1, in: directory)
      for name in ["a", "b"] { try makeDirectory(directory + "/" + name) }
      let words = "\(try Command.ingotPath()) quantize --plan plan.json --part 0 --parts-dir parts -q"
      let both = try Command(shell: "{ \(words) & \(words); } && wait $!", in: directory).wait()
      #expect(both.code == 0, "\(both)")
      #expect(listing(of: directory + "/parts") == ["part-0"])
      #expect(try status(in: directory, "--check").code == 0)
    }
  }

  @Test func filesThatAPartDoesNotReadNeedNotBeThere() throws {
    try withTemporaryDirectory { directory in
      try plan([], parts: 6, in: directory)
      let text = String(decoding: try contents(of: directory + "/plan.json"), as: UTF8.self)
      let parts = try #require(try JSONParser.parse(text).object?["parts"]?.array)
      let shards = parts.map { $0.object?["shards"]?.array?.compactMap(\.string) ?? [] }
      let all = Set(shards.joined())
      #expect(all.count == 3)
      for (part, own) in shards.enumerated() {
        try linkPico(directory + "/some", except: all.subtracting(own))
        let result = try make(part, in: directory, model: "some")
        #expect(result.code == 0, "\(result)")
        #expect(try Command(shell: "rm -r some", in: directory).wait().code == 0)
      }
      // A worker that lacks a file says which, and that another might do better.
      try linkPico(directory + "/some", except: [shards[0][0]])
      let lacking = try ingot(
        ["quantize", "some", "--plan", "plan.json", "--part", "0", "--parts-dir", "others"], in: directory)
      #expect(lacking.code == 75 && lacking.err.contains(shards[0][0]), "\(lacking)")
      #expect(!exists(directory + "/others"))
      // The pack is made without any.
      try linkPico(directory + "/none", except: all)
      #expect(try merge(in: directory, model: "none").code == 0)
      #expect(try ingot(["quantize", pico, "-o", "whole.ingot"], in: directory).code == 0)
      let isSame = try contents(of: directory + "/merged.ingot") == contents(of: directory + "/whole.ingot")
      #expect(isSame)
    }
  }

  @Test func aCheckpointThatIsAnotherIsRefused() throws {
    try withTemporaryDirectory { directory in
      try plan([], parts: 2, in: directory)
      try rewritePico(directory + "/one")
      for name in listing(of: pico) where name.hasSuffix(".safetensors") {
        unsafe _ = symlink(directory + "/one/model.safetensors", directory + "/one/" + name)
      }
      let other = try make(0, in: directory, model: "one")
      #expect(other.code == 4 && other.err.contains(".safetensors"), "\(other)")
      try changePico(directory + "/two", "tokenizer_config.json") { $0 + "\n" }
      let changed = try make(0, in: directory, model: "two")
      #expect(changed.code == 4 && changed.err.contains("tokenizer_config.json"), "\(changed)")
      try linkPico(directory + "/three", except: ["tokenizer.json"])
      let missing = try make(0, in: directory, model: "three")
      #expect(missing.code == 4 && missing.err.contains("tokenizer.json"), "\(missing)")
    }
  }

  @Test func statusTellsWhatIsThere() throws {
    try withTemporaryDirectory { directory in
      try plan([], parts: 3, in: directory)
      let none = try status(in: directory)
      #expect(none.code == 1 && none.out.hasPrefix("0 of 3 parts are done"), "\(none)")
      #expect(try make(1, in: directory).code == 0)
      let one = try status(in: directory, "--json")
      let parts = try JSONParser.parse(one.out).object?["parts"]?.array ?? []
      #expect(one.code == 1 && parts.compactMap { $0.object?["state"]?.string } == ["missing", "done", "missing"])
      let unmerged = try merge(in: directory)
      #expect(unmerged.code == 4 && unmerged.err.contains("2 parts are missing: 0, 2"), "\(unmerged)")
      for part in [0, 2] { #expect(try make(part, in: directory).code == 0) }
      #expect(try status(in: directory).code == 0)
    }
  }

  @Test func slurmSaysWhichPart() throws {
    try withTemporaryDirectory { directory in
      try plan([], parts: 3, in: directory)
      let arguments = ["quantize", "--plan", "plan.json", "--parts-dir", "parts", "-q"]
      let result = try ingot(arguments, in: directory, environment: ["SLURM_ARRAY_TASK_ID": "2"])
      #expect(result.code == 0 && result.out == "parts/part-2\n", "\(result)")
      #expect(try ingot(arguments, in: directory, environment: ["SLURM_ARRAY_TASK_ID": "x"]).code == 64)
    }
  }

  @Test(
    "wrong usage exits with 64",
    arguments: [
      ["plan", pico, "-o", "p"], ["plan", pico, "-o", "p", "--parts", "0"],
      ["plan", pico, "-o", "p", "--parts", "1000"],
      ["plan", pico, "-o", "p", "--parts", "2", "--target", "4.25bpw"],
      ["plan", pico, "-o", "p", "--parts", "2", "--servable", "mlx"],
      ["quantize", "--plan", "plan.json", "--parts-dir", "parts"],
      ["quantize", "--plan", "plan.json", "--part", "0"],
      ["quantize", "--plan", "plan.json", "--part", "2", "--parts-dir", "parts"],
      ["quantize", "--plan", "plan.json", "--part", "0", "--parts-dir", "parts", "--experts", "keep"],
      ["quantize", "--plan", "plan.json", "--part", "0", "--parts-dir", "parts", "--calibration", "states"],
      ["quantize", "--plan", "plan.json", "--part", "0", "--parts-dir", "parts", "-o", "out.ingot"],
      ["quantize", pico, "-o", "out.ingot", "--part", "0"], ["quantize", "-o", "out.ingot"],
    ])
  func usage(arguments: [String]) throws {
    try withTemporaryDirectory { directory in
      try plan([], parts: 2, in: directory)
      let result = try ingot(arguments, in: directory)
      #expect(result.code == 64 && !result.err.isEmpty && result.out.isEmpty, "\(result)")
      #expect(listing(of: directory) == ["plan.json"])
    }
  }

  @Test func aFullDiskIsWorthAnotherTry() throws {
    try withTemporaryDirectory { directory in
      try plan(["--experts", "keep"], parts: 2, in: directory)
      let result = try ingot(
        ["quantize", "--plan", "plan.json", "--part", "0", "--parts-dir", "parts"], in: directory,
        before: "ulimit -f 256")
      #expect(result.code == 75 && listing(of: directory + "/parts").isEmpty, "\(result)")
    }
  }
}
