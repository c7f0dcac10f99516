import Decoding
import JSON

// The document of a record as it is read: nothing in it is trusted, also where its hash is right.

extension DriftRecord {
  /// Without what the tensors hold.
  ///
  /// - Returns: the record, and what its tensors must hold; trajectories have outputs only.
  static func read(
    _ document: JSONValue, version: Int, path: String
  ) throws(RecordError) -> (record: DriftRecord, holds: (masked: Bool, trajectories: Bool)) {
    let fields = try RecordFields(document, "", path: path)
    guard try fields.text("schema") == schema(version: version) else {
      throw fields.error("schema", "is not \(schema(version: version))")
    }
    _ = try fields.text("ingot")
    let held = try fields.array("holds")
    guard !held.isEmpty, held.allSatisfy({ $0 == "masked" || $0 == "trajectories" }) else {
      throw fields.error("holds", "names something else than `masked` and `trajectories`, or nothing")
    }
    let sizes = try Sizes(try fields.fields("sizes"))
    let options = try Options(try fields.fields("options"), version: version, vocabulary: sizes.vocabulary)
    let (prompts, texts) = (try fields.fields("prompts"), try fields.fields("texts"))
    var record = DriftRecord(
      model: try Model(try fields.fields("reference"), tokenizerHash: try fields.hash("tokenizer"), sizes: sizes),
      options: options, promptSource: try prompts.text("source"), prompts: [], textSource: try texts.text("source"),
      texts: [], pairs: [], cut: try texts.int("cut"))
    if version > 1 {
      let computation = try fields.value("computation")
      do throws(JSONTypeError) { record.model.computation = try computation.decoded() } catch {
        throw fields.error(error.path.isEmpty ? "computation" : "computation.\(error.path)", error.detail)
      }
    }
    for prompt in try prompts.list("list") {
      record.prompts.append(try Prompt(prompt, vocabulary: sizes.vocabulary))
    }
    for text in try texts.list("list") {
      record.texts.append(try ScoredText(text, vocabulary: sizes.vocabulary, stride: options.decoding.blockLength))
    }
    for value in try fields.array("pairs") {
      let pair = (value.array ?? []).compactMap(\.int)
      guard pair.count == 2, pair.allSatisfy(record.texts.indices.contains) else {
        throw fields.error("pairs", "holds something that is no pair of texts")
      }
      record.pairs.append(.init(chosen: pair[0], rejected: pair[1]))
    }
    if held.contains("trajectories") {
      var outputs: [BlockDiffusion.Output] = []
      for output in try fields.list("outputs") {
        outputs.append(try BlockDiffusion.Output(output, vocabulary: sizes.vocabulary))
      }
      guard outputs.count == record.prompts.count else { throw fields.error("outputs", "are not as many as prompts") }
      record.trajectories = Trajectories(outputs: outputs, places: [], rows: [])
    } else if try !fields.isNull("outputs") {
      throw fields.error("outputs", "are there, but `holds` does not name `trajectories`")
    }
    if try !fields.isNull("floor") { record.floor = try NoiseFloor(try fields.fields("floor")) }
    for note in try fields.array("notes") {
      guard let note = note.string else { throw fields.error("notes", "hold something that is no text") }
      record.notes.append(note)
    }
    return (record, (held.contains("masked"), held.contains("trajectories")))
  }
}

extension DriftRecord.Sizes {
  fileprivate init(_ fields: RecordFields) throws(RecordError) {
    self.init(
      vocabulary: try fields.int("vocabulary", in: 2..<1 << 31), layers: try fields.int("layers", in: 1..<1 << 16),
      hidden: try fields.int("hidden", in: 1..<1 << 31), experts: try fields.int("experts"))
  }
}

extension DriftRecord.Model {
  fileprivate init(
    _ fields: RecordFields, tokenizerHash: UInt64, sizes: DriftRecord.Sizes
  ) throws(RecordError) {
    let kind = try fields.text("kind")
    guard kind == "checkpoint" || kind == "pack" else { throw fields.error("kind", "is neither checkpoint nor pack") }
    var experts: [String] = []
    for name in try fields.array("experts") {
      guard let name = name.string else { throw fields.error("experts", "hold something that is no text") }
      experts.append(name)
    }
    self.init(
      path: try fields.text("path"), kind: kind, hash: try fields.hash("hash"),
      byteCount: try fields.int("bytes", in: 0..<Int.max),
      bitsPerWeight: try fields.isNull("bits_per_weight") ? nil : try fields.number("bits_per_weight"),
      experts: experts, tokenizerHash: tokenizerHash, sizes: sizes)
  }
}

