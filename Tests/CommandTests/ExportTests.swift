import Glibc
import JSON
import TestSupport
import Testing

/// `ingot export` as it is typed.
@Suite struct ExportTests {
  private func withPack(
    _ options: [String] = [], of checkpoint: String = pico, _ body: (String) throws -> Void
  ) throws {
    try withTemporaryDirectory { directory in
      let made = try ingot(["quantize", checkpoint, "-o", "model.ingot", "-q"] + options, in: directory)
      #expect(made.code == 0, "\(made)")
      try body(directory)
    }
  }

  /// pico with block routing, which every format takes, and a solver that all of them hold what it makes of.
  private func withEveryFormat(_ body: (String, [String], [String]) throws -> Void) throws {
    let listed = try ingot(["export", "--list", "--json"], in: "/tmp")
    let formats = try #require(try JSONParser.parse(listed.out).object?["formats"]?.array)
    let names = formats.compactMap { $0.object?["name"]?.string }
    #expect(names.contains("gguf") && names.count > 5)
    var changes = JSONObject()
    for (key, value) in [("block_size", 32), ("expert_capacity", 8)] {
      changes.append(.init(key: key, value: JSONValue(value)))
    }
    try Trained.withVariant(of: "pico", changes) { try body($0, ["--solver", "search-positive"], names) }
  }

  @Test("every format is written, named on stdout, and as large as a dry run says")
  func formats() throws {
    try withEveryFormat { checkpoint, options, names in
      let told = try ingot(["export", "--list"], in: "/tmp")
      #expect(told.code == 0 && names.allSatisfy { told.out.contains($0 + "\n") } && told.err.isEmpty)
      try withPack(options, of: checkpoint) { directory in
        for name in names { try expectWritten(name, in: directory) }
      }
    }
  }

  private func expectWritten(_ name: String, in directory: String) throws {
    let arguments = ["export", "model.ingot", "--to", name]
    let dry = try ingot(arguments + ["--dry-run", "--json"], in: directory)
    #expect(dry.code == 0 && listing(of: directory) == ["model.ingot"], "\(dry)")
    let done = try ingot(arguments + ["-o", "out"], in: directory)
    #expect(done.code == 0 && done.out == "out\n" && done.err.contains("wrote "), "\(done)")
    #expect(done.err.contains("auto_map") == (!["gguf", "minnow"].contains(name)))
    let files = try #require(try JSONParser.parse(dry.out).object?["files"]?.array)
    var byteCount = 0
    for file in files {
      let path = files.count == 1 ? "/out" : "/out/\(file.object?["name"]?.string ?? "")"
      byteCount += try contents(of: directory + path).count
    }
    #expect(try JSONParser.parse(dry.out).object?["output_bytes"]?.int == byteCount)
    let again = try ingot(arguments + ["-o", "out"], in: directory)
    #expect(again.code == 1 && again.err.contains("exists already") && again.err.contains("--force"))
    let forced = try ingot(arguments + ["-o", "out", "--force", "-q"], in: directory)
    #expect(forced.code == 0 && forced.err.isEmpty, "\(forced)")
    #expect(listing(of: directory) == ["model.ingot", "out"])
    _ = try Command(shell: "rm -r out", in: directory).wait()
  }

  @Test("a checkpoint is exported as it is quantized, to the bytes that its pack leads to")
  func withoutPack() throws {
    try withEveryFormat { checkpoint, options, names in
      try withPack(options, of: checkpoint) { directory in
        for name in names {
          let packed = try ingot(
            ["export", "model.ingot", "--to", name, "-o", "a/out", "-q"], in: directory, before: "mkdir a b")
          #expect(packed.code == 0, "\(packed)")
          let arguments = ["export", checkpoint, "--to", name] + options
          let dry = try ingot(arguments + ["-o", "b/out", "--dry-run", "--json"], in: directory)
          #expect(dry.code == 0 && listing(of: directory + "/b").isEmpty, "\(dry)")
          let done = try ingot(arguments + ["-o", "b/out", "--json", "-q"], in: directory)
          #expect(done.code == 0 && listing(of: directory + "/b") == ["out"], "\(done)")
          #expect(try Command(shell: "diff -r a b && rm -r a b", in: directory).wait().code == 0, "\(name)")
          let (planned, written) = (try JSONParser.parse(dry.out).object, try JSONParser.parse(done.out).object)
          #expect(planned?["output_bytes"] == written?["output_bytes"] && planned?["files"] == written?["files"])
        }
      }
      // What is found out when it is made leaves nothing.
      try withTemporaryDirectory { directory in
        let result = try ingot(["export", checkpoint, "--to", "minnow", "-o", "out"], in: directory)
        #expect(result.code == 1 && result.err.contains("--solver search-positive"), "\(result)")
        #expect(listing(of: directory).isEmpty)
        let small = try ingot(
          ["export", checkpoint, "--to", "mlx", "-o", "out", "--max-memory", "22MiB"], in: directory)
        #expect(small.code == 5 && small.err.contains("--max-memory") && listing(of: directory).isEmpty, "\(small)")
      }
    }
  }

