import Glibc
import Pack
import TestSupport
import Testing

/// `run --check-weights`, and what may take the place of a trace.
@Suite struct WeightCheckTests {
  @Test("a changed chunk ends the run that comes to it", arguments: ["none", "zstd"])
  func changedChunk(compression: String) throws {
    try withTemporaryDirectory { directory in
      let path = directory + "/p.ingot"
      let made = try ingot(
        ["quantize", pico, "-o", path, "-q", "--experts", "int8-g32", "--compress", compression], in: directory)
      #expect(made.code == 0, "\(made)")
      let plain = try ingot(["run", path, "-q", "-p", question], in: directory)
      let sound = try ingot(["run", path, "-q", "-p", question, "--check-weights"], in: directory)
      #expect(sound.code == 0 && sound.out == plain.out, "\(sound)")

      // The last byte of the first expert of layer 1: a scale, which no look at the tables finds.
      let pack = try PackFile(path: path)
      let index = try #require(
        try (0..<pack.header.chunkCount).first { try pack.chunk($0).kind == .expert && pack.chunk($0).layer == 1 })
      let chunk = try pack.chunk(index)
      var bytes = try contents(of: path)
      bytes[chunk.byteRange.upperBound - 1] ^= 1
      try write(bytes, to: path)
      let found = try ingot(["run", path, "-q", "-p", question, "--check-weights"], in: directory)
      #expect(found.code == 4 && found.err.contains("chunk \(index)"), "\(found)")
      // A run that never comes to it is not its business: that is what `inspect --check` is for.
      #expect(try ingot(["inspect", path, "--check"], in: directory).code == 4)
    }
  }

  @Test func aCheckpointHasNoHashes() throws {
    let refused = try ingot("run", pico, "-p", "x", "--check-weights")
    #expect(refused.status == 64 && refused.stderr.contains("a checkpoint has no hashes"), "\(refused)")
  }

  @Test("what came to a trace's name meanwhile stays, unless forced")
  func traceIsExclusive() throws {
    try withTemporaryDirectory { directory in
      let program = try Command.ingotPath()
      func run(_ options: String) throws -> Command.Result {
        try Command(
          shell:
            "(sleep 1; echo mine > t.jsonl; echo '\(question)') | '\(program)' run '\(pico)' -q --trace t.jsonl \(options)",
          in: directory
        ).wait()
      }
      let refused = try run("")
      #expect(refused.code == 1 && refused.err.contains("t.jsonl"), "\(refused)")
      #expect(try contents(of: directory + "/t.jsonl") == Array("mine\n".utf8))
      let forced = try run("--force")
      #expect(forced.code == 0, "\(forced)")
      #expect(try contents(of: directory + "/t.jsonl").first == UInt8(ascii: "{"))
    }
  }
}
