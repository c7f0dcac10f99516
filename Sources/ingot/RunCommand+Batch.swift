import ArgumentParser
import Decoding
import Glibc
import Inspection
import JSON
import Kernels
import Models
import Pack
import Storage
import Text
import Tokenizers

/// `run --batch`: many prompts decoded together (Formats/run.md §6).
extension RunCommand {
  /// Prompts in progress at a time unless `--batch-size` says otherwise: beyond that, weights are read hardly less often.
  static let mostTogether = 64

  func validateBatch() throws {
    guard batch != nil else {
      let needy = [("-o", output != nil), ("--batch-size", batchSize != nil)].first { $0.1 }
      if let needy { throw ValidationError("\(needy.0) needs --batch FILE") }
      return
    }
    if output == nil { throw ValidationError("--batch needs -o FILE for the answers") }
    if prompt != nil || tokens != nil || chat || json || trace != nil {
      throw ValidationError("--batch goes with none of -p, --tokens, --chat, --json and --trace")
    }
    if let batchSize, !(1...65536).contains(batchSize) { throw ValidationError("--batch-size must be 1 to 65536") }
  }

  func runBatch(_ path: String, to output: String) throws(Failure) {
    try TextInput.requireApart([("--batch", path), ("--tools", tools)])
    let compute = try compute(treatsRowsAlike: true)
    var outputs = Outputs(models: [model], files: [path, tools], force: force, isQuiet: quiet)
    // With both there a run may have ended between writing the one and removing the other.
    let mayBeWritten =
      !force && Machine.isRegularFile(output) && Machine.isRegularFile(BatchLog.path(for: output))
    if !mayBeWritten { try outputs.require(output) }
    try outputs.requireApart(BatchLog.path(for: output))
    let bytes = try TextInput.contents(of: path)
    let prompts = try BatchPrompts(bytes, path: path)
    let opened = try RunModel(
      path: model, compute: compute, cacheBudget: maxMemory.value / 2, checksChunks: checkWeights)
    let options = try options(opened)
    let prompting = try prompting()
    warn(
      opened, options, prompting, usesTemplate: prompts.lines.contains { !($0.raw ?? raw) },
      draws: prompts.lines.contains { ($0.temperature ?? temperature) != 0 })
    if !quiet, !prompts.unusedKeys.isEmpty {
      Console.notes(["\(Shown.input(path)) has keys that nothing reads: \(SourceNote.list(prompts.unusedKeys))"])
    }
    let memory = BatchMemory(opened.configuration, byteCount: maxMemory.value / 2)
    let sequences = try prompts.lines.map { line throws(Failure) in
      try BatchSequence(line, self, opened, options, prompting, memory, source: path)
    }
    var log = try BatchLog(
      for: output, header: try batchHeader(opened, options, bytes, compute), lines: prompts.lines.map(\.line),
      startsAnew: force)
    if mayBeWritten {
      guard try log.removeIfWritten(as: output) else { return try outputs.require(output) }
      if !quiet { Console.note("all answers are in `\(output)` already; `\(BatchLog.path(for: output))` is removed") }
      return
    }
    if !quiet, let remark = log.remark { Console.notes([remark]) }
    if !quiet, !log.answers.isEmpty {
      Console.note("\(log.answers.count) of \(sequences.count) answers are there already; the rest follows")
    }
    try answer(sequences, opened, memory, &log, output)
    do throws(ModelError) { try opened.weights.requireUnchanged() } catch { throw Failure(error) }
    try log.finish(as: output, replaces: force)
    if !quiet { Console.notes(compute.remarks) }
  }

  private func answer(
    _ sequences: [BatchSequence], _ model: RunModel, _ memory: BatchMemory, _ log: inout BatchLog, _ output: String
  ) throws(Failure) {
    var batch = DecodingBatch(model.model, passRows: memory.passRows)
    var waiting = sequences.indices.filter { log.answers[sequences[$0].line] == nil }[...]
    let (start, toAnswer) = (Clock.seconds, waiting.count)
    var (tokenCount, forwards, answered) = (0, 0, 0)
    let progress = StageProgress(isQuiet: quiet)
    defer { progress.finish() }
    while true {
      let complete: [(index: Int, output: BlockDiffusion.Output)]
      do throws(DecodingError) {
        while let index = waiting.first, batch.count < batchSize ?? Self.mostTogether,
          batch.positions + sequences[index].positions <= memory.positions
        {
          try batch.add(index, prompt: sequences[index].prompt, sequences[index].answering.decoder)
          waiting.removeFirst()
        }
        if batch.count == 0 { break }
        complete = try Interrupt.lookingOut { () throws(DecodingError) in
          try batch.advance(isInterrupted: { Interrupt.isRequested })
        }
      } catch { throw batchFailure(error, sequences, model, log, output) }
      for (index, decoded) in complete {
        try log.append(sequences[index].line, sequences[index].answer(decoded))
        tokenCount += decoded.tokens.count
        forwards += decoded.forwards
        answered += 1
      }
      progress.update(
        "answering", (Double(answered) + batch.share) / Double(toAnswer),
        detail: "\(log.answers.count) of \(sequences.count)")
    }
    guard !quiet else { return }
    progress.finish()
    let seconds = Clock.seconds - start
    let time = seconds < 10 ? "\(Format.fixed(seconds, 2)) s" : Format.duration(seconds)
    Console.note(
      "\(Format.count(answered)) answers, \(Format.count(tokenCount)) tokens, \(Format.count(forwards)) forwards in "
        + "\(time), \(Format.fixed(Double(tokenCount) / max(seconds, 1e-9), 1)) tokens/s")
  }

