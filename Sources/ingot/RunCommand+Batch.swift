import ArgumentParser
import Decoding
import JSON
import Kernels
import Models
import Tokenizers

/// `run --batch`: many prompts decoded together (Formats/run.md §6).
extension RunCommand {
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
    let compute = try computing.compute(treatsRowsAlike: true)
    var file = try BatchOutput(output, .answers, model: model, files: [path, tools], force: force, isQuiet: quiet)
    let bytes = try TextInput.contents(of: path)
    let prompts = try BatchLines(
      bytes, path: path, .answers, keys: BatchSequence.Line.keys
    ) { reader, number throws(Failure) in try BatchSequence.Line(&reader, number) }
    let opened = try computing.openForBatch(model, compute)
    let options = try options(opened)
    let prompting = try prompting()
    warn(
      opened, options, prompting, usesTemplate: prompts.lines.contains { $0.prompt.usesTemplate(raw: raw) },
      draws: prompts.lines.contains { ($0.temperature ?? temperature) != 0 })
    let idle = decoding.name(for: opened).idleOptions(
      steps: prompts.lines.contains { $0.steps != nil } ? "`steps` of a line" : nil,
      threshold: prompts.lines.contains { $0.threshold != nil } ? "`threshold` of a line" : nil)
    if !quiet { Console.notes(prompts.remarks(path) + idle) }
    let memory = computing.batchMemory(opened)
    let sequences = try prompts.lines.map { line throws(Failure) in
      try BatchSequence(line, self, opened, options, prompting, memory)
    }
    guard
      var log = try file.log(
        header: try batchHeader(opened, options, bytes, compute), lines: prompts.lines.map(\.line))
    else { return }
    let run = BatchRun(
      kind: .answers, stage: "answering", passes: "forwards", items: sequences, model: opened, memory: memory,
      batchSize: batchSize, isQuiet: quiet)
    try run.run(DecodingBatch(opened.model, passRows: memory.passRows), into: &log)
    do throws(ModelError) { try opened.weights.requireUnchanged() } catch { throw Failure(error) }
    if !quiet { Console.notes(compute.remarks) }
    try file.finish(log)
  }

  /// What the answers depend on: where one of these differs, those that are there are another run's.
  private func batchHeader(
    _ model: RunModel, _ options: DecodingOptions, _ prompts: [UInt8], _ compute: Compute
  ) throws(Failure) -> [(key: String, value: JSONValue)] {
    let editing = options.decoder.editing
    let decoder = decoding.name(for: model)
    let special = try model.specialTokens(stopsAtTurnEnd: decoder.stopsAtTurnEnd)
    return try model.batchHeader(prompts, compute, mask: special.mask) + [
      ("stop_ids", .array(special.stops.map { JSONValue($0) })), ("decoder", .string(decoder.rawValue)),
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
      (
        "tools", try tools.map { path throws(Failure) in JSONValue.hash(of: try TextInput.contents(of: path)) } ?? .null
      ),
    ]
  }
}
