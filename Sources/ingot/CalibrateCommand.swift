import ArgumentParser
import Calibration
import JSON
import Kernels
import Models
import Pack
import Safetensors
import Storage
import Tensors
import Text
import Verification

struct CalibrateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "calibrate",
    abstract: "Keep what the experts are fed while a model decodes, for `quantize --calibration`.",
    discussion: """
      One full-precision pass over texts as diffusion decodes from them: blocks with a quarter, half, three quarters and \
      all of their positions masked, and the finished text; for a model that predicts the next token, the text alone. What \
      matters most is the mix: give files of every domain and language that the model will be used for, in equal parts, as \
      questions and answers in the chat template that it was trained with where there are such. Half of the tokens from each of two domains keep nearly all that each would \
      gain alone; a domain that is left out loses most of it. The file is described in Formats/calibration.md.

      EXAMPLES
        ingot calibrate LLaDA2.0-mini -o mini.calibration --prompts chats.jsonl --text code.txt
        ingot inspect mini.calibration
        ingot quantize LLaDA2.0-mini --calibration mini.calibration -o mini.ingot

      IN PARTS: the same command on several machines, each with a part of the texts; what is merged has the bytes that one run \
      would have written.
        ingot calibrate LLaDA2.0-mini --prompts chats.jsonl --part 0/2 -o a.part
        ingot calibrate LLaDA2.0-mini --prompts chats.jsonl --part 1/2 -o b.part
        ingot calibrate --merge a.part b.part -o mini.calibration
      """)

  @Argument(
    help:
      "The checkpoint: a directory with config.json and safetensors, or the id of a downloaded model of the hub. Not needed to merge."
  )
  var checkpoint: String?

  @Option(name: .shortAndLong, help: "The file to write.")
  var output: String

  @Flag(name: .shortAndLong, help: "Replace an existing file; of a link, the link itself.")
  var force = false

  @OptionGroup var data: CalibrationArguments

  @Option(
    help: ArgumentHelp(
      "Take only one part of the texts: 2/8 is the third of eight, since parts count from 0; task/8 takes the number from "
        + "SLURM_ARRAY_TASK_ID. Texts that --generate writes are written by each part.", valueName: "i/N"))
  var part: PartNumber?

  @Option(
    parsing: .upToNextOption,
    help: ArgumentHelp("Make the file of all parts, which are given in any order.", valueName: "part"))
  var merge: [String] = []

  @Flag(
    help: ArgumentHelp(
      "Go on where the same command was stopped, in whatever way. The directory FILE.journal, FILE being that of -o, keeps "
        + "finished layers until the end; it takes what the file takes, and 8 bytes for each token state and hidden channel."
    ))
  var resume = false

  @Option(name: .shortAndLong, help: "Threads that compute. (default: the processors this process may use)")
  var threads: Int?

  @Option(help: ArgumentHelp("Most anonymous memory to use.", valueName: "size"))
  var maxMemory = ByteCount(argument: "2GiB")!  // a valid literal

  @Flag(name: .shortAndLong, help: "Say nothing on stderr unless something fails.")
  var quiet = false

  func validate() throws {
    if let threads, !(1...1024).contains(threads) { throw ValidationError("--threads must be 1 to 1024") }
    if !merge.isEmpty {
      guard checkpoint == nil, !data.hasData, data.idleOption == nil, part == nil, !resume else {
        throw ValidationError("--merge needs nothing but the parts and -o FILE")
      }
      return
    }
    guard checkpoint != nil else { throw ValidationError("name a checkpoint, or parts with --merge PART…") }
    if !data.hasData {
      throw ValidationError("name data: --prompts FILE or --text FILE, both several times; or --generate")
    }
  }

  mutating func run() throws {
    try HubModel.find(&checkpoint, isQuiet: quiet)
    if let checkpoint { try calibrate(checkpoint) } else { try mergeParts() }
  }

  private var journalPath: String? { resume ? CalibrationJournal.path(beside: output) : nil }

  private func calibrate(_ checkpoint: String) throws {
    guard let kernels = KernelSet.selected(forced: KernelSet.forcedName) else {
      throw Failure(unknownKernels: KernelSet.forcedName ?? "")
    }
    guard Machine.exists(checkpoint) else { throw Failure(noModel: checkpoint) }
    guard Machine.isDirectory(checkpoint) else { throw Failure(notCheckpoint: checkpoint) }
    // The output of a run that ended behind its getting its name is its own.
    let hasOutput = journalPath.map(CalibrationJournal.hasOutput) ?? false
    var replaces = force || hasOutput
    var outputs = Outputs(
      models: [checkpoint], files: data.prompts + data.text + [data.generator], force: replaces, isQuiet: quiet)
    // With --resume a part that is there already is looked at when it is known which it must be.
    let isThere = resume && !replaces && part != nil && CalibrationPart.isPart(output)
    if isThere { outputs.removeLeftovers(of: output) } else { try outputs.require(output) }
    Interrupt.advise(resume ? .goesOn : .resume)
    let compute = Compute(kernels: kernels, threads: threads ?? Machine.threads)
    let progress = StageProgress(isQuiet: quiet)
    let input = try CalibrationInput(
      data, checkpoint: checkpoint, compute: compute, maxMemory: maxMemory.value, progress)
    if !quiet { Console.notes(input.model.promptRemarks + input.notes) }
    let facts = part.map { input.facts(of: $0.share, kernels: kernels) }
    let rows = facts?.rows.count ?? input.document.rows
    try CalibrationMemory.require(
      StatePass.workingByteCount(input.copies, input.model.configuration, rows: rows), limit: maxMemory.value)
    let byteCount = CalibrationWriter.byteCount(input.document, part: facts)
    do throws(StateError) {
      if isThere, let facts {
        if try isMade(facts, input.document) {
          Console.data(FileName.bytes(of: output) + [UInt8(ascii: "\n")])
          return
        }
        replaces = true
      }
      var journal: CalibrationJournal?
      if let journalPath {
        journal = try CalibrationJournal(
          journalPath, input.document, part: facts,
          run: SourceState.json(ofCheckpoint: checkpoint, computation: CalibrationInput.computation(kernels)))
      }
      if !(hasOutput && Machine.exists(output)) {
        try requireRoom(byteCount, rows: rows, hidden: input.document.sizes.hidden)
        try input.write(to: output, replacing: replaces, facts, journal, progress)
      }
      try journal?.remove(beside: output)
      progress.finish()
      if !quiet { Console.notes(compute.remarks) }
      if facts == nil { try end(input.document, byteCount: byteCount, checkpoint) }
    } catch { throw Failure(error) }
    Console.data(FileName.bytes(of: output) + [UInt8(ascii: "\n")])
  }

  /// Whether the part that is there is sound. What is damaged is made again, and that is said.
  ///
  /// - Throws: where it is another part.
  private func isMade(_ facts: CalibrationPart.Facts, _ document: CalibrationDocument) throws(StateError) -> Bool {
    let part = try CalibrationPart(path: output)
    try part.requireSame(facts, document)
    do throws(StateError) { try part.requireSound() } catch {
      guard case .broken(let detail, let path) = error else { throw error }
      if !quiet { Console.note("note: `\(path)` is damaged: \(detail); it is made again") }
      return false
    }
    return true
  }

  /// Refuses what the disk has no room for, beside what a journal holds already.
  private func requireRoom(_ byteCount: Int, rows: Int, hidden: Int) throws(StateError) {
    guard let free = OutputFile.freeBytes(beside: output) else { return }
    let held =
      journalPath.map { path in
        (SystemCall.names(in: path) ?? []).compactMap { Machine.byteCount(of: "\(path)/\($0)") }.reduce(0, +)
      } ?? 0
    let needed = byteCount + (resume ? CalibrationJournal.byteCount(rows: rows, hidden: hidden) : 0) - held
    guard free < needed else { return }
    throw .noRoom(needed: needed, free: free, path: output)
  }

  private func mergeParts() throws {
    var outputs = Outputs(models: [], files: merge.map { $0 }, force: force, isQuiet: quiet)
    try outputs.require(output)
    let progress = StageProgress(isQuiet: quiet)
    do throws(StateError) {
      let document = try CalibrationPart.merge(merge, to: output, replaces: force) { progress.update("merging", $0) }
      progress.finish()
      try end(document, byteCount: CalibrationWriter.byteCount(document), "CHECKPOINT")
    } catch { throw Failure(error) }
    Console.data(FileName.bytes(of: output) + [UInt8(ascii: "\n")])
  }

  private func end(_ document: CalibrationDocument, byteCount: Int, _ checkpoint: String) throws(StateError) {
    let coverage = try CalibrationFile(path: output).coverage()
    guard !quiet else { return }
    for line in CalibrationReport.end(document, coverage, byteCount: byteCount) { Console.note(line) }
    Console.note("next: ingot quantize \(checkpoint) --calibration \(output) -o OUT.ingot")
  }
}

