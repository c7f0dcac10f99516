import Decoding
import Drift
import Glibc
import Inspection
import JSON
import Kernels
import Models
import Pack
import Text
import Tokenizers

/// What `ingot verify` was asked for.
struct VerifyOptions {
  var levels: Set<VerifyLevel> = Set(VerifyLevel.allCases)
  var decoding = DecodingOptions()
  var decoder = DecoderName.llada20
  var maskRatios: [Double] = [0.1, 0.3, 0.5, 0.7, 0.9, 1]
  var blockLengths: [Int] = []
  var windowLength = 256
  var attribution: Attribution.Subject?
  var measuresFloor = true
  var replaysRoutes = true
  var match = AnswerMatch.exact
  var seed: UInt64 = 0
  /// Bytes for hidden states.
  var memory = 1 << 30
}

enum VerifyLevel: String, CaseIterable {
  case weights, masked, trajectories, tasks
}

/// Measures a candidate against a reference and writes the document of `Formats/drift-report.md`.
struct Verification {
  let reference: RunModel
  let candidate: RunModel
  let special: SpecialTokens
  let options: VerifyOptions
  let data: VerifyData
  let progress: StageProgress

  /// Noise of one bf16 rounding, relative.
  private static let noise = 1.0 / 512

  private struct Sections {
    var weights = JSONValue.null
    var masked = JSONValue.null
    var layers: [JSONValue] = []
    var routing = JSONValue.null
    var preferences = JSONValue.null
    var blockLengths: [JSONValue] = []
    var floor = JSONValue.null
    var trajectories = JSONValue.null
    var tasks = JSONValue.null
    var attribution = JSONValue.null
    var replay = JSONValue.null
    var notes: [String] = []
    var seconds: [(VerifyLevel, Double)] = []
    var passes = 0
    var isLossless: Bool?
    var showsDrift = false
  }

  /// - Throws: what stops a level; the levels before it are lost.
  func document() throws(Failure) -> JSONValue {
    // Refuses options with which nothing could be decoded, before anything divides by them.
    _ = try decoder(reference)
    let start = Clock.seconds
    let before = (reference.weights.counters.bytesRead, candidate.weights.counters.bytesRead)
    var sections = Sections()
    var encoded = encode()
    if encoded.cut > 0 { sections.notes.append("\(encoded.cut) answers were cut at the model's last position") }
    var errors: [Int: [Int: Double]] = [:]
    if options.levels.contains(.weights) || options.attribution == .experts {
      try timed(.weights, &sections) { sections throws(Failure) in errors = try weights(&sections) }
    }
    let generates = options.levels.contains(.trajectories) || options.levels.contains(.tasks)
    if generates || encoded.texts.isEmpty {
      try timed(.trajectories, &sections) { sections throws(Failure) in try trajectories(&encoded, &sections) }
    }
    if options.levels.contains(.masked) {
      try timed(.masked, &sections) { sections throws(Failure) in try scored(encoded, expertErrors: errors, &sections) }
    }
    progress.finish()
    let read = (
      reference.weights.counters.bytesRead - before.0, candidate.weights.counters.bytesRead - before.1
    )
    return [
      "schema": "ingot.drift/1", "ingot": JSONValue(toolVersion),
      "reference": try identity(reference), "candidate": try identity(candidate, isLossless: sections.isLossless),
      "data": dataJSON(encoded), "verdict": verdict(sections), "weights": sections.weights, "masked": sections.masked,
      "layers": .array(sections.layers), "routing": sections.routing, "preferences": sections.preferences,
      "block_lengths": .array(sections.blockLengths), "floor": sections.floor, "trajectories": sections.trajectories,
      "tasks": sections.tasks, "attribution": sections.attribution, "route_replay": sections.replay,
      "notes": .array(sections.notes.map { JSONValue($0) }),
      "cost": cost(sections, seconds: Clock.seconds - start, read: read),
    ]
  }

  /// Without gates, which are looked at when the numbers are there.
  private func verdict(_ sections: Sections) -> JSONValue {
    let isZero = !sections.showsDrift && sections.masked != .null && sections.isLossless == false
    return ["status": "none", "gates": [], "zero_drift": JSONValue(isZero)]
  }

