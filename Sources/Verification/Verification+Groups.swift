import Drift
import JSON
import Kernels
import Models
import Pack

// Everything is measured group by group: prompts that are decoded and scored together, and windows of a text. Products of many
// rows round in their own way, so what is together may depend on nothing but data and options; then a report is the same whoever
// measured which group, and when.

/// What is kept of a run under way, and what the groups that were measured elsewhere, or before, have cost.
final class Ledger {
  var kept: KeptMeasurements?
  var seconds = 0.0
  var peakMemory = 0
  var read = (reference: 0, candidate: 0)
}

extension Verification {
  private var kept: KeptMeasurements? { ledger.kept }

  /// Prompts that are together, in the order of the prompts.
  var promptGroups: [Range<Int>] {
    stride(from: 0, to: data.prompts.count, by: options.together).map {
      $0..<min($0 + options.together, data.prompts.count)
    }
  }

  /// Texts that are scored together: those of a group of prompts, and as many windows of a text as come to as much.
  func textGroups(_ encoded: EncodedData) -> [Range<Int>] {
    let windows = max(1, options.together / 4)
    var groups: [(key: Int?, texts: Range<Int>)] = []
    for text in encoded.texts.indices {
      let key = encoded.origins[text].map { $0 / options.together }
      if let last = groups.last, last.key == key, key != nil || last.texts.count < windows {
        groups[groups.count - 1].texts = last.texts.lowerBound..<text + 1
      } else {
        groups.append((key, text..<text + 1))
      }
    }
    return groups.map(\.texts)
  }

  /// Measures something of each group, except where it is there already, or is another's to measure.
  ///
  /// - Parameters:
  ///   - stage: what it is called in parts.
  ///   - name: what is shown of it.
  ///   - keep: makes a document of a measurement.
  ///   - read: makes a measurement of a document; nil where it is none.
  ///   - body: measures a group, and tells how much of it is done.
  /// - Returns: by group; nil where it is another's.
  func each<Value>(
    _ stage: String, _ groups: [Range<Int>], _ name: String, keep: (Value) -> JSONValue,
    read: (JSONValue, Range<Int>) -> Value?,
    _ body: (Range<Int>, (Double) -> Void) throws(VerificationError) -> Value
  ) throws(VerificationError) -> [Value?] {
    let own = groups.indices.filter { kept?.measures($0) ?? true }
    var done = 0
    var values: [Value?] = []
    for (index, group) in groups.enumerated() {
      let value = try measured(stage, index, keep: keep, read: { read($0, group) }) { () throws(VerificationError) in
        try body(group) { progress.update(name, (Double(done) + $0) / Double(own.count)) }
      }
      if value != nil { done += 1 }
      values.append(value)
    }
    return values
  }

  /// Whether a group was measured before.
  func isDone(_ stage: String, _ group: Int) throws(VerificationError) -> Bool {
    try kept?.entry(stage, group) != nil
  }

  /// Measures something once.
  ///
  /// - Parameter group: nil for what is not of groups.
  /// - Returns: nil where it is another's to measure.
  func measured<Value>(
    _ stage: String, _ group: Int?, keep: (Value) -> JSONValue, read: (JSONValue) -> Value?,
    _ body: () throws(VerificationError) -> Value
  ) throws(VerificationError) -> Value? {
    guard let kept else { return try body() }
    if let (entry, path) = try kept.entry(stage, group) {
      guard let object = entry.object, let value = read(object["value"] ?? .null),
        let seconds = object["seconds"]?.double,
        let peak = object["peak_memory"]?.int, let bytes = object["bytes_read"]?.array?.compactMap(\.int),
        bytes.count == 2, (bytes + [peak]).allSatisfy({ (0..<1 << 56).contains($0) })
      else {
        throw .part(.broken("`\(stage)`\(group.map { " of group \($0)" } ?? "") is not what it must be", path: path))
      }
      ledger.seconds += seconds
      ledger.peakMemory = max(ledger.peakMemory, peak)
      ledger.read.reference += bytes[0]
      ledger.read.candidate += bytes[1]
      return value
    }
    guard kept.measures(group) else { return nil }
    let clock = ContinuousClock()
    let (start, before) = (clock.now, bytesRead)
    let value = try body()
    let read = (bytesRead.reference - before.reference, bytesRead.candidate - before.candidate)
    try kept.keep(
      stage, group,
      [
        "value": keep(value), "seconds": JSONValue((clock.now - start) / .seconds(1)),
        "peak_memory": JSONValue(progress.peakMemory), "bytes_read": [JSONValue(read.0), JSONValue(read.1)],
      ])
    return value
  }

  /// Which run it is: what its numbers depend on, and nothing else.
  func identity(_ models: Models, _ encoded: EncodedData) -> JSONValue {
    func described(_ model: DriftRecord.Model?, _ running: ComparedModel?) -> JSONValue {
      guard let model else { return .null }
      let section = DriftReport.Model(model, running: running)
      return [
        "hash": JSONValue(section.hash), "tokenizer": JSONValue(XXH3.text(model.tokenizerHash)),
        "activations": JSONValue(section.activations), "arithmetic": JSONValue(section.arithmetic ?? ""),
        "kv_cache_dtype": JSONValue(section.kvCacheDtype ?? ""),
      ]
    }
    let any = (reference.model ?? candidate)?.model.compute
    let asked = data.prompts.map { prompt -> JSONValue in
      .array(
        [prompt.prompt, prompt.answer, prompt.chosen, prompt.rejected, prompt.task].map { text in
          text.map { JSONValue($0) } ?? .null
        })
    }
    let tokens: [JSONValue] =
      encoded.prompts.map { .array($0.map { JSONValue($0) }) }
      + encoded.texts.map { text in .array((text.tokens + [text.scored.lowerBound, -1]).map { JSONValue($0) }) }
    let hash = { (values: [JSONValue]) -> JSONValue in
      let bytes = Array(JSONValue.array(values).text(indented: false).utf8)
      return JSONValue(XXH3.text(unsafe XXH3.hash(bytes.span.bytes)))
    }
    return [
      "ingot": JSONValue(tool), "reference": described(models.reference, reference.model),
      "record": referenceHash.map { JSONValue(XXH3.text($0)) } ?? .null,
      "candidate": described(models.candidate, candidate), "versus": described(models.versus, versus),
      "data": [
        "prompts": JSONValue(data.prompts.count), "texts": JSONValue(encoded.texts.count), "asked": hash(asked),
        "tokens": hash(tokens),
      ],
      "options": DriftRecord.Options(
        maskRatios: options.maskRatios, seed: options.seed, isRaw: options.isRaw, special: special,
        decoder: options.decoder, decoding: options.decoding
      ).json,
      "measures": options.measures(records: records),
      "computation": ["kernels": JSONValue(any?.kernels.name ?? "")],
    ]
  }
}

extension VerificationOptions {
  /// What is measured beside the options that shape data and decoding.
  fileprivate func measures(records: Bool) -> JSONValue {
    [
      "levels": .array(VerificationLevel.allCases.filter(levels.contains).map { JSONValue($0.rawValue) }),
      "together": JSONValue(together), "block_lengths": .array(blockLengths.map { JSONValue($0) }),
      "window": JSONValue(windowLength), "attribute": attribution.map { JSONValue($0.rawValue) } ?? .null,
      "floor": JSONValue(measuresFloor), "replay": JSONValue(replaysRoutes), "match": JSONValue(match.rawValue),
      "record": JSONValue(records), "memory": JSONValue(memory),
    ]
  }
}
