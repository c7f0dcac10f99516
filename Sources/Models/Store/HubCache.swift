import Glibc
import Safetensors
import Storage

/// The id of a model on the hub of Hugging Face, `owner/name`, behind which `@` and a revision may stand.
package struct HubID: Sendable, Equatable {
  package let owner: String
  package let name: String
  package let revision: String?

  /// Nil for a text that is none: an absolute path, one with more or fewer parts, or a file of ours.
  package init?(_ text: String) {
    let halves = text.split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    let parts = halves[0].split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 2, parts.allSatisfy(Self.isWord) else { return nil }
    let files = [".ingot", ".safetensors", ".gguf", ".record", ".calibration"]
    guard !files.contains(where: parts[1].hasSuffix) else { return nil }
    if halves.count == 2 {
      guard halves[1].split(separator: "/", omittingEmptySubsequences: false).map(String.init).allSatisfy(Self.isWord)
      else { return nil }
    }
    (owner, name, revision) = (parts[0], parts[1], halves.count == 2 ? halves[1] : nil)
  }

  /// As the hub allows owners and names; none leads out of a directory.
  package static func isWord(_ word: String) -> Bool {
    guard let first = word.utf8.first, first != UInt8(ascii: "."), first != UInt8(ascii: "-") else { return false }
    return word.unicodeScalars.allSatisfy {
      $0.isASCII && ($0.properties.isAlphabetic || "0123456789._-".unicodeScalars.contains($0))
    }
  }

  /// What downloads it, or what of it is missing.
  package var downloadCommand: String {
    "hf download \(owner)/\(name)" + (revision.map { " --revision \($0)" } ?? "")
  }
}

/// Why a model is not in the cache.
package enum HubError: Error, Sendable, Equatable {
  case absent(HubID, cache: String)
  /// The model is there, but not this revision of it; the commits that are.
  case noRevision(HubID, commits: [String], cache: String)
  /// Files that are missing, or links to what is; and the bytes that were fetched of files that are not whole.
  case incomplete(HubID, missing: [String], partialByteCount: Int, snapshot: String)
}

/// Where Hugging Face's tools keep what they download: for each model `refs`, which give names to commits, `snapshots` of these with links,
/// and the `blobs` that the links lead to.
package struct HubCache: Sendable {
  package let directory: String

  /// - Parameter environment: the value of a variable. `HF_HUB_CACHE` names the cache, `HF_HOME` and `XDG_CACHE_HOME` directories that it
  ///   lies in.
  /// - Returns: nil where there is none of these and no `HOME`.
  package init?(environment: (String) -> String?) {
    func value(_ name: String) -> String? {
      guard let value = environment(name), !value.isEmpty else { return nil }
      guard value == "~" || value.hasPrefix("~/"), let home = environment("HOME") else { return value }
      return home + value.dropFirst()
    }
    if let cache = value("HF_HUB_CACHE") ?? value("HUGGINGFACE_HUB_CACHE") {
      directory = cache
    } else if let home = value("HF_HOME") {
      directory = home + "/hub"
    } else if let caches = value("XDG_CACHE_HOME") ?? value("HOME").map({ $0 + "/.cache" }) {
      directory = caches + "/huggingface/hub"
    } else {
      return nil
    }
  }

  /// The directory of a model as it was at a revision, `main` where none is named.
  ///
  /// - Throws: ``HubError``, too where not all of the model is there.
  package func snapshot(of id: HubID) throws(HubError) -> String {
    let folder = "\(directory)/models--\(id.owner)--\(id.name)"
    guard let parts = SystemCall.names(in: folder), parts.contains("snapshots") || parts.contains("blobs") else {
      throw .absent(id, cache: directory)
    }
    let commits = Self.entries(of: folder + "/snapshots")
    let partial = Self.entries(of: folder + "/blobs").filter { $0.hasSuffix(".incomplete") }
    let partialByteCount = partial.reduce(0) { sum, name in
      sum + (SystemCall.status(of: "\(folder)/blobs/\(name)").map { Int($0.st_size) } ?? 0)
    }
    let revision = id.revision ?? "main"
    let reference = Self.text(of: "\(folder)/refs/\(revision)")
    let named = reference ?? revision
    guard commits.contains(named) else {
      guard partial.isEmpty, reference == nil else {
        throw .incomplete(id, missing: [], partialByteCount: partialByteCount, snapshot: "\(folder)/snapshots/\(named)")
      }
      throw .noRevision(id, commits: commits, cache: directory)
    }
    let snapshot = "\(folder)/snapshots/\(named)"
    let wanted = ["config.json"] + Checkpoint.weightFiles(in: snapshot) + (partial.isEmpty ? [] : ["tokenizer.json"])
    let missing = wanted.filter { SystemCall.status(of: "\(snapshot)/\($0)") == nil }
    guard missing.isEmpty else {
      throw .incomplete(id, missing: missing, partialByteCount: partialByteCount, snapshot: snapshot)
    }
    return snapshot
  }

  /// The name in a small file; nil where there is none.
  private static func text(of path: String) -> String? {
    guard let file = try? MappedFile(path: path), file.byteCount <= 256 else { return nil }
    return file.bytes.utf8?.filter { !$0.isWhitespace }
  }

  private static func entries(of directory: String) -> [String] {
    (SystemCall.names(in: directory) ?? []).filter { $0 != "." && $0 != ".." }.sorted()
  }
}
