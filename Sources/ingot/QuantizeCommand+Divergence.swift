import Calibration
import Conversion
import Kernels
import Models
import Pack
import Storage
import Text

// A pack that drifts just less than it may.

extension QuantizeCommand {
  /// Runs the checkpoint over the texts that are held out; nil where no drift is a target.
  ///
  /// - Parameter file: of the states, whose block length is the one that counts.
  func driftCheck(
    _ file: CalibrationFile?, _ kernels: KernelSet, _ progress: StageProgress
  ) throws(Failure) -> DriftCheck? {
    guard let heldOut else { return nil }
    let inputs =
      data.prompts.map { (option: "--prompts", path: Optional($0)) } + data.text.map { ("--text", $0) }
      + [("--held-out", heldOut)]
    try TextInput.requireApart(inputs)
    if let identity = FileIdentity(of: heldOut),
      let same = inputs.dropLast().first(where: { FileIdentity(of: $0.path ?? "") == identity })
    {
      throw Failure(heldOutIsData: heldOut, option: same.option)
    }
    let name = OutputFile.split(heldOut).name
    if !quiet, file?.document.parts.contains(where: { $0.name == name }) == true {
      Console.note(
        "note: the states were taken on a file of the name \(Shown.input(name)), too; drift on the same texts tells little"
      )
    }
    let check = try DriftCheck(
      checkpoint: checkpoint, heldOut: heldOut, decoder: data.decoder,
      blockLength: file?.document.blockLength ?? data.blockLength,
      compute: Compute(kernels: kernels, threads: threads ?? Machine.threads), maxMemory: maxMemory.value, progress)
    progress.finish()
    return check
  }

  /// A pack that was made and checked.
  private struct Candidate: ~Copyable {
    let written: Converter.Written
    let converter: Converter
    let choice: PrecisionChoice
    let round: QuantizeReport.Round
  }

  /// Makes packs, each of which has no name yet, and checks them on the held-out texts; the smallest that is good enough gets the
  /// name.
  func convert(
    within limit: Double, _ choices: LevelChoices, _ plan: ConversionPlan, _ states: any StateSource,
    _ check: DriftCheck, _ kernels: KernelSet, _ progress: StageProgress
  ) throws(Failure) {
    let start = Clock.seconds
    var search = DriftSearch(target: limit, ladder: choices.ladder)
    var rounds: [QuantizeReport.Round] = []
    var found: Candidate?
    // What is recommended is the likeliest to be near.
    let first = (try? choices.steps(within: .bitsPerWeight(4.25))) ?? 0
    while let steps = search.next(first: first) {
      let candidate: Candidate
      do throws(Failure) {
        candidate = try make(
          choices.choose(steps: steps), plan, states, check, kernels, round: rounds.count + 1, progress)
      } catch {
        // A pack that is good enough is not given up because a smaller one found no room.
        guard found != nil, [.limit, .temporary].contains(error.code) else { throw error }
        if !quiet { Console.note("note: no further round: \(error.what)") }
        break
      }
      let round = candidate.round
      rounds.append(round)
      if !quiet { Console.note("round \(rounds.count): \(round.text)") }
      search.add(steps: steps, divergence: round.divergence)
      if let best = search.best, best == search.checks.last { found = consume candidate }
    }
    guard let found = found.take() else {
      throw Failure(drift: rounds.map(\.divergence).min() ?? 0, over: limit, on: check.source)
    }
    let report = QuantizeReport(
      found.converter, source: checkpoint, output: dryRun ? nil : output, found.choice, rounds: rounds,
      heldOut: check.source)
    if !quiet {
      report.printStart()
      if search.endedEarly { Console.note("note: a smaller pack may be within the target; the rounds are used up") }
    }
    let outcome: Converter.Outcome
    do throws(ConversionError) { outcome = dryRun ? found.written.outcome : try found.written.commit() } catch {
      throw Failure(error, output: output ?? "")
    }
    tell(report, outcome, seconds: Clock.seconds - start, peakAnonymous: progress.peakMemory)
  }

  private func make(
    _ choice: PrecisionChoice, _ plan: ConversionPlan, _ states: any StateSource, _ check: DriftCheck,
    _ kernels: KernelSet, round: Int, _ progress: StageProgress
  ) throws(Failure) -> Candidate {
    let converter: Converter
    let written: Converter.Written
    do throws(ConversionError) {
      converter = try self.converter(of: plan.with(choice.encodings), states, kernels)
      let needed = converter.plan.rawByteCount
      if content.compression == .none, let free = OutputFile.freeBytes(beside: "\(spoolDirectory)/."), free < needed {
        throw .diskSpace(needed: needed, free: free, path: spoolDirectory)
      }
      written = try write(converter, states, "round \(round): quantizing", progress)
    } catch { throw Failure(error, output: output ?? "") }
    defer { progress.finish() }
    let divergence = try check.divergence(
      of: written.pack.link, compute: Compute(kernels: kernels, threads: threads ?? Machine.threads))
    return Candidate(
      written: written, converter: converter, choice: choice,
      round: .init(
        bits: QuantizeReport.bitsPerWeight(written.outcome, converter.plan).experts, damage: choice.damage.chosen,
        divergence: divergence))
  }

  private func write(
    _ converter: Converter, _ states: any StateSource, _ stage: String, _ progress: StageProgress
  ) throws(ConversionError) -> Converter.Written {
    var bar = Progress(stage, total: converter.plan.sourceByteCount, isQuiet: quiet)
    defer {
      bar.finish()
      progress.noteMemory(bar.peakAnonymous)
    }
    return try Interrupt.lookingOut { () throws(ConversionError) in
      if let output, !dryRun {
        return try converter.make(
          for: output, states: states, replaces: force, progress: { bar.update($0) },
          isInterrupted: { Interrupt.isRequested })
      }
      return try converter.make(
        withoutNameIn: spoolDirectory, states: states, progress: { bar.update($0) },
        isInterrupted: { Interrupt.isRequested })
    }
  }
}
