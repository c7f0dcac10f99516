import ArgumentParser
import Decoding
import Drift
import Inspection
import Safetensors
import Storage
import Tensors
import Text

// Making records, and verifying against one.

extension VerifyCommand {
  /// What is measured, and how: from the command line, or from a record.
  func input(
    for reference: VerifyReference
  ) throws(Failure) -> (data: VerifyData, options: VerifyOptions, special: SpecialTokens) {
    switch reference {
    case .record(let record, let path):
      return (VerifyData(record), try options(of: record, path: path), record.options.special)
    case .model(let model):
      let name = decoding.name(for: model)
      try requireRoomForText()
      return (
        try VerifyData(prompts: prompts, text: text, limit: limit), try options(name, model),
        try model.specialTokens(stopsAtTurnEnd: name == .llada22)
      )
    }
  }

  /// What cutting a text into tokens takes of memory, in bytes for each of its own: copies, pieces of it, ids.
  private static let bytesPerTextByte = 40

  /// Refuses a text that is too long for `--max-memory` before it is read; of a pipe nobody knows.
  private func requireRoomForText() throws(Failure) {
    guard let text, Machine.isRegularFile(text), let byteCount = try? MappedFile(path: text).byteCount else { return }
    let needed = byteCount * Self.bytesPerTextByte
    guard needed > maxMemory.value else { return }
    throw Failure(textOf: byteCount, needs: needed, limit: maxMemory.value, source: text)
  }

  /// Refuses a command line with which nothing would be done, or not what was asked for.
  func validateRecording() throws {
    guard candidate == nil else { return }
    guard record != nil else {
      throw ValidationError("there is nothing to do: name a candidate, or keep the reference with --record FILE")
    }
    let needing = [
      ("--json", json), ("--html", html != nil), ("--attach", attach), ("--fail-if", !failIf.isEmpty),
      ("--gate", !gate.isEmpty), ("--attribute", attribute != nil), ("--block-lengths", blockLengths != nil),
    ]
    for (option, isGiven) in needing where isGiven {
      throw ValidationError("\(option) needs a candidate; without one there is no report")
    }
    if !level.isEmpty, Set(level) == [.weights] {
      throw ValidationError("--level weights alone leaves nothing to be recorded")
    }
  }

  /// Refuses files that could not be written, before any work.
  func requireOutputs() throws(Failure) {
    var outputs = Outputs(
      models: [reference] + [candidate].compactMap(\.self), files: [prompts, text], force: force, isQuiet: quiet)
    if record != nil, DriftRecord.isRecord(reference) { throw Failure(recordOfRecord: reference) }
    for path in [record, html] { if let path { try outputs.require(path) } }
    if attach, let candidate { try outputs.requireAmendable(candidate) }
  }

  func write(_ kept: DriftRecord) throws(Failure) {
    guard let record else { return }
    do throws(SafetensorsError) { try kept.write(to: record, replaces: force, tool: toolVersion) } catch {
      if case .system(let cause) = error.reason { throw Failure(cause) }
      throw Failure(error)
    }
    guard !quiet else { return }
    let scored = kept.scores?.rows.count ?? 0
    let committed = kept.trajectories?.rows.count ?? 0
    let size = (try? MappedFile(path: record).byteCount).map { ", \(Format.bytes($0))" } ?? ""
    let positions = "\(Format.count(scored)) masked and \(Format.count(committed)) committed positions"
    Console.note("recorded \(positions) in `\(record)`\(size)")
  }

  /// The options that a record was made with; refuses those of the command line that contradict it, or that it cannot serve.
  func options(of record: DriftRecord, path: String) throws(Failure) -> VerifyOptions {
    guard let name = DecoderName(rawValue: record.options.decoder) else {
      throw Failure(.broken("`options.decoder` of the document is unknown", path: path))
    }
    try requireNoContradiction(record, path)
    var options = measuring
    options.levels = try levels(of: record, path)
    options.decoding = record.options.decoding
    options.decoder = name
    options.maskRatios = record.options.maskRatios
    options.seed = record.options.seed
    return options
  }

  private func requireNoContradiction(_ record: DriftRecord, _ path: String) throws(Failure) {
    let ofData = [("--prompts", prompts != nil), ("--text", text != nil), ("--limit", limit != nil), ("--raw", raw)]
    for (option, isGiven) in ofData where isGiven { throw Failure(option: option, ofDataWith: path) }
    for (option, isGiven) in [("--attribute", attribute != nil), ("--block-lengths", blockLengths != nil)]
    where isGiven { throw Failure(option: option, needsModelBeside: path) }
    let (own, recorded) = (record.options, record.options.decoding)
    let editing = recorded.decoder.editing
    let shown = { (number: Any?) in number.map { "\($0)" } ?? "none" }
    let pairs: [(option: String, given: String?, recorded: String)] = [
      ("--mask-ratios", maskRatios?.text, NumberList(values: own.maskRatios).text),
      ("--block-length", blockLength.map { "\($0)" }, "\(recorded.blockLength)"),
      ("--gen-length", genLength.map { "\($0)" }, "\(recorded.generationLength)"),
      ("--steps", decoding.steps.map { "\($0)" }, "\(recorded.steps)"),
      ("--threshold", decoding.threshold.map { "\($0)" }, "\(recorded.threshold)"),
      ("--editing-threshold", decoding.editingThreshold.map { "\($0)" }, shown(editing?.threshold)),
      ("--max-post-steps", decoding.maxPostSteps.map { "\($0)" }, shown(editing?.maximumPostSteps)),
      ("--max-steps", decoding.maxSteps.map { "\($0)" }, shown(editing?.maximumSteps)),
      ("--stop-early", decoding.stopEarly ? "on" : nil, recorded.stopsEarly ? "on" : "off"),
      ("--decoder", decoding.decoder?.rawValue, own.decoder), ("--seed", seed.map { "\($0)" }, "\(own.seed)"),
    ]
    for pair in pairs {
      guard let given = pair.given, given != pair.recorded else { continue }
      throw Failure(option: pair.option, given: given, recorded: pair.recorded, path: path)
    }
  }

  /// What was asked for, or all that the record can give.
  private func levels(of record: DriftRecord, _ path: String) throws(Failure) -> Set<VerifyLevel> {
    var possible: Set<VerifyLevel> = []
    if record.scores != nil { possible.insert(.masked) }
    if record.trajectories != nil { possible.formUnion([.trajectories, .tasks]) }
    for level in level where !possible.contains(level) {
      if level == .weights { throw Failure(option: "--level weights", needsModelBeside: path) }
      throw Failure(level: level.rawValue, notIn: path)
    }
    return level.isEmpty ? possible : Set(level)
  }
}