extension CalibrationInput {
  /// What decides how sums round.
  static func computation(_ kernels: KernelSet) -> JSONValue {
    ["kernels": JSONValue(kernels.name)]
  }

  func facts(of share: Share, kernels: KernelSet) -> CalibrationPart.Facts {
    CalibrationPart.Facts(
      index: share.index, count: share.count,
      rows: copies.rows(ofPart: share.index, of: share.count, model.configuration),
      computation: Self.computation(kernels))
  }

  /// Runs the pass, all of it or what a journal lacks, and writes the file.
  ///
  /// - Parameter facts: of a part; nil for the whole.
  func write(
    to output: String, replacing replaces: Bool, _ facts: CalibrationPart.Facts?, _ journal: CalibrationJournal?,
    _ progress: StageProgress
  ) throws(StateError) {
    let pass = StatePass(model.model, copies, rows: facts?.rows)
    let start = journal?.start(tiles: pass.tileRowCounts)
    let writer: CalibrationWriter
    if let journal {
      writer = try journal.writer(copies, to: output, replaces: replaces, start)
    } else {
      do throws(SafetensorsError) {
        writer = try CalibrationWriter(document, copies, part: facts, to: output, replaces: replaces)
      } catch { throw .file(error) }
    }
    var hash: UInt64?
    if start.map({ $0.layer < document.sizes.layers }) ?? true {
      hash = try run(pass, from: start, writer, journal, progress)
      try journal?.finish(writer, lastHash: hash)
    }
    do throws(SafetensorsError) { try writer.finish() } catch { throw .file(error) }
  }