  private func identity(_ model: RunModel, isLossless: Bool? = nil) throws(Failure) -> JSONValue {
    let identity: ModelIdentity
    do throws(InspectionError) { identity = ModelIdentity(try InspectedModel(path: model.path)) } catch {
      throw Failure(error)
    }
    return [
      "path": JSONValue(identity.path), "kind": identity.kind == .pack ? "pack" : "checkpoint",
      "hash": JSONValue(XXH3.text(identity.hash)), "bytes": JSONValue(identity.byteCount),
      "bits_per_weight": identity.bitsPerWeight.map { JSONValue($0) } ?? .null,
      "experts": .array(identity.experts.map { JSONValue($0) }),
      "activations": JSONValue(model.model.compute.activations.rawValue),
      "lossless": isLossless.map { JSONValue($0) } ?? .null,
    ]
  }

  private func dataJSON(_ encoded: EncodedData) -> JSONValue {
    let ids = encoded.texts.flatMap { $0.tokens.map(UInt32.init) + [UInt32($0.scored.lowerBound), .max] }
    let asked = data.prompts.flatMap { Array("\($0.prompt)\0\($0.answer ?? "")\0".utf8) }
    let decoding = options.decoding
    return [
      "prompts": [
        "source": JSONValue(data.source), "count": JSONValue(data.prompts.count),
        "hash": JSONValue(XXH3.text(unsafe XXH3.hash(asked.span.bytes))),
        "with_answers": JSONValue(data.prompts.count { $0.answer != nil }),
        "with_preferences": JSONValue(encoded.pairs.count),
      ],
      "texts": [
        "source": JSONValue(encoded.textSource), "count": JSONValue(encoded.texts.count),
        "tokens": JSONValue(encoded.texts.reduce(0) { $0 + $1.tokens.count }),
        "scored_positions": JSONValue(encoded.texts.reduce(0) { $0 + $1.scored.count }),
        "hash": JSONValue(XXH3.text(unsafe XXH3.hash(ids.span.bytes))),
      ],
      "seed": JSONValue(options.seed), "mask_ratios": .array(options.maskRatios.map { JSONValue($0) }),
      "block_length": JSONValue(decoding.blockLength), "steps": JSONValue(decoding.steps),
      "generation_length": JSONValue(decoding.generationLength), "threshold": JSONValue(decoding.threshold),
      "temperature": JSONValue(decoding.temperature), "decoder": JSONValue(options.decoder.rawValue),
      "levels": .array(VerifyLevel.allCases.filter(options.levels.contains).map { JSONValue($0.rawValue) }),
    ]
  }

  private func cost(_ sections: Sections, seconds: Double, read: (Int, Int)) -> JSONValue {
    var levels = JSONObject()
    for (level, seconds) in sections.seconds { levels.append(.init(key: level.rawValue, value: JSONValue(seconds))) }
    return [
      "seconds": JSONValue(seconds), "by_level": .object(levels), "peak_memory": JSONValue(progress.peakAnonymous),
      "bytes_read": ["reference": JSONValue(read.0), "candidate": JSONValue(read.1)],
      "passes": JSONValue(sections.passes), "threads": JSONValue(reference.model.compute.threads),
      "kernels": JSONValue(reference.model.compute.kernels.name),
      "blas": Compute.blasProblem == nil ? "OpenBLAS" : .null,
    ]
  }

  private func timed(
    _ level: VerifyLevel, _ sections: inout Sections, _ body: (inout Sections) throws(Failure) -> Void
  ) throws(Failure) {
    let start = Clock.seconds
    try body(&sections)
    sections.seconds.append((level, Clock.seconds - start))
  }

  private func encode() -> EncodedData {
    let longest = reference.configuration.maximumPositions / options.decoding.blockLength * options.decoding.blockLength
    return EncodedData(
      data, reference.tokenizer, blockLength: options.decoding.blockLength, windowLength: options.windowLength,
      fill: special.stops[0], longest: longest)
  }

  private func words(_ tokens: [Int]) -> String { String(decoding: candidate.text(of: tokens), as: UTF8.self) }

  // MARK: Levels

