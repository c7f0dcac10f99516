import Calibration
import Conversion
import JSON
import Pack
import Quantization
import Storage
import Tensors
import Text

// Writing the pack, and saying what would be written.

extension QuantizeCommand {
  func printExplanation(_ plan: ConversionPlan, of name: String, _ choices: LevelChoices?) throws(ConversionError) {
    guard let index = plan.pack.tensors.firstIndex(where: { $0.name == name }) else {
      throw .pack(.notFound(name, path: checkpoint))
    }
    let tensor = plan.pack.tensors[index]
    let decision = plan.decisions[index]
    // A level that a matrix cannot have has no damage.
    let levels = choices?.options(of: name)?.filter(\.damage.isFinite) ?? []
    if json {
      let result: JSONValue = [
        "schema": "ingot.explain/1", "tensor": .string(name),
        "shape": .array(tensor.shape.dimensions.map { JSONValue($0) }),
        "source": .string(tensor.sourceEncoding.description), "encoding": .string(tensor.encoding.description),
        "decided_by": .string(decision.decidedBy),
        "solver": tensor.encoding.isGrouped ? .string(plan.solvers[index].name) : .null,
        "levels": .array(
          levels.map {
            [
              "encoding": .string("\($0.encoding)"), "bytes": JSONValue($0.byteCount), "damage": JSONValue($0.damage),
            ]
          }),
      ]
      Console.print(result)
    } else {
      Console.print("\(name)  \(tensor.shape)  \(tensor.sourceEncoding) -> \(tensor.encoding)")
      Console.print("decided by: \(decision.decidedBy)")
      if tensor.encoding.isGrouped { Console.print("solver: \(plan.solvers[index].name)") }
      let most = levels.map(\.damage).max() ?? 0
      guard most > 0 else { return }
      let rows = levels.map { level in
        [
          level.encoding == tensor.encoding ? "* \(level.encoding)" : "  \(level.encoding)",
          Format.count(level.byteCount), Format.fixed(100 * level.damage / most, 1) + " %",
        ]
      }
      for line in Format.table([["level", "bytes", "damage"]] + rows, right: [1, 2]) { Console.print(line) }
    }
  }

  func convert(
    _ converter: Converter, _ states: (any StateSource)?, _ report: QuantizeReport
  ) throws(ConversionError) {
    if !quiet { report.printStart() }
    try requireRoom(for: report)
    var progress = Progress(
      dryRun ? "measuring" : "quantizing", total: converter.plan.sourceByteCount, isQuiet: quiet)
    let outcome: Converter.Outcome
    do throws(ConversionError) {
      if dryRun {
        outcome = try converter.measure(states: states, progress: { progress.update($0) }, isInterrupted: { false })
      } else {
        outcome = try Interrupt.lookingOut { () throws(ConversionError) in
          try converter.write(
            to: output!, states: states, replaces: force, progress: { progress.update($0) },  // validated
            isInterrupted: { Interrupt.isRequested })
        }
      }
    } catch {
      progress.finish()
      throw error
    }
    progress.finish()
    tell(report, outcome, seconds: progress.seconds, peakAnonymous: progress.peakAnonymous)
  }

  /// What zstd will save is not known before; a disk that fills up is then found while writing.
  func requireRoom(for report: QuantizeReport) throws(ConversionError) {
    guard let output, !dryRun, let free = OutputFile.freeBytes(beside: output), free < report.rawByteCount else {
      return
    }
    guard content.compression == .zstd else { throw .diskSpace(needed: report.rawByteCount, free: free, path: output) }
    let missing = Format.bytes(report.rawByteCount - free)
    if !quiet { Console.note("note: the disk has room for this pack only if zstd saves \(missing)") }
  }

  func tell(_ report: QuantizeReport, _ outcome: Converter.Outcome, seconds: Double, peakAnonymous: Int) {
    if !quiet { report.printEnd(outcome, seconds: seconds) }
    if json {
      Console.print(report.json(outcome, seconds: seconds, peakAnonymous: peakAnonymous))
    } else if let output, !dryRun {
      Console.data(FileName.bytes(of: output) + [UInt8(ascii: "\n")])
    }
  }
}