extension DriftRecord.Options {
  fileprivate init(_ fields: RecordFields, version: Int, vocabulary: Int) throws(RecordError) {
    var ratios: [Double] = []
    for value in try fields.array("mask_ratios") {
      guard let ratio: Double = RecordFields.number(value), ratio > 0, ratio <= 1 else {
        throw fields.error("mask_ratios", "hold something else than numbers above 0 up to 1")
      }
      ratios.append(ratio)
    }
    let stops = try fields.ints("stops", in: 0..<vocabulary)
    guard !ratios.isEmpty, ratios.count <= 1000 else { throw fields.error("mask_ratios", "are none or too many") }
    guard !stops.isEmpty else { throw fields.error("stops", "are none") }
    var decoding = DecodingOptions()
    decoding.blockLength = try fields.int("block_length", in: 1..<1 << 20)
    decoding.steps = try fields.int("steps", in: 1..<1 << 20)
    decoding.generationLength = try fields.int("generation_length", in: 1..<1 << 24)
    decoding.threshold = try fields.number("threshold")
    decoding.temperature = try fields.number("temperature")
    decoding.topK = try fields.isNull("top_k") ? nil : try fields.int("top_k")
    decoding.topP = try fields.isNull("top_p") ? nil : try fields.number("top_p")
    decoding.seed = try fields.unsigned("sampling_seed")
    decoding.stopsEarly = try fields.bool("stops_early")
    if try !fields.isNull("editing") {
      let editing = try fields.fields("editing")
      let threshold: Float = try editing.number("threshold")
      let post = try editing.int("maximum_post_steps")
      if try editing.isNull("maximum_steps") {
        decoding.decoder = .editing(threshold: threshold, maximumPostSteps: post)
      } else {
        let tokens = DecodingOptions.LevenshteinTokens(
          delete: try editing.int("delete", in: 0..<vocabulary), split: try editing.int("split", in: 0..<vocabulary))
        decoding.decoder = .levenshtein(
          tokens, threshold: threshold, maximumPostSteps: post, maximumSteps: try editing.int("maximum_steps"))
      }
    }
    let mask = try fields.int("mask", in: SpecialTokens.noMask..<vocabulary)
    if mask == SpecialTokens.noMask {
      guard decoding.decoder == .threshold, decoding.blockLength == 1 else {
        throw fields.error("mask", "is -1, which only next-token records may have")
      }
      decoding.decoder = .next
    }
    self.init(
      maskRatios: ratios, seed: try fields.unsigned("seed"), isRaw: version > 1 ? try fields.bool("raw") : nil,
      special: SpecialTokens(mask: mask, stops: stops),
      decoder: try fields.text("decoder"), decoding: decoding)
  }
}

extension DriftRecord.Prompt {
  fileprivate init(_ fields: RecordFields, vocabulary: Int) throws(RecordError) {
    func optional(_ key: String) throws(RecordError) -> String? {
      try fields.isNull(key) ? nil : try fields.text(key)
    }
    self.init(
      prompt: try fields.text("prompt"), answer: try optional("answer"), chosen: try optional("chosen"),
      rejected: try optional("rejected"), task: try optional("task"), line: try fields.int("line"),
      tokens: try fields.ints("tokens", in: 0..<vocabulary))
  }
}

extension ScoredText {
  /// - Parameter stride: the block length; only a text of whole blocks is filled.
  fileprivate init(_ fields: RecordFields, vocabulary: Int, stride: Int) throws(RecordError) {
    let tokens = try fields.ints("tokens", in: 0..<vocabulary)
    let scored = try fields.range("scored", of: tokens.count)
    let maskable = try fields.range("maskable", of: tokens.count)
    guard maskable == scored || maskable == scored.lowerBound..<tokens.count && tokens.count % stride == 0,
      maskable.upperBound >= scored.upperBound
    else { throw fields.error("maskable", "is neither what is scored nor that and the rest of its last block") }
    self.init(tokens: tokens, scored: scored, maskable: maskable)
  }
}

extension BlockDiffusion.Output {
  init(_ fields: RecordFields, vocabulary: Int) throws(RecordError) {
    self.init()
    tokens = try fields.ints("tokens", in: 0..<vocabulary)
    forwards = try fields.int("forwards")
    cachePasses = try fields.int("cache_passes")
    stopped = try fields.bool("stopped")
    for step in try fields.list("steps") {
      var commits: [StepRecord.Commit] = []
      for value in try step.array("commits") {
        guard let row = value.array, row.count == 4, let position = row[0].int, (0..<1 << 31).contains(position),
          let token = row[1].int, (0..<vocabulary).contains(token),
          let probability: Float = RecordFields.number(row[2]), let margin: Float = RecordFields.number(row[3])
        else { throw step.error("commits", "hold something that is no commit") }
        commits.append(.init(position: position, token: token, probability: probability, margin: margin))
      }
      steps.append(
        StepRecord(
          block: try step.int("block"), step: try step.int("step"), masked: try step.int("masked"), commits: commits))
    }
  }
}

extension NoiseFloor {
  fileprivate init(_ fields: RecordFields) throws(RecordError) {
    func byLayer(_ key: String) throws(RecordError) -> [Int: Double] {
      var numbers: [Int: Double] = [:]
      for value in try fields.array(key) {
        guard let row = value.array, row.count == 2, let layer = row[0].int,
          let number: Double = RecordFields.number(row[1]), numbers.updateValue(number, forKey: layer) == nil
        else { throw fields.error(key, "hold something that is no number of a layer") }
      }
      return numbers
    }
    let section = try fields.fields("section")
    guard section.object["kl_ratio"] == nil else { throw section.error("kl_ratio", "is a candidate's") }
    let numbers: DriftReport.FloorNumbers
    do throws(JSONTypeError) { numbers = try JSONValue.object(section.object).decoded() } catch {
      throw fields.error(error.path.isEmpty ? "section" : "section.\(error.path)", error.detail)
    }
    self.init(
      numbers: numbers, routingChanged: try byLayer("routing_changed"), layerErrors: try byLayer("layers"))
  }
}
