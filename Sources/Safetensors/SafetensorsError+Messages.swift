import Tensors

/// Every sentence about a refused file: what, where, how to mend.
extension SafetensorsError: CustomStringConvertible {
  /// What is wrong, in one sentence without a period.
  package var message: String {
    switch reason {
    case .system(let error): "cannot \(error.operation) the file: \(error.reason)"
    case .fileTooShort(let count): "the file has \(grouped(count)) bytes, too few for a safetensors header"
    case .headerTooLong(let count, let limit):
      "the header would have \(grouped(count)) bytes, more than the limit of \(grouped(limit))"
    case .headerOutsideFile(let end, let count):
      "the header ends at byte \(grouped(end)) but the file has \(grouped(count))"
    case .headerNotJSON(let problem): "the header is not valid JSON: \(shown(problem))"
    case .headerNotObject: "the header does not start with `{`"
    case .metadataNotText(nil, let found): "`\(SafetensorsHeader.metadataKey)` is \(found), not an object"
    case .metadataNotText(let key?, let found):
      "`\(shown(key))` of `\(SafetensorsHeader.metadataKey)` is \(found), not a string"
    case .ambiguousName(let name):
      "the name `\(shown(name))` is there twice, with its letters composed differently"
    case .entryNotObject(let found): "\(subject) is \(found), not an object"
    case .missingField(let field): "\(subject) has no `\(field)`"
    case .unknownField(let field): "\(subject) has an unknown field `\(shown(field))`"
    case .fieldKind(let field, let expected): "`\(field)` of \(subject) is not \(expected)"
    case .unknownDType(let name): "\(subject) has the unknown dtype `\(shown(name))`"
    case .rankTooHigh(let rank, let limit):
      "\(subject) has \(grouped(rank)) dimensions, more than the limit of \(limit)"
    case .shapeOverflow(let dimensions):
      "the shape \(dimensions) of \(subject) has more bytes than can be counted"
    case .offsetsReversed(let begin, let end):
      "\(subject) ends at data offset \(grouped(end)), before it begins at \(grouped(begin))"
    case .dataOutsideFile(let end, let count):
      "\(subject) ends at byte \(grouped(end)) but the file has \(grouped(count))"
    case .lengthMismatch(let count, let expected):
      "\(subject) has \(grouped(count)) bytes but its dtype and shape need \(grouped(expected))"
    case .overlap(let other, let count): "\(subject) shares \(grouped(count)) bytes with `\(shown(other))`"
    case .hole(let range):
      "bytes \(grouped(range.lowerBound)) to \(grouped(range.upperBound)) before \(subject) belong to no tensor"
    case .trailingBytes(let range):
      "bytes \(grouped(range.lowerBound)) to \(grouped(range.upperBound)) after the last tensor belong to no tensor"
    case .noCheckpoint: "the directory has neither `\(Checkpoint.indexName)` nor `\(Checkpoint.singleName)`"
    case .twoCheckpoints: "the directory has `\(Checkpoint.singleName)` and an index that names other files"
    case .indexNotJSON(let problem): "the index is not valid JSON: \(shown(problem))"
    case .indexMalformed(let problem): problem
    case .shardName(let name): "the index names `\(shown(name))`, which is not a plain file name"
    case .shardMissing(let name): "the shard `\(shown(name))` is not there"
    case .tensorNotInShard(let shard, nil): "\(subject) is not in the shard `\(shown(shard))` that the index names"
    case .tensorNotInShard(let shard, let other?):
      "\(subject) is not in the shard `\(shown(shard))` that the index names but in `\(shown(other))`"
    case .tensorNotInIndex: "\(subject) is not in the index"
    case .tensorInTwoShards(let other): "\(subject) is also in the shard `\(shown(other))`"
    case .totalSize(let stated, let found):
      "the index states \(grouped(stated)) bytes of tensors but the shards have \(grouped(found))"
    case .fileTooLarge(let count, let limit):
      "the file has \(grouped(count)) bytes, more than the limit of \(grouped(limit))"
    }
  }

  /// Where it stands: the file, and the byte if it is one.
  package var location: String {
    let file = "in `\(shown(path))`"
    guard let byteOffset else { return file }
    guard tensor != nil else { return "\(file), byte \(grouped(byteOffset))" }
    return "\(file), \(path.hasSuffix(".json") ? "index" : "header") entry at byte \(grouped(byteOffset))"
  }

  /// How to mend it, where we know.
  package var hint: String? {
    switch reason {
    case .fileTooShort, .headerOutsideFile, .dataOutsideFile:
      "the download is probably incomplete; compare the file's size with the published one, or fetch it again"
    case .headerTooLong, .headerNotObject, .headerNotJSON:
      "this is probably not a safetensors file; a Git LFS pointer or a web page saved under its name looks like this"
    case .unknownDType: "quantize from the published BF16 checkpoint, or convert the file to a known dtype first"
    case .trailingBytes, .totalSize:
      "the file was changed, or is from another version of the checkpoint; fetch it again"
    case .noCheckpoint: "give the directory that holds the checkpoint's `config.json` and its safetensors files"
    case .twoCheckpoints: "move one of them away"
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

  private var subject: String { tensor.map { "tensor `\(shown($0))`" } ?? "a tensor" }
}

/// A number with commas between thousands.
func grouped(_ number: some BinaryInteger) -> String {
  var out = ""
  for (position, digit) in String(number).reversed().enumerated() {
    if position > 0, position % 3 == 0, digit != "-" { out.append(",") }
    out.append(digit)
  }
  return String(out.reversed())
}

/// Text from a stranger's file, safe to print: nothing that steers a terminal, and not endless.
func shown(_ text: String) -> String {
  let limit = 200
  var out = ""
  for scalar in text.unicodeScalars.prefix(limit) {
    switch scalar.properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator, .privateUse, .unassigned:
      out += "\\u{\(String(scalar.value, radix: 16))}"
    default: out.unicodeScalars.append(scalar)
    }
  }
  return text.unicodeScalars.count > limit ? out + "…" : out
}
