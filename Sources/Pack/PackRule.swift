package import Storage

/// The numbered rules of `Formats/pack.md` §8.
package enum PackRule: Int, Sendable, CaseIterable {
  case length = 1, magic, readVersion, rootHash, headerFields, requiredFeatures, fileLength, counts, tablesPlace,
    tablesHash
  case chunkFields, chunkAlignment, chunkOrder, chunkGap, chunkLengths, chunkTail, storedHash, frame, contentHash
  case tensorName, strings, tensorOrder, tensorEncoding, tensorShape, tensorChunks, planePlace, planeCover, planeGap
  case owner, tensorErrors, scales
  case fileRecord, requiredFiles
  case rawHashes
}

/// Named numbers of the format.
package enum PackLimits {
  package static let maximumChunks = 1 << 24
  package static let maximumTensors = 1 << 22
  package static let maximumFiles = 1 << 10
  package static let maximumStrings = 1 << 28
  package static let maximumName = 1024
  package static let maximumContent = 1 << 30
  package static let maximumElements = 1 << 48

  /// The most that an embedded file may hold: a reader holds it whole, and a tree made of it takes many times its bytes.
  package static func maximumContent(ofFile name: String) -> Int {
    let isTemplate = name.hasSuffix(".jinja") || name == "source/chat_template.json"
    if isTemplate { return 1 << 20 }
    let settings = ["provenance.json", "source/config.json", "source/generation_config.json"]
    return settings.contains(name) ? 16 << 20 : 64 << 20
  }

  /// Where planes, small chunks and the tables start: the width of a cache line.
  package static let alignment = 64
  /// Where raw experts start: the largest page in common use (arm64), so that they can be mapped on their own.
  package static let expertAlignment = 16_384
}

extension PackLimits {
  /// Whether a file may be embedded.
  static func check(file name: String, byteCount: Int) throws(PackError) {
    let limit = maximumContent(ofFile: name)
    guard (1...limit).contains(byteCount) else {
      throw .limit("`\(name)` has \(byteCount) bytes; in a pack it has 1 to \(limit)")
    }
  }
}

/// One broken rule: which, where, and what stands there.
package struct PackViolation: Error, Sendable, Equatable {
  package let rule: PackRule
  /// What is broken, with the values found and expected.
  package let detail: String
  /// The bytes of the file in question, if the damage has a place.
  package var byteRange: Range<Int>?
  /// The chunk, tensor or file meant, e.g. ``chunk 412, layer 7, expert 31``.
  package var subject: String?

  package init(_ rule: PackRule, _ detail: String, at byteRange: Range<Int>? = nil, in subject: String? = nil) {
    self.rule = rule
    self.detail = detail
    self.byteRange = byteRange
    self.subject = subject
  }
}

/// Why a pack cannot be opened, read or written.
package enum PackError: Error, Sendable, Equatable {
  /// The operating system refused.
  case system(FileError)
  /// The file breaks a rule of the format; `path` says which file.
  case broken(PackViolation, path: String)
  /// There is no tensor or file of this name.
  case notFound(String, path: String)
  /// The tensor's encoding is one this version cannot decode.
  case unknownEncoding(id: UInt16, groupSize: UInt16, tensor: String, path: String)
  /// What was to be written goes beyond a limit of the format.
  case limit(String)
  /// The file system has too little room; both in bytes.
  case diskSpace(needed: Int, free: Int, path: String)
  /// Another file stands where the pack was.
  case replaced(path: String)
  /// Stopped by a signal.
  case interrupted
}
