import Calibration
import Conversion
import Kernels
import Models
import Pack
import Storage
import Text

// A pack that drifts just less than it may.

extension QuantizeCommand {
  /// A pack that was made and is good enough so far.
  private struct Found: ~Copyable {
    let written: Converter.Written
    let converter: Converter
    let choice: PrecisionChoice
  }

  /// Makes packs, each of which has no name yet, and checks them on the held-out texts; the last that is good enough gets the
  /// name.
  func convert(
    within limit: Double, _ choices: LevelChoices, _ plan: ConversionPlan, _ states: any StateSource,
    _ kernels: KernelSet, _ progress: StageProgress
  ) throws(Failure) {
    let compute = Compute(kernels: kernels, threads: threads ?? Machine.threads)
    guard let heldOut, let path = dryRun ? "\(Machine.temporaryDirectory)/ingot.pack" : output else {
      preconditionFailure("both were validated")
    }
    let check = try DriftCheck(
      checkpoint: checkpoint, heldOut: heldOut, decoder: data.decoder, blockLength: data.blockLength ?? 32,
      compute: compute, maxMemory: maxMemory.value, progress)
    var search = DriftSearch(target: limit, range: choices.damageRange)
    var rounds: [QuantizeReport.Round] = []
    var found: Found?
    var seconds = 0.0
    // What is recommended is the likeliest to be near.
    let first = (try? choices.choose(.bitsPerWeight(4.25)).damage.chosen) ?? choices.damageRange.least
    while let damage = search.next(first: first) {
      let choice = choices.choose(damage: damage)
      let converter: Converter
      let written: Converter.Written
      do throws(ConversionError) {
        converter = try self.converter(of: plan.with(choice.encodings), states, kernels)
        let needed = converter.plan.rawByteCount
        if let free = OutputFile.freeBytes(beside: path), free < needed, compress == .none {
          throw .diskSpace(needed: needed, free: free, path: path)
        }
        let name = "round \(rounds.count + 1): quantizing"
        var bar = Progress(name, total: converter.plan.sourceByteCount, isQuiet: quiet)
        defer {
          bar.finish()
          seconds += bar.seconds
        }
        written = try Interrupt.lookingOut { () throws(ConversionError) in
          try converter.make(
            for: path, states: states, replaces: force, progress: { bar.update($0) },
            isInterrupted: { Interrupt.isRequested })
        }
      } catch { throw Failure(error, output: path) }
      let divergence = try check.divergence(of: written.pack.link, compute: compute)
      progress.finish()
      let round = QuantizeReport.Round(
        bits: QuantizeReport.bitsPerWeight(written.outcome, converter.plan).experts, damage: choice.damage.chosen,
        divergence: divergence)
      rounds.append(round)
      if !quiet { Console.note("round \(rounds.count): \(round.text)") }
      search.add(.init(damage: round.damage, divergence: divergence))
      if let best = search.best, best == search.checks.last {
        found = Found(written: written, converter: converter, choice: choice)
      }
    }
    guard let found = found.take() else {
      throw Failure(drift: rounds.map(\.divergence).min() ?? 0, over: limit, on: check.source)
    }
    let report = QuantizeReport(
      found.converter, source: checkpoint, output: dryRun ? nil : output, found.choice, rounds: rounds,
      heldOut: check.source)
    if !quiet { report.printStart() }
    let outcome: Converter.Outcome
    do throws(ConversionError) { outcome = dryRun ? found.written.outcome : try found.written.commit() } catch {
      throw Failure(error, output: path)
    }
    tell(report, outcome, seconds: seconds, peakAnonymous: progress.peakMemory)
  }
}
