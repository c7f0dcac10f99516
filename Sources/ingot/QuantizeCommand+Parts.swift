import ArgumentParser
import Calibration
import Conversion
import Kernels
import Storage
import Text

// One part of a plan.

extension QuantizeCommand {
  func validatePart() throws {
    let given: [(String, Bool)] = [
      ("--output", output != nil), ("--force", force), ("--target-kl", targetKL != nil), ("--held-out", heldOut != nil),
      ("--config", companions != nil), ("--dry-run", dryRun), ("--explain", explain != nil), ("--resume", resume),
      ("--json", json),
    ]
    let ofData = data.hasData ? "data to calibrate on" : data.idleOption
    if let option = content.given ?? ofData ?? given.first(where: \.1)?.0 {
      throw ValidationError("--plan says what is made: leave out \(option)")
    }
    guard parts.partsDir != nil else { throw ValidationError("say where the part goes with --parts-dir DIRECTORY") }
    guard parts.chosenNumber != nil else { throw ValidationError("say which part with --part NUMBER, from 0") }
  }

  mutating func makePart(of path: String, _ kernels: KernelSet) throws(Failure) {
    guard let directory = parts.partsDir, let number = parts.chosenNumber else { return }  // validated
    let named = NamedPlan(path: path, partsDirectory: directory)
    let plan = try named.read()
    if content.calibration != nil, plan.states == nil { throw Failure(planWithoutStates: path) }
    guard plan.parts.indices.contains(number) else { throw named.failure(.noPart(number, count: plan.parts.count)) }
    let output = PartFile.path(of: number, in: directory)
    let isThere = try named.has(number, of: plan, isQuiet: quiet)
    if !isThere {
      checkpointName = checkpointName ?? plan.checkpoint
      try HubModel.find(&checkpointName, isQuiet: quiet)
      try PackArguments.requireDirectory(checkpoint)
      try make(number, of: plan, named, output, kernels)
    }
    Console.data(FileName.bytes(of: output) + [UInt8(ascii: "\n")])
  }

  private func make(
    _ number: Int, of plan: PartPlan, _ named: NamedPlan, _ output: String, _ kernels: KernelSet
  ) throws(Failure) {
    let own = plan.parts[number]
    do throws(ConversionError) {
      let conversion = try plan.conversion(in: checkpoint, path: named.path, for: number)
      var states: CalibrationFile?
      if let wanted = plan.states {
        let file: CalibrationFile
        do throws(StateError) { file = try CalibrationFile(path: content.calibration ?? wanted.path) } catch {
          throw .states(error)
        }
        guard file.statesHash == wanted.hash, file.document == wanted.document else {
          throw .part(.otherStates(path: file.path))
        }
        states = file
      }
      let converter = try Converter(
        conversion, kernels: kernels, threads: threads ?? Machine.threads, memoryLimit: maxMemory.value)
      if !quiet {
        Console.note(
          "part \(number) of \(plan.parts.count): \(Format.count(own.chunks)) chunks, \(Format.bytes(own.sourceBytes)) of "
            + "weights, from `\(Shown.text(own.first))` to `\(Shown.text(own.last))`")
      }
      var progress = Progress("quantizing", total: own.sourceBytes, isQuiet: quiet)
      defer { progress.finish() }
      try named.makeDirectory()
      try Interrupt.lookingOut { () throws(ConversionError) in
        try converter.make(
          number, of: plan, to: output, states: states, progress: { progress.update($0) },
          isInterrupted: { Interrupt.isRequested })
      }
    } catch { throw named.failure(error, output: output) }
  }
}
