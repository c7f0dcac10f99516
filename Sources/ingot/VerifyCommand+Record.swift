import ArgumentParser
import Decoding
import Drift
import Models
import Safetensors
import Storage
import Tensors
import Text
import Verification

// Making records, and verifying against one.

extension VerifyCommand {
  /// What stands as the reference, open.
  enum Opened {
    case model(RunModel)
    case record(DriftRecord, path: String)

    var model: RunModel? { if case .model(let model) = self { model } else { nil } }

    func compared() throws(Failure) -> VerificationReference {
      switch self {
      case .model(let model): .model(try model.compared())
      case .record(let record, let path): .record(record, path: path)
      }
    }
  }

  func openReference(_ compute: Compute) throws(Failure) -> Opened {
    guard DriftRecord.isRecord(reference) else {
      return .model(try RunModel(path: reference, compute: compute, cacheBudget: maxMemory.value / 4))
    }
    do throws(RecordError) { return .record(try DriftRecord(path: reference), path: reference) } catch {
      throw Failure(.record(error))
    }
  }

  /// What is measured, and how: from the command line, or from a record.
  func input(
    for reference: Opened
  ) throws(Failure) -> (
    data: VerificationData, options: VerificationOptions, decoder: DecoderName, special: SpecialTokens
  ) {
    switch reference {
    case .record(let record, let path):
      guard let name = DecoderName(rawValue: record.options.decoder) else {
        throw Failure(.record(.broken("`options.decoder` of the document is unknown", path: path)))
      }
      return (
        VerificationData(record), try options(of: record, path: path), name, record.options.special
      )
    case .model(let model):
      let name = decoding.name(for: model)
      try requireRoomForText()
      return (
        try data(), try options(name, model), name,
        try model.specialTokens(stopsAtTurnEnd: name.stopsAtTurnEnd)
      )
    }
  }

  /// What models are compared on; without a file of prompts the built-in ones.
  private func data() throws(Failure) -> VerificationData {
    try TextInput.requireApart([("--prompts", prompts), ("--text", text)])
    var data = VerificationData()
    if let prompts {
      let bytes = try TextInput.contents(of: prompts)
      do throws(VerificationError) { data = try VerificationData(prompts: bytes, path: prompts) } catch {
        throw Failure(error)
      }
    }
    if let limit { data.prompts = Array(data.prompts.prefix(limit)) }
    if let text {
      let content = try TextInput.string(try TextInput.contents(of: text), Shown.input(text))
      guard !content.isEmpty else { throw Failure(emptyText: text) }
      data.text = (text, content)
    }
    return data
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
      ("--json", json), ("--html", html != nil), ("--attach", attach),
      ("--gate", !gate.isEmpty || !failIf.isEmpty), ("--attribute", attribute != nil),
      ("--block-lengths", blockLengths != nil), ("--versus", versus != nil),
      ("--arithmetic", arithmetic != .fp32), ("--kv-cache-dtype", kvCacheDtype != .fp32),
    ]
    for (option, isGiven) in needing where isGiven {
      throw ValidationError("\(option) needs a candidate; without one there is no report")
    }
    if !level.isEmpty, Set(level) == [.weights] {
      throw ValidationError("--level weights alone leaves nothing to be recorded")
    }
  }

  /// Refuses files that could not be written, before any work.
  func requireOutputs(replacing replaces: Bool) throws(Failure) {
    var outputs = Outputs(
      models: [reference] + [candidate, versus].compactMap(\.self),
      files: [prompts, text] + division.merge.map { $0 as String? },
      force: replaces, isQuiet: quiet)
    if let output = division.output {
      if !(division.resume && Verification.isPart(output)) { try outputs.require(output) }
      return
    }
    if record != nil, DriftRecord.isRecord(reference) { throw Failure(recordOfRecord: reference) }
    for path in [record, html] { if let path { try outputs.require(path) } }
    if attach, let candidate { try outputs.requireAmendable(candidate) }
  }

  func write(_ kept: DriftRecord, replacing replaces: Bool) throws(Failure) {
    guard let record else { return }
    do throws(SafetensorsError) { try kept.write(to: record, replaces: replaces, tool: toolVersion) } catch {
      if case .system(let cause) = error.reason { throw Failure(cause) }
      throw Failure(error)
    }
    guard !quiet else { return }
    let scored = kept.scores?.rows.count ?? 0
    let committed = kept.trajectories?.rows.count ?? 0
    let size = (try? MappedFile(path: record).byteCount).map { ", \(Format.bytes($0))" } ?? ""
    let kind = kept.options.decoding.decoder == .next ? "next-token" : "masked"
    let positions = "\(Format.count(scored)) \(kind) and \(Format.count(committed)) committed positions"
    Console.note("recorded \(positions) in `\(record)`\(size)")
  }

  /// The options that a record was made with; refuses those of the command line that contradict it, or that it cannot serve.
  func options(of record: DriftRecord, path: String) throws(Failure) -> VerificationOptions {
    try requireNoContradiction(record, path)
    var options = measuring
    options.levels = try levels(of: record, path)
    options.decoding = record.options.decoding
    options.decoder = record.options.decoder
    options.maskRatios = record.options.maskRatios
    options.seed = record.options.seed
    options.isRaw = record.options.isRaw
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
  private func levels(of record: DriftRecord, _ path: String) throws(Failure) -> Set<VerificationLevel> {
    var possible: Set<VerificationLevel> = []
    if record.scores != nil { possible.insert(.masked) }
    if record.trajectories != nil { possible.formUnion([.trajectories, .tasks]) }
    for level in level where !possible.contains(level) {
      if level == .weights { throw Failure(option: "--level weights", needsModelBeside: path) }
      throw Failure(level: level.rawValue, notIn: path)
    }
    return level.isEmpty ? possible : Set(level)
  }
}