  /// Both models decode the prompts; what they wrote is compared step by step, and held against the answers.
  private func trajectories(_ encoded: inout EncodedData, _ sections: inout Sections) throws(Failure) {
    let needsBoth = options.levels.contains(.trajectories) || options.levels.contains(.tasks)
    let decoder = try decoder(reference)
    let first = try decode(encoded.prompts, decoder, "reference decodes")
    if encoded.texts.isEmpty {
      encoded.addGenerations(first, blockLength: options.decoding.blockLength, fill: special.stops[0])
    }
    guard needsBoth else { return }
    let second = try decode(encoded.prompts, try self.decoder(candidate), "candidate decodes")
    if options.levels.contains(.trajectories) {
      let pairs = zip(encoded.prompts, zip(first, second)).map { prompt, outputs in
        TrajectoryPair(
          prompt: prompt, reference: outputs.0, candidate: outputs.1, blockLength: options.decoding.blockLength)
      }
      sections.showsDrift = sections.showsDrift || pairs.contains { !$0.isIdentical }
      sections.trajectories = TrajectoryDrift(pairs).json(
        seed: options.seed, alongReference: try alongReference(encoded.prompts, first, decoder), text: words)
    }
    if options.levels.contains(.tasks) { sections.tasks = try tasks(first, second) }
  }

  private func decoder(_ model: RunModel) throws(Failure) -> BlockDiffusion {
    do throws(DecodingError) {
      return try BlockDiffusion(model.model, options: options.decoding, special: special)
    } catch { throw Failure(error, prompt: data.source, longest: 0) }
  }

  private func decode(
    _ prompts: [[Int]], _ decoder: BlockDiffusion, _ name: String
  ) throws(Failure) -> [BlockDiffusion.Output] {
    do throws(DecodingError) {
      return try decoder.decodeTogether(prompts: prompts) { _, done in
        progress.update(name, Double(done) / Double(prompts.count))
      }
    } catch { throw Failure(error, prompt: data.source, longest: 0) }
  }

  /// What the candidate would do at each state of the reference's runs.
  private func alongReference(
    _ prompts: [[Int]], _ outputs: [BlockDiffusion.Output], _ decoder: BlockDiffusion
  ) throws(Failure) -> JSONValue {
    let along = AlongRun(decoder, prompts: prompts, outputs: outputs, mask: special.mask, seed: options.seed)
    do throws(DriftError) {
      return try along.run(reference: reference.model, candidate: candidate.model, memory: options.memory) {
        progress.update("along the reference", $0)
      }.json
    } catch { throw Failure(error) }
  }

  private func tasks(
    _ first: [BlockDiffusion.Output], _ second: [BlockDiffusion.Output]
  ) throws(Failure) -> JSONValue {
    var rows: [TaskDrift.Row] = []
    for (prompt, outputs) in zip(data.prompts, zip(first, second)) {
      guard let answer = prompt.answer else { continue }
      let check: AnswerCheck
      do throws(AnswerError) { check = try AnswerCheck(options.match, answer: answer, line: prompt.line) } catch {
        throw Failure(error, in: data.source)
      }
      let attempt = { (output: BlockDiffusion.Output) in
        TaskDrift.Attempt(isCorrect: check.accepts(words(output.tokens)), isTruncated: !output.stopped)
      }
      rows.append(.init(task: prompt.task, reference: attempt(outputs.0), candidate: attempt(outputs.1)))
    }
    return TaskDrift(rows, match: options.match).json(seed: options.seed)
  }

  private func weights(_ sections: inout Sections) throws(Failure) -> [Int: [Int: Double]] {
    do throws(InspectionError) {
      let (first, second) = (try InspectedModel(path: reference.path), try InspectedModel(path: candidate.path))
      let diff = try ModelDiff(
        first, second, threads: reference.model.compute.threads, kernels: reference.model.compute.kernels
      ) { progress.update("weights", Double($0) / Double(max($1, 1))) }
      let drift = WeightDrift(diff, candidate: second)
      sections.weights = drift.json
      sections.isLossless = drift.isLossless
      return drift.expertErrors
    } catch { throw Failure(error) }
  }

