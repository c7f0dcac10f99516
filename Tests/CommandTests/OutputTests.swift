import Glibc
import TestSupport
import Testing

/// What a command may write: looked at before any work, for every output of every command alike.
@Suite struct OutputTests {
  /// A directory with a copy of the trained checkpoint, `model`.
  private func withModel(_ body: (String) throws -> Void) throws {
    try withTemporaryDirectory { directory in
      try copyPico(to: directory + "/model")
      try write(Array(#"{"experts": "int8-g64"}"#.utf8), to: directory + "/model/own.json")
      try write(Array("some text\n".utf8), to: directory + "/text")
      try write(Array(#"{"prompt": "hi"}"#.utf8), to: directory + "/prompts.jsonl")
      try body(directory)
    }
  }

  /// Every way to name an output; the path is put at the end.
  static let outputs: [[String]] = [
    ["quantize", "model", "--recipe", "model/own.json", "-o"],
    ["inspect", "model", "--tensor", "lm_head.weight", "--npy"],
    ["inspect", "model/model-00000-of-00003.safetensors", "--tensor", "model.word_embeddings.weight", "--npy"],
    ["run", "model", "-p", "x", "--gen-length", "4", "--trace"],
    ["verify", "-r", "model", "--text", "text", "--prompts", "prompts.jsonl", "--record"],
    ["verify", "model", "-r", "model", "--text", "text", "--prompts", "prompts.jsonl", "--html"],
  ]

  @Test("an output that is one of the files being read is refused", arguments: outputs)
  func source(arguments: [String]) throws {
    try withModel { directory in
      unsafe #expect(symlink("model", directory + "/link") == 0)
      unsafe #expect(symlink("model/config.json", directory + "/config") == 0)
      unsafe #expect(link(directory + "/model/config.json", directory + "/hard") == 0)
      var targets = ["model/config.json", "./model/../model/config.json", "link/config.json", "config", "hard"]
      if arguments[1] == "model" || arguments[0] == "verify" {
        targets += ["model/model-00000-of-00003.safetensors", "model/tokenizer.json", "model/tokenizer_config.json"]
      }
      if arguments.contains("--recipe") { targets.append("model/own.json") }
      if arguments.contains("--text") { targets += ["text", "prompts.jsonl"] }
      let before = try listing(of: directory + "/model").map { try contents(of: "\(directory)/model/\($0)") }
      for target in targets {
        let result = try ingot(arguments + [target, "--force"], in: directory)
        #expect(result.code == 1 && result.err.contains("`\(target)` is one of the files to be read"), "\(result)")
        #expect(result.out.isEmpty)
      }
      let after = try listing(of: directory + "/model").map { try contents(of: "\(directory)/model/\($0)") }
      #expect(before == after && exists(directory + "/text") && exists(directory + "/prompts.jsonl"))
    }
  }

  @Test("an output that cannot be written is refused before any work", arguments: outputs)
  func impossible(arguments: [String]) throws {
    try withModel { directory in
      try makeDirectory(directory + "/taken")
      try write([1], to: directory + "/old")
      unsafe #expect(symlink("nowhere-else", directory + "/dangling") == 0)
      let long = String(repeating: "n", count: 256)
      for (path, words) in [
        ("nowhere/x", "No such file"), ("old/x", "Not a directory"), ("taken", "is a directory"),
        (long, "name too long"), ("/proc/nothing", "cannot create `/proc/nothing`"), ("old", "exists already"),
        ("dangling", "is a link to `nowhere-else`"),
      ] {
        let result = try ingot(arguments + [path], in: directory)
        #expect(result.code == 1 && result.err.contains(words) && result.out.isEmpty, "\(path): \(result)")
        #expect(!result.err.contains("tensors") && !result.err.contains("note: the page"), "\(result)")
      }
      let names = ["dangling", "model", "old", "prompts.jsonl", "taken", "text"]
      #expect(listing(of: directory) == names && listing(of: directory + "/taken").isEmpty)
      guard !isRoot else { return }
      try makeDirectory(directory + "/locked", mode: 0o555)
      let locked = try ingot(arguments + ["locked/x"], in: directory)
      #expect(locked.code == 1 && locked.err.contains("Permission denied") && locked.out.isEmpty, "\(locked)")
    }
  }

  @Test("devices, pipes and sockets are never replaced", arguments: outputs)
  func streams(arguments: [String]) throws {
    try withModel { directory in
      unsafe #expect(mkfifo(directory + "/pipe", 0o600) == 0)
      unsafe #expect(symlink("/dev/null", directory + "/null") == 0)
      for path in ["pipe", "null", "/dev/null"] where !(arguments[0] == "run" && path == "pipe") {
        let result = try ingot(arguments + [path, "--force"], in: directory)
        #expect(result.code == (arguments[0] == "run" ? 0 : 1), "\(result)")
        #expect(arguments[0] == "run" || result.err.contains("a pipe, a device or a socket"), "\(result)")
      }
      var status = stat()
      #expect(unsafe stat(directory + "/pipe", &status) == 0 && status.st_mode & S_IFMT == S_IFIFO)
      #expect(unsafe stat("/dev/null", &status) == 0 && status.st_mode & S_IFMT == S_IFCHR)
      #expect(unsafe lstat(directory + "/null", &status) == 0 && status.st_mode & S_IFMT == S_IFLNK)
    }
  }

  @Test func aLinkIsReplacedItselfAndThatIsSaid() throws {
    try withModel { directory in
      try write([7], to: directory + "/other")
      unsafe #expect(symlink("other", directory + "/out") == 0)
      let kept = try ingot(["quantize", "model", "-o", "out"], in: directory)
      #expect(kept.code == 1 && kept.err.contains("is a link to `other`") && kept.err.contains("--force"), "\(kept)")
      let forced = try ingot(["quantize", "model", "-o", "out", "--force"], in: directory)
      #expect(forced.code == 0 && forced.err.contains("`other` stays as it is"), "\(forced)")
      #expect(try contents(of: directory + "/other") == [7] && contents(of: directory + "/out").count > 1000)
    }
  }

  @Test func twoOutputsAreTwoFiles() throws {
    try withModel { directory in
      unsafe #expect(symlink(".", directory + "/here") == 0)
      let both = ["verify", "model", "-r", "model", "--record", "x"]
      for html in ["x", "./x", "here/x"] {
        let result = try ingot(both + ["--html", html], in: directory)
        #expect(result.code == 64 && result.err.contains("are the same file"), "\(result)")
      }
      let shell = try ingot(
        ["run", "model", "-p", "x", "--trace", "said", "--force"], in: directory, redirection: ">said")
      #expect(shell.code == 64 && shell.err.contains("is the file that stdout goes to"), "\(shell)")
    }
  }

  @Test func whatIngotWroteBesideACheckpointMayBeReplaced() throws {
    try withModel { directory in
      for _ in 0..<2 {
        let result = try ingot(["quantize", "model", "-o", "model/own.ingot", "--force"], in: directory)
        #expect(result.code == 0, "\(result)")
      }
    }
  }

  // MARK: Names

  @Test func aNameOf255BytesIsEnough() throws {
    try withModel { directory in
      let name = String(repeating: "ü", count: 120) + String(repeating: "n", count: 15)
      let made = try ingot(["quantize", "model", "-o", name], in: directory)
      let again = try ingot(["quantize", "model", "-o", name, "--force"], in: directory)
      #expect(made.code == 0 && again.code == 0, "\(made) \(again)")
      let attached = try ingot(
        ["verify", name, "-r", "model", "--prompts", "prompts.jsonl", "--gen-length", "32", "--attach"], in: directory)
      #expect(attached.code == 0 && attached.err.contains("the report is in"), "\(attached)")
      #expect(listing(of: directory) == ["model", "prompts.jsonl", "text", name].sorted())
    }
  }

  // MARK: Reports in packs

  @Test func aPackInAStoreIsNotAmended() throws {
    try withModel { directory in
      try makeDirectory(directory + "/blobs")
      let name = String(repeating: "0123456789abcdef", count: 4)
      let made = try ingot(["quantize", "model", "-o", "blobs/\(name)"], in: directory)
      #expect(made.code == 0)
      unsafe #expect(symlink("blobs/\(name)", directory + "/p.ingot") == 0)
      let before = try contents(of: "\(directory)/blobs/\(name)")
      let result = try ingot(["verify", "p.ingot", "-r", "model", "--attach"], in: directory)
      #expect(result.code == 1 && result.err.contains("named by their contents") && result.err.contains("cp -L"))
      #expect(result.out.isEmpty, "refused before any work")
      #expect(try contents(of: "\(directory)/blobs/\(name)") == before)
    }
  }

  @Test(.enabled(if: !isRoot)) func aPackThatCannotBeAmendedIsRefusedAtOnce() throws {
    try withModel { directory in
      try makeDirectory(directory + "/locked")
      let made = try ingot(["quantize", "model", "-o", "locked/p.ingot"], in: directory)
      #expect(made.code == 0)
      unsafe #expect(chmod(directory + "/locked", 0o555) == 0)
      defer { unsafe _ = chmod(directory + "/locked", 0o755) }
      let result = try ingot(["verify", "locked/p.ingot", "-r", "model", "--attach"], in: directory)
      #expect(result.code == 1 && result.err.contains("Permission denied") && result.out.isEmpty, "\(result)")
    }
  }
}

/// Files of their own, unlike those of `linkPico`.
func copyPico(to directory: String) throws {
  try makeDirectory(directory)
  for name in listing(of: pico) { try write(try contents(of: "\(pico)/\(name)"), to: "\(directory)/\(name)") }
}
