import ArgumentParser
import Calibration
import Conversion
import Storage

// A run that keeps what it has done, and goes on with it.

extension QuantizeCommand {
  func validateResume() throws {
    guard output != nil, writes else {
      throw ValidationError("--resume goes on writing a pack: give -o OUT.ingot, without --dry-run or --explain")
    }
    if data.hasData {
      throw ValidationError(
        "--resume needs states that do not change: make a file of them with `ingot calibrate`, then give --calibration")
    }
    if targetKL != nil {
      throw ValidationError("--target-kl makes several packs one after the other: leave out --resume")
    }
  }

  /// Whether the pack of a run like this has its name already, and only what was kept is left.
  func hasFinished() throws(Failure) -> Bool {
    guard resume, let output, Journal.exists(for: output) else { return false }
    do throws(PartError) { return try Journal(for: output).isFinished } catch { throw Failure(error) }
  }

  /// What an earlier run kept, which must have been to make the same, or room for what this one will keep.
  func openJournal(
    for output: String, _ plan: ConversionPlan, _ file: CalibrationFile?
  ) throws(ConversionError) -> Journal {
    let wanted = try partPlan(plan, file, nil)
    do throws(PartError) {
      let journal = try Journal(for: output)
      do throws(PartError) { try journal.require(wanted) } catch {
        guard force else { throw error }
        if !quiet { Console.note("note: `\(journal.directory)` was of another run and is replaced") }
        try journal.discard()
      }
      return journal
    } catch { throw .part(error) }
  }

  private func partPlan(
    _ plan: ConversionPlan, _ file: CalibrationFile?, _ choice: PrecisionChoice?
  ) throws(ConversionError) -> PartPlan {
    try PartPlan(
      plan, checkpoint: checkpoint, states: content.states(file), choice: choice, parts: 1)
  }

  func write(
    _ journal: Journal, _ converter: Converter, _ file: CalibrationFile?, _ choice: PrecisionChoice?,
    _ report: QuantizeReport
  ) throws(Failure) {
    var progress = Progress("quantizing", total: converter.plan.sourceByteCount, isQuiet: quiet)
    defer { progress.finish() }
    let outcome: Converter.Outcome
    do throws(ConversionError) {
      if !quiet { report.printStart() }
      if journal.isFinished {
        outcome = try converter.finish(journal)
      } else {
        if journal.plan == nil {
          try requireRoom(for: report)
          let plan = try partPlan(converter.plan, file, choice)
          do throws(PartError) { try journal.begin(plan) } catch { throw .part(error) }
        }
        outcome = try Interrupt.lookingOut { () throws(ConversionError) in
          try converter.write(
            resuming: journal, states: file, replaces: force,
            found: { done, all in
              if done > 0, !quiet { Console.note("going on: \(done) of \(all) chunks are done and sound") }
            }, progress: { progress.update($0) }, isInterrupted: { Interrupt.isRequested })
        }
      }
    } catch { throw Failure(error, keptIn: journal.directory) }
    progress.finish()
    tell(report, outcome, seconds: progress.seconds, peakAnonymous: progress.peakAnonymous)
  }
}