  private func scored(
    _ encoded: EncodedData, expertErrors: [Int: [Int: Double]], _ sections: inout Sections
  ) throws(Failure) {
    guard !encoded.texts.isEmpty else {
      sections.notes.append("nothing was scored: the data holds no answers or text, and nothing was generated")
      return
    }
    let plan = MaskPlan(
      ratios: options.maskRatios, blockLength: options.decoding.blockLength, mask: special.mask, seed: options.seed)
    let scoring = Scoring(encoded.texts, plan: plan)
    var lanes: [(role: ScoredRun.Role, lane: Lane)] = [(.candidate, Lane(candidate.model))]
    if options.measuresFloor { lanes.append((.floor, Lane(reference.model, noise: Self.noise))) }
    if options.replaysRoutes {
      lanes.append((.part, Lane(reference.model, replays: 1)))
      lanes.append((.part, Lane(candidate.model, replays: 0)))
    }
    do throws(DriftError) {
      let result = try ScoredRun(scoring, memory: options.memory).run(reference: reference.model, lanes: lanes) {
        progress.update("scoring", $0)
      }
      let floor =
        options.measuresFloor
        ? NoiseFloor(
          scoring, result, lane: 1, pairs: encoded.pairs, threshold: options.decoding.threshold, noise: Self.noise)
        : nil
      let drift = ScoredDrift(
        scoring, result, pairs: encoded.pairs, threshold: options.decoding.threshold, floor: floor)
      sections.floor = drift.floorJSON
      sections.masked = drift.maskedJSON(words: words)
      sections.layers = drift.layersJSON
      sections.routing = drift.routingJSON
      sections.preferences = drift.preferencesJSON
      sections.passes = result.passes
      sections.showsDrift = sections.showsDrift || drift.masked.kl.values.contains { $0 != 0 }
      if options.replaysRoutes {
        sections.replay = drift.routeReplayJSON(candidateRoutes: lanes.count - 2, candidateWeights: lanes.count - 1)
      }
      if let subject = options.attribution {
        let attribution = Attribution(
          subject, reference.configuration, gateMass: result.gateMass, errors: expertErrors)
        sections.attribution = try attribution.json(
          scoring, reference: reference.model, candidate: candidate.weights, whole: drift.masked.kl.mean,
          threshold: options.decoding.threshold, without: Set(encoded.pairs.map(\.rejected)), memory: options.memory
        ) { progress.update("attribution", $0) }
      }
      for length in options.blockLengths {
        sections.blockLengths.append(try sweep(length, encoded))
      }
    } catch { throw Failure(error) }
  }

  /// The texts at another block length.
  private func sweep(_ length: Int, _ encoded: EncodedData) throws(DriftError) -> JSONValue {
    let plan = MaskPlan(ratios: options.maskRatios, blockLength: length, mask: special.mask, seed: options.seed)
    let texts = encoded.texts.map {
      ScoredText(
        tokens: Array($0.tokens[..<$0.scored.upperBound]), scored: $0.scored, blockLength: length,
        fill: $0.maskable == $0.scored ? nil : special.stops[0])
    }
    let scoring = Scoring(texts, plan: plan)
    let result = try ScoredRun(scoring, memory: options.memory).run(
      reference: reference.model, lanes: [(.candidate, Lane(candidate.model))]
    ) { progress.update("block length \(length)", $0) }
    return ScoredDrift(scoring, result, pairs: encoded.pairs, threshold: options.decoding.threshold).blockLengthJSON
  }
}

/// What is being done and how far it is: one line on a terminal, now and then a line elsewhere.
final class StageProgress {
  private let isQuiet: Bool
  private var stage = ""
  private var start = 0.0
  private var last = 0.0
  /// The largest anonymous memory seen, in bytes.
  private(set) var peakAnonymous = 0

  init(isQuiet: Bool) { self.isQuiet = isQuiet }

  /// - Parameter share: of the stage that is done, 0 to 1.
  /// - Returns: false when a signal asked to stop.
  @discardableResult
  func update(_ name: String, _ share: Double) -> Bool {
    let now = Clock.seconds
    if name != stage { (stage, start, last) = (name, now, now) }
    let interval = Console.stderrIsTerminal ? 0.1 : 10
    if now - last >= interval || share >= 1 {
      peakAnonymous = max(peakAnonymous, ResidentMemory.anonymous)
      if !isQuiet, now - last >= interval { show(share, now) }
    }
    return !Interrupt.isRequested
  }

  private func show(_ share: Double, _ now: Double) {
    last = now
    let left = share > 0.01 ? ", \(Format.duration((now - start) * (1 - share) / share)) left" : ""
    let text = "\(stage) \(Format.fixed(100 * share, 0)) %\(left)"
    if Console.stderrIsTerminal {
      let filled = min(24, max(0, Int(24 * share)))
      let bar = String(repeating: "█", count: filled) + String(repeating: "░", count: 24 - filled)
      Console.status("\r\u{1B}[2K\(bar) \(text)")
    } else {
      Console.note(text)
    }
  }

  func finish() {
    if Console.stderrIsTerminal, !isQuiet { Console.status("\r\u{1B}[2K") }
  }
}
