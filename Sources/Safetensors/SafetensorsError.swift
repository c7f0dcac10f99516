package import Storage
import Tensors

/// The rules that a safetensors file and a checkpoint directory must keep, numbered for tests and reports;
/// `Formats/checkpoint.md`.
///
/// A number is never given a second meaning; new rules go at the end of their part.
package enum SafetensorsRule: Int, Sendable, CaseIterable {
  /// The operating system opens, reads and writes the file.
  case system = 1

  // The file.
  /// There are 8 bytes for the header's length.
  case fileTooShort = 10
  /// The header is not longer than ``SafetensorsHeader/maximumByteCount``.
  case headerTooLong = 11
  /// The header lies within the file.
  case headerOutsideFile = 12
  /// The header is strict JSON: no repeated key, valid UTF-8.
  case headerNotJSON = 13
  /// The header starts with `{`.
  case headerNotObject = 14
  /// `__metadata__` holds texts only.
  case metadataNotText = 15
  /// No two names differ only in how their letters are composed.
  case ambiguousName = 16

  // One entry of the header.
  /// An entry is an object.
  case entryNotObject = 20
  /// An entry has `dtype`, `shape` and `data_offsets`.
  case missingField = 21
  /// An entry has nothing else.
  case unknownField = 22
  /// `dtype` is a short name, `shape` whole numbers, `data_offsets` two of them.
  case fieldKind = 23
  // 24 asked that the dtype be one of ``DType``; what reads values asks that now.
  /// There are at most ``SafetensorsHeader/maximumRank`` dimensions.
  case rankTooHigh = 25
  /// The tensor's size in bytes fits an `Int`.
  case shapeOverflow = 26
  /// A tensor does not end before it begins.
  case offsetsReversed = 27
  /// A tensor ends within the file.
  case dataOutsideFile = 28
  /// A tensor has the bytes that its dtype and shape need.
  case lengthMismatch = 29

  // All entries together.
  /// No byte belongs to two tensors.
  case overlap = 30
  /// No byte before or between tensors belongs to none.
  case hole = 31
  /// No byte after the last tensor belongs to none.
  case trailingBytes = 32

  // A directory.
  /// A checkpoint directory has an index or a single file.
  case noCheckpoint = 40
  /// It does not have both, unless the index names just that file.
  case twoCheckpoints = 41
  /// The index is strict JSON.
  case indexNotJSON = 42
  /// The index has a `weight_map` from names to file names.
  case indexMalformed = 43
  /// A shard's name is a plain file name, so that nothing outside the directory is opened.
  case shardName = 44
  /// Every shard that the index names is there.
  case shardMissing = 45
  /// Every tensor of the index is in the shard it names.
  case tensorNotInShard = 46
  /// Every tensor of a shard is in the index.
  case tensorNotInIndex = 47
  /// No tensor is in two shards.
  case tensorInTwoShards = 48
  // 49 asked that the index's `total_size` be the sum of all tensors' bytes; it is noted now.
  /// A file that is read as a whole is not larger than its limit.
  case fileTooLarge = 50

  /// A GGUF is as its version 3 says; what is wrong has words, no number.
  case gguf = 60
}

/// Why a safetensors file or a checkpoint directory was refused, and where. Data only; the sentences are in
/// `SafetensorsError+Messages.swift`.
package struct SafetensorsError: Error, Equatable {
  /// What was found, with its numbers; each case breaks the rule of the same name.
  package enum Reason: Sendable, Equatable {
    case system(FileError)
    /// The process may not open as many files as the checkpoint has; `needed` are enough for two like it.
    case descriptors(FileError, needed: Int)
    case fileTooShort(byteCount: Int)
    case headerTooLong(byteCount: UInt64, limit: Int)
    case headerOutsideFile(headerEnd: Int, fileByteCount: Int)
    case headerNotJSON(problem: String)
    case headerNotObject
    /// `key` is nil when `__metadata__` itself is no object.
    case metadataNotText(key: String?, found: String)
    case ambiguousName(String)
    case entryNotObject(found: String)
    case missingField(String)
    case unknownField(String)
    case fieldKind(field: String, expected: String)
    case rankTooHigh(rank: Int, limit: Int)
    case shapeOverflow(dimensions: [Int])
    case offsetsReversed(begin: Int, end: Int)
    /// Positions are counted from the start of the file.
    case dataOutsideFile(end: Int, fileByteCount: Int)
    case lengthMismatch(byteCount: Int, expected: Int)
    case overlap(with: String, byteCount: Int)
    case hole(Range<Int>)
    case trailingBytes(Range<Int>)
    case noCheckpoint
    /// There are safetensors, but neither an index nor a file of the single name.
    case noIndex
    case twoCheckpoints
    case indexNotJSON(problem: String)
    case indexMalformed(problem: String)
    case shardName(String)
    case shardMissing(String)
    /// `foundIn` is a shard that has the tensor, if any.
    case tensorNotInShard(shard: String, foundIn: String?)
    case tensorNotInIndex
    case tensorInTwoShards(other: String)
    case fileTooLarge(byteCount: Int, limit: Int)
    /// `isCut` where the file ends too early.
    case gguf(String, isCut: Bool = false)
  }

  /// The file or directory at fault.
  package let path: String
  /// The tensor at fault, if it is one tensor's fault.
  package let tensor: String?
  /// Where in the file `path` the fault stands, if it stands at one place.
  package let byteOffset: Int?
  package let reason: Reason

  package init(_ reason: Reason, path: String, tensor: String? = nil, byteOffset: Int? = nil) {
    self.path = path
    self.tensor = tensor
    self.byteOffset = byteOffset
    self.reason = reason
  }

  /// A failed call of the operating system.
  package init(_ error: FileError) { self.init(.system(error), path: error.path) }

  /// The rule that was broken.
  package var rule: SafetensorsRule {
    switch reason {
    case .system, .descriptors: .system
    case .fileTooShort: .fileTooShort
    case .headerTooLong: .headerTooLong
    case .headerOutsideFile: .headerOutsideFile
    case .headerNotJSON: .headerNotJSON
    case .headerNotObject: .headerNotObject
    case .metadataNotText: .metadataNotText
    case .ambiguousName: .ambiguousName
    case .entryNotObject: .entryNotObject
    case .missingField: .missingField
    case .unknownField: .unknownField
    case .fieldKind: .fieldKind
    case .rankTooHigh: .rankTooHigh
    case .shapeOverflow: .shapeOverflow
    case .offsetsReversed: .offsetsReversed
    case .dataOutsideFile: .dataOutsideFile
    case .lengthMismatch: .lengthMismatch
    case .overlap: .overlap
    case .hole: .hole
    case .trailingBytes: .trailingBytes
    case .noCheckpoint, .noIndex: .noCheckpoint
    case .twoCheckpoints: .twoCheckpoints
    case .indexNotJSON: .indexNotJSON
    case .indexMalformed: .indexMalformed
    case .shardName: .shardName
    case .shardMissing: .shardMissing
    case .tensorNotInShard: .tensorNotInShard
    case .tensorNotInIndex: .tensorNotInIndex
    case .tensorInTwoShards: .tensorInTwoShards
    case .fileTooLarge: .fileTooLarge
    case .gguf: .gguf
    }
  }
}
