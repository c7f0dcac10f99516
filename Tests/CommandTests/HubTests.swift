import Glibc
import TestSupport
import Testing

/// Models that are named by their ids on the hub of Hugging Face.
@Suite struct HubTests {
  private let id = "inclusionAI/LLaDA2.0-mini"
  private let environment = ["HF_HUB_CACHE": "cache"]

  /// A cache that has pico under the id.
  private func makeCache(in directory: String, except names: Set<String> = []) throws {
    let folder = directory + "/cache/models--inclusionAI--LLaDA2.0-mini"
    for part in ["/cache"] { try makeDirectory(directory + part) }
    for part in ["", "/refs", "/blobs", "/snapshots"] { try makeDirectory(folder + part) }
    try write(Array("c0ffee".utf8), to: folder + "/refs/main")
    try linkPico(folder + "/snapshots/c0ffee", except: names)
  }

  private func commands(_ model: String) -> [[String]] {
    [
      ["quantize", model, "--dry-run"], ["inspect", model], ["inspect", pico, "--diff", model],
      ["run", model, "-p", "x"], ["verify", model, "--reference", pico, "--level", "weights"],
      ["verify", pico, "--reference", model, "--level", "weights"],
      ["calibrate", model, "-o", "s.calibration", "--text", "text", "--tokens", "1k", "--force"],
    ]
  }

  @Test func everyCommandFindsItInTheCache() throws {
    try withTemporaryDirectory { directory in
      try makeCache(in: directory)
      try write(Array(String(repeating: "What is 60 + 23? ", count: 60).utf8), to: directory + "/text")
      for command in commands(id) {
        let result = try ingot(command, in: directory, environment: environment)
        #expect(result.code == 0, "\(command): \(result)")
        #expect(result.err.contains("`\(id)` is `cache/models--inclusionAI--LLaDA2.0-mini/snapshots/c0ffee`"))
        // All else that it prints is that of the directory.
        #expect(result.out == (try ingot(command + ["-q"], in: directory, environment: environment)).out)
      }
      #expect(try ingot(["run", id, "-q", "-p", question], in: directory, environment: environment).out == picosAnswer)
    }
  }

  @Test func aDirectoryOfThatNameWins() throws {
    try withTemporaryDirectory { directory in
      try makeCache(in: directory, except: ["config.json"])
      try makeDirectory(directory + "/inclusionAI")
      try linkPico("\(directory)/\(id)")
      let result = try ingot(["inspect", id], in: directory, environment: environment)
      #expect(result.code == 0 && !result.err.contains("snapshots"), "\(result)")
    }
  }

  @Test func theFolderOfTheCacheIsNotTakenForACheckpoint() throws {
    try withTemporaryDirectory { directory in
      try makeCache(in: directory)
      for command in commands("cache/models--inclusionAI--LLaDA2.0-mini") {
        let result = try ingot(command, in: directory)
        #expect(result.code == 64 && result.err.contains("/snapshots/c0ffee`"), "\(command): \(result)")
      }
    }
  }

  @Test func whatIsMissingIsToldWithTheCommandThatFetchesIt() throws {
    try withTemporaryDirectory { directory in
      try makeDirectory(directory + "/cache")
      for command in commands("other/model") {
        let result = try ingot(command, in: directory, environment: environment)
        #expect(result.code == 1 && result.out.isEmpty, "\(command): \(result)")
        #expect(result.err.contains("`hf download other/model`"), "\(command): \(result)")
      }
      unsafe _ = rmdir(directory + "/cache")
      try makeCache(in: directory, except: ["model-00001-of-00003.safetensors"])
      for command in commands(id) {
        let result = try ingot(command, in: directory, environment: environment)
        #expect(result.code == 1 && result.out.isEmpty, "\(command): \(result)")
        for words in ["is incomplete", "`model-00001-of-00003.safetensors`", "`hf download \(id)` fetches the rest"] {
          #expect(result.err.contains(words), "\(command): \(result)")
        }
      }
      let revision = try ingot(["inspect", id + "@v2"], in: directory, environment: environment)
      #expect(revision.code == 1 && revision.err.contains("`hf download \(id) --revision v2`"), "\(revision)")
      #expect(revision.err.contains("`c0ffee`"), "\(revision)")
    }
  }
}