  @Test("the same with states, and with a target")
  func withStates() throws {
    try withTemporaryDirectory { directory in
      let states = try ingot(
        ["calibrate", pico, "-o", "s", "--prompts", pico + "/eval.jsonl", "--tokens", "2k", "-q"], in: directory)
      #expect(states.code == 0, "\(states)")
      for options in [["--experts", "int4-g32"], ["--target", "5bpw"]] {
        let own = options + ["--calibration", "s", "-q"]
        for command in [
          ["quantize", pico, "-o", "model.ingot", "--force"] + own,
          ["export", "model.ingot", "--to", "safetensors", "-o", "a", "-q"],
          ["export", pico, "--to", "safetensors", "-o", "b"] + own,
        ] {
          let result = try ingot(command, in: directory)
          #expect(result.code == 0, "\(command): \(result)")
        }
        #expect(try Command(shell: "diff -r a b && rm -r a b", in: directory).wait().code == 0, "\(options)")
      }
    }
  }

  @Test(
    "wrong usage exits with 64",
    arguments: [
      [], ["model.ingot"], ["model.ingot", "--to", "onnx", "-o", "out"], ["model.ingot", "--to", "gguf"],
      ["model.ingot", "--to", "gguf", "-o", "out", "--profile", "nobody"],
      ["model.ingot", "--to", "gguf", "-o", "out", "--tp", "2"],
      ["model.ingot", "--to", "mlx", "-o", "out", "--dtype", "f32"],
      ["model.ingot", "--to", "safetensors", "-o", "out", "--dtype", "f16"],
      ["model.ingot", "--to", "gguf", "-o", "out", "--dtype", "q4_0"],
      ["model.ingot", "--to", "minnow", "-o", "out", "--shard-size", "1GB"],
      ["model.ingot", "--to", "gguf", "-o", "out", "--experts", "int8-g64"],
      ["model.ingot", "--to", "gguf", "-o", "out", "--calibration", "states"],
      [pico, "--to", "gguf", "-o", "out", "--compress", "zstd"],
      [pico, "--to", "gguf", "-o", "out", "--solver", "gptq"],
      [pico, "--to", "gguf", "-o", "out", "--target", "4.25bpw"],
      [pico + "/model-00000-of-00003.safetensors", "--to", "gguf", "-o", "out"],
    ])
  func usage(arguments: [String]) throws {
    try withPack { directory in
      let result = try ingot(["export"] + arguments, in: directory)
      #expect(result.code == 64 && !result.err.isEmpty && result.out.isEmpty, "\(result)")
      #expect(listing(of: directory) == ["model.ingot"])
    }
  }

  @Test("what cannot be held is one sentence with the recipe that would work")
  func refusals() throws {
    try withPack(["--experts", "int4-g16s8"]) { directory in
      let result = try ingot(["export", "model.ingot", "--to", "gguf", "-o", "out"], in: directory)
      #expect(result.code == 1 && result.err.contains("int4-g16s8") && result.err.contains("--experts int4-g32s8"))
      #expect(listing(of: directory) == ["model.ingot"] && result.out.isEmpty)
    }
    try withPack(["--experts", "int4-g64"]) { directory in
      let arguments = ["export", "model.ingot", "--to", "compressed-tensors", "-o", "out"]
      let shared = try ingot(arguments + ["--tp", "4"], in: directory)
      #expect(shared.code == 1 && shared.err.contains("4 devices cannot share"), "\(shared)")
      let small = try ingot(arguments + ["--max-memory", "1MiB"], in: directory)
      #expect(small.code == 5 && small.err.contains("--max-memory") && listing(of: directory) == ["model.ingot"])
    }
  }

  @Test("a directory that export did not write is never replaced")
  func foreignDirectory() throws {
    try withPack { directory in
      let arguments = ["export", "model.ingot", "--to", "mlx", "--force", "-o"]
      try makeDirectory(directory + "/mine")
      try write([1, 2], to: directory + "/mine/thesis")
      let kept = try ingot(arguments + ["mine"], in: directory)
      #expect(kept.code == 1 && kept.err.contains("did not write") && listing(of: directory + "/mine") == ["thesis"])
      for path in ["mine/thesis", "model.ingot"] {
        let file = try ingot(arguments + [path], in: directory)
        #expect(file.code == 1 && file.err.contains("this export is a directory"), "\(file)")
      }
      // An export in which somebody put the pack itself.
      _ = try ingot(arguments + ["out", "-q"], in: directory)
      _ = try Command(shell: "mv model.ingot out/", in: directory).wait()
      let source = try ingot(["export", "out/model.ingot", "--to", "mlx", "--force", "-o", "out"], in: directory)
      #expect(source.code == 1 && source.err.contains("which is to be read"), "\(source)")
      #expect(exists(directory + "/out/model.ingot"))
    }
  }

  @Test("what a killed export left is removed by the next, and told")
  func leftovers() throws {
    try withPack { directory in
      let left = directory + "/.out.4711-1.ingot.tmp"
      try makeDirectory(left)
      try makeDirectory(left + "/below")
      try write([1, 2, 3], to: left + "/below/model.safetensors")
      let result = try ingot(["export", "model.ingot", "--to", "mlx", "-o", "out"], in: directory)
      #expect(result.code == 0 && result.err.contains("removed `.out.4711-1.ingot.tmp`"), "\(result)")
      #expect(listing(of: directory) == ["model.ingot", "out"])
    }
  }

  @Test("a full disk leaves nothing behind")
  func fullDisk() throws {
    try withPack { directory in
      for name in ["gguf", "mlx"] {
        let result = try ingot(
          ["export", "model.ingot", "--to", name, "-o", "out"], in: directory, before: "ulimit -f 1000")
        #expect(result.code == 75 && result.err.contains("File too large"), "\(result)")
        #expect(listing(of: directory) == ["model.ingot"] && !result.err.contains(".tmp"))
      }
    }
  }
}
