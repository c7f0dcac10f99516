import Glibc
import Models
import Storage
import TestSupport
import Testing

@Suite struct HubCacheTests {
  private static let commit = "0123456789abcdef0123456789abcdef01234567"

  @Test(
    "an id of the hub is two words",
    arguments: [
      ("inclusionAI/LLaDA2.0-mini", true), ("a/b", true), ("a/b@main", true), ("a/b@refs/pr/1", true),
      ("LLaDA2.0-mini", false), ("/a/b", false), ("./b", false), ("../b", false), ("a/b/c", false), ("a/", false),
      ("a/b@", false), ("a/b@../x", false), ("-a/b", false), ("a/mini.ingot", false), ("a/x.safetensors", false),
      ("a/x.gguf", false), ("a b/c", false), ("ä/b", false), ("", false),
    ])
  func ids(text: String, isID: Bool) {
    #expect((HubID(text) != nil) == isID)
  }

  @Test(
    "the cache lies where the variables say",
    arguments: [
      (["HOME": "/h"], "/h/.cache/huggingface/hub"), (["HOME": "/h", "XDG_CACHE_HOME": "/x"], "/x/huggingface/hub"),
      (["HOME": "/h", "XDG_CACHE_HOME": "/x", "HF_HOME": "/f"], "/f/hub"),
      (["HF_HOME": "/f", "HF_HUB_CACHE": "/c"], "/c"), (["HUGGINGFACE_HUB_CACHE": "/old"], "/old"),
      (["HF_HOME": "", "HOME": "/h"], "/h/.cache/huggingface/hub"), (["HF_HOME": "~/f", "HOME": "/h"], "/h/f/hub"),
      ([:], nil),
    ] as [([String: String], String?)])
  func place(variables: [String: String], directory: String?) {
    #expect(HubCache { variables[$0] }?.directory == directory)
  }

  /// A cache with a model `a/b` at one commit, as `hf download` leaves it: links to blobs.
  private func withCache(_ body: (_ cache: HubCache, _ folder: String) throws -> Void) throws {
    try withTemporaryDirectory { directory in
      let folder = directory + "/models--a--b"
      for part in ["", "/refs", "/blobs", "/snapshots", "/snapshots/\(Self.commit)"] {
        try makeDirectory(folder + part)
      }
      try write(Array(Self.commit.utf8), to: folder + "/refs/main")
      var tiny = TinyCheckpoint()
      tiny.shards = .fromOne
      try tiny.write(to: folder + "/blobs")
      for name in listing(of: folder + "/blobs") {
        let link = "\(folder)/snapshots/\(Self.commit)/\(name)"
        guard unsafe symlink("../../blobs/\(name)", link) == 0 else { throw TestFailure("no link") }
      }
      try body(try #require(HubCache { ["HF_HUB_CACHE": directory][$0] }), folder)
    }
  }

  private let id = HubID("a/b")!

  private func refusal(_ id: HubID, _ cache: HubCache) throws -> HubError {
    do throws(HubError) { _ = try cache.snapshot(of: id) } catch { return error }
    throw TestFailure("found")
  }

  @Test func aModelIsFoundByItsRevisions() throws {
    try withCache { cache, folder in
      let snapshot = "\(folder)/snapshots/\(Self.commit)"
      try makeDirectory(folder + "/refs/refs")
      try makeDirectory(folder + "/refs/refs/pr")
      try write(Array((Self.commit + "\n").utf8), to: folder + "/refs/refs/pr/1")
      for name in ["a/b", "a/b@main", "a/b@\(Self.commit)", "a/b@refs/pr/1"] {
        #expect(try cache.snapshot(of: #require(HubID(name))) == snapshot, "\(name)")
      }
      #expect(try ModelStore(path: snapshot).tensors.count > 10)
      #expect(
        try refusal(#require(HubID("a/b@v2")), cache)
          == .noRevision(#require(HubID("a/b@v2")), commits: [Self.commit], cache: cache.directory))
      #expect(try refusal(#require(HubID("a/c")), cache) == .absent(#require(HubID("a/c")), cache: cache.directory))
    }
  }

  @Test func aSnapshotMayHoldAGGUF() throws {
    try withCache { cache, folder in
      let snapshot = "\(folder)/snapshots/\(Self.commit)"
      for name in listing(of: snapshot) where name.contains("safetensors") {
        unsafe _ = unlink("\(snapshot)/\(name)")
      }
      try write([], to: snapshot + "/m-00001-of-00002.gguf")
      guard case .incomplete(_, ["m-00002-of-00002.gguf"], _, _) = try refusal(id, cache) else {
        return #expect(Bool(false))
      }
      try write([], to: snapshot + "/m-00002-of-00002.gguf")
      #expect(try cache.snapshot(of: id) == snapshot)
    }
  }

  @Test func whatIsNotThereIsNotTakenForAReference() throws {
    try withCache { cache, folder in
      try write(Array("../../../etc".utf8), to: folder + "/refs/main")
      guard case .incomplete = try refusal(id, cache) else { return #expect(Bool(false)) }
      unsafe _ = unlink(folder + "/refs/main")
      #expect(try refusal(id, cache) == .noRevision(id, commits: [Self.commit], cache: cache.directory))
    }
  }

  @Test(
    "files that are missing, or links to such, are named",
    arguments: ["config.json", "model-00002-of-00003.safetensors", "model.safetensors.index.json"])
  func incomplete(name: String) throws {
    for isDangling in [false, true] {
      try withCache { cache, folder in
        let snapshot = "\(folder)/snapshots/\(Self.commit)"
        unsafe _ = unlink(isDangling ? "\(folder)/blobs/\(name)" : "\(snapshot)/\(name)")
        try write([1, 2, 3], to: folder + "/blobs/4d7a.incomplete")
        // Without an index a single file is looked for.
        let missing = name.hasSuffix("index.json") ? "model.safetensors" : name
        #expect(
          try refusal(id, cache) == .incomplete(id, missing: [missing], partialByteCount: 3, snapshot: snapshot))
      }
    }
  }

  @Test func aDownloadThatHasJustBegunIsIncomplete() throws {
    try withCache { cache, folder in
      let snapshot = "\(folder)/snapshots/\(Self.commit)"
      for name in listing(of: snapshot) { unsafe _ = unlink("\(snapshot)/\(name)") }
      unsafe _ = rmdir(snapshot)
      let found = try refusal(id, cache)
      #expect(found == .incomplete(id, missing: [], partialByteCount: 0, snapshot: snapshot))
    }
  }
}
