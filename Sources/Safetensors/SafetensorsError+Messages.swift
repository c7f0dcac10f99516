import Storage
import Text

/// Every sentence about a refused file: what, where, how to mend.
extension SafetensorsError: CustomStringConvertible {
  /// What is wrong, in one sentence without a period.
  package var message: String {
    switch reason {
    case .system(let error), .descriptors(let error, _): "cannot \(error.operation) the file: \(error.reason)"
    case .fileTooShort(let count): "the file has \(Format.count(count)) bytes, too few for a safetensors header"
    case .headerTooLong(let count, let limit):
      "the header would have \(Format.count(count)) bytes, more than the limit of \(Format.count(limit))"
    case .headerOutsideFile(let end, let count):
      "the header ends at byte \(Format.count(end)) but the file has \(Format.count(count))"
    case .headerNotJSON(let problem): "the header is not valid JSON: \(Shown.text(problem))"
    case .headerNotObject: "the header does not start with `{`"
    case .metadataNotText(nil, let found): "`\(SafetensorsHeader.metadataKey)` is \(found), not an object"
    case .metadataNotText(let key?, let found):
      "`\(Shown.text(key))` of `\(SafetensorsHeader.metadataKey)` is \(found), not a string"
    case .ambiguousName(let name):
      "the name `\(Shown.text(name))` is there twice, with its letters composed differently"
    case .entryNotObject(let found): "\(subject) is \(found), not an object"
    case .missingField(let field): "\(subject) has no `\(field)`"
    case .unknownField(let field): "\(subject) has an unknown field `\(Shown.text(field))`"
    case .fieldKind(let field, let expected): "`\(field)` of \(subject) is not \(expected)"
    case .rankTooHigh(let rank, let limit):
      "\(subject) has \(Format.count(rank)) dimensions, more than the limit of \(limit)"
    case .shapeOverflow(let dimensions):
      "the shape \(dimensions) of \(subject) has more bytes than can be counted"
    case .offsetsReversed(let begin, let end):
      "\(subject) ends at data offset \(Format.count(end)), before it begins at \(Format.count(begin))"
    case .dataOutsideFile(let end, let count):
      "\(subject) ends at byte \(Format.count(end)) but the file has \(Format.count(count))"
    case .lengthMismatch(let count, let expected):
      "\(subject) has \(Format.count(count)) bytes but its dtype and shape need \(Format.count(expected))"
    case .overlap(let other, let count): "\(subject) shares \(Format.count(count)) bytes with `\(Shown.text(other))`"
    case .hole(let range):
      "bytes \(Format.count(range.lowerBound)) to \(Format.count(range.upperBound)) before \(subject) belong to no tensor"
    case .trailingBytes(let range):
      "bytes \(Format.count(range.lowerBound)) to \(Format.count(range.upperBound)) after the last tensor belong to no tensor"
    case .noCheckpoint:
      "the directory has neither `\(Checkpoint.indexName)` nor `\(Checkpoint.singleName)`, nor a GGUF"
    case .noIndex:
      "the directory has safetensors files, but neither `\(Checkpoint.indexName)` nor `\(Checkpoint.singleName)`"
    case .twoCheckpoints: "the directory has the weights of several models"
    case .indexNotJSON(let problem): "the index is not valid JSON: \(Shown.text(problem))"
    case .indexMalformed(let problem): problem
    case .shardName(let name):
      "the index names `\(Shown.text(name))`, which is not a plain file name"
        + (name.hasSuffix(Checkpoint.ggufSuffix) ? " of a safetensors file" : "")
    case .shardMissing(let name): "the shard `\(Shown.text(name))` is not there"
    case .tensorNotInShard(let shard, nil): "\(subject) is not in the shard `\(Shown.text(shard))` that the index names"
    case .tensorNotInShard(let shard, let other?):
      "\(subject) is not in the shard `\(Shown.text(shard))` that the index names but in `\(Shown.text(other))`"
    case .tensorNotInIndex: "\(subject) is not in the index"
    case .tensorInTwoShards(let other): "\(subject) is also in the shard `\(Shown.text(other))`"
    case .fileTooLarge(let count, let limit):
      "the file has \(Format.count(count)) bytes, more than the limit of \(Format.count(limit))"
    case .gguf(let detail, _): (tensor == nil ? "the file" : subject) + " \(Shown.text(detail, limit: 400))"
    }
  }

  /// Where it stands: the file, and the byte if it is one.
  package var location: String {
    let file = "in `\(Shown.text(path))`"
    guard let byteOffset else { return file }
    guard tensor != nil else { return "\(file), byte \(Format.count(byteOffset))" }
    return "\(file), \(path.hasSuffix(".json") ? "index" : "header") entry at byte \(Format.count(byteOffset))"
  }

  /// How to mend it, where we know.
  package var hint: String? {
    switch reason {
    case .fileTooShort, .headerOutsideFile, .dataOutsideFile, .gguf(_, isCut: true):
      "the download is probably incomplete; compare the file's size with the published one, or fetch it again"
    case .headerTooLong, .headerNotObject, .headerNotJSON:
      "this is probably not a safetensors file; a Git LFS pointer or a web page saved under its name looks like this"
    case .trailingBytes:
      "the file was changed, or is from another version of the checkpoint; fetch it again"
    case .system(let error) where error.isTooManyOpen: "this process may open too few files; first say: ulimit -n 4096"
    case .system(let error) where error.isMissing && path.hasSuffix("/config.json"):
      "this is no whole checkpoint; the download may be incomplete: fetch `config.json`, too"
    case .descriptors(_, let needed):
      "the checkpoint has more files than this process may open; first say: ulimit -n \(needed)"
    case .noCheckpoint: "give the directory that holds the checkpoint's `config.json` and its safetensors files"
    case .noIndex:
      "the download is probably incomplete: fetch `\(Checkpoint.indexName)`, too; or name one file, safetensors or GGUF"
    case .twoCheckpoints:
      "leave one of them there: `\(Checkpoint.singleName)`, the files that an index names, or one GGUF"
    case .shardMissing: "the download is probably incomplete; fetch this file again"
    case .tensorNotInShard, .tensorNotInIndex, .tensorInTwoShards:
      "the index and the shards are from different versions of the checkpoint; fetch all of them again"
    default: nil
    }
  }

  /// Message, location and hint as a terminal shows them.
  package var description: String {
    "\(message)\n  \(location)" + (hint.map { "\n\nhint: \($0)" } ?? "")
  }

  private var subject: String { tensor.map { "tensor `\(Shown.text($0))`" } ?? "a tensor" }
}