  private func batchFailure(
    _ error: DecodingError, _ sequences: [BatchSequence], _ model: RunModel, _ log: BatchLog, _ output: String
  ) -> Failure {
    var place = ""
    if case .notFinite(let index, _) = error { place = sequences[index].place }
    var failure = Failure(error, prompt: place, longest: 0, model: model.path)
    if error == .interrupted {
      failure.hint =
        "\(log.answers.count) of \(sequences.count) answers are kept in `\(BatchLog.path(for: output))`; the same command goes "
        + "on from there"
    }
    return failure
  }

  /// What the answers depend on: where one of these differs, those that are there are another run's.
  private func batchHeader(
    _ model: RunModel, _ options: DecodingOptions, _ prompts: [UInt8], _ compute: Compute
  ) throws(Failure) -> [(key: String, value: JSONValue)] {
    let hex = { (bytes: [UInt8]) in JSONValue(String(unsafe XXH3.hash(bytes.span.bytes), radix: 16)) }
    let editing = options.decoder.editing
    let decoder = decoding.name(for: model)
    let special = try model.specialTokens(stopsAtTurnEnd: decoder == .llada22)
    var files: [(key: String, value: JSONValue)] = []
    for name in ["config.json", GenerationConfiguration.fileName] + TokenizerError.File.allCases.map(\.rawValue) {
      do throws(ModelError) { files.append((name, try model.weights.file(named: name).map(hex) ?? .null)) } catch {
        throw Failure(error)
      }
    }
    return [
      ("schema", .string(BatchLog.schema)), ("tool", .string(toolVersion)),
      ("model", .string(String(try model.identity().hash, radix: 16))),
    ] + files + [
      ("mask", JSONValue(special.mask)), ("stop_ids", .array(special.stops.map { JSONValue($0) })),
      ("prompts", hex(prompts)), ("kernels", .string(compute.kernels.name)),
      ("activations", .string(compute.activations.rawValue)), ("decoder", .string(decoder.rawValue)),
      ("gen_length", JSONValue(options.generationLength)), ("block_length", JSONValue(options.blockLength)),
      ("steps", JSONValue(options.steps)), ("threshold", JSONValue(options.threshold)),
      ("editing_threshold", editing.map { JSONValue($0.threshold) } ?? .null),
      ("max_post_steps", editing.map { JSONValue($0.maximumPostSteps) } ?? .null),
      ("max_steps", editing?.maximumSteps.map { JSONValue($0) } ?? .null),
      ("stop_early", JSONValue(options.stopsEarly)), ("no_cache", JSONValue(!options.usesCache)),
      ("temperature", JSONValue(options.temperature)), ("top_k", options.topK.map { JSONValue($0) } ?? .null),
      ("top_p", options.topP.map { JSONValue($0) } ?? .null), ("seed", JSONValue(options.seed)),
      ("stop", .array(stop.map { .string($0) })), ("raw", JSONValue(raw)),
      ("system", system.map { .string($0) } ?? .null), ("thinking", thinking.map { .string($0.rawValue) } ?? .null),
      ("tools", try tools.map { path throws(Failure) in hex(try TextInput.contents(of: path)) } ?? .null),
    ]
  }
}

/// What `--max-memory` leaves for sequences: three quarters for keys and values, the rest for rows on their way through a layer.
struct BatchMemory {
  /// Positions whose keys and values fit.
  let positions: Int
  /// Rows that go through the layers together.
  let passRows: Int
  let bytesPerPosition: Int

  init(_ c: ModelConfiguration, byteCount: Int) {
    let float = MemoryLayout<Float>.size
    bytesPerPosition = 2 * float * c.layerCount * c.keyValueHeadCount * c.headDimension
    positions = byteCount / 4 * 3 / bytesPerPosition
    let attention = (2 * c.headCount + 2 * c.keyValueHeadCount) * c.headDimension
    let widest = max(c.intermediateSize, c.expertsPerToken * c.hiddenSize)
    let rowBytes = float * (6 * c.hiddenSize + 2 * attention + 2 * widest)
    passRows = max(32, min(4096, byteCount / 4 / rowBytes))
  }
}