  /// Runs the pass and hands its states to a writer; finishing it is left to the caller.
  func write(_ writer: CalibrationWriter, _ progress: StageProgress) throws(StateError) {
    _ = try run(StatePass(model.model, copies), from: nil, writer, nil, progress)
  }

  /// - Returns: the hash of the last layer with experts.
  private func run(
    _ pass: StatePass, from start: CalibrationJournal.Start?, _ writer: CalibrationWriter,
    _ journal: CalibrationJournal?, _ progress: StageProgress
  ) throws(StateError) -> UInt64? {
    var failure: SafetensorsError?
    var hash: UInt64?
    do throws(StateError) {
      try pass.run(
        from: start.map { ($0.layer, $0.hidden) }, checkpoints: journal?.checkpoints(writer) { hash },
        add: { rows in
          do throws(SafetensorsError) { try writer.add(rows) } catch {
            failure = error
            return false
          }
          return true
        },
        finished: { _ in
          hash = writer.finishLayer()
          return true
        },
        progress: {
          progress.update("calibrating", $0)
          return !Interrupt.isRequested
        })
    } catch {
      try journal?.requireSound()
      throw failure.map { .file($0) } ?? error
    }
    do throws(ModelError) { try model.weights.requireUnchanged() } catch { throw .model(error) }
    return hash
  }
}

/// Memory of a pass, beside what it must leave to the program: tables of the checkpoint, tokenizer, libraries.
enum CalibrationMemory {
  static func require(_ working: Int, limit: Int) throws(Failure) {
    let needed = working + max(ResidentMemory.anonymous, 24 << 20)
    guard needed <= limit else { throw Failure(calibrationNeeds: needed, limit: limit) }
  }
}
