import Calibration
import Conversion
import Export
import Kernels
import Models
import Pack
import Quantization
import Storage

// A checkpoint, exported as it is quantized: its weights are read once, and its pack is never written.

extension ExportCommand {
  func exportCheckpoint(_ format: any ExportFormat.Type, _ kernels: KernelSet) throws(Failure) {
    let rules = try content.rules()
    let states = try content.statesFile(of: model)
    if let named = content.solver?.solver as? any CalibratedSolver, states == nil {
      throw Failure(solverNeedsStates: named.name)
    }
    let conversion = try conversionPlan(states, rules, kernels)
    try PackArguments.requireTokenizer(conversion, of: model, isQuiet: quiet)
    let exporter: Exporter
    let report: ExportReport
    do throws(ExportError) {
      let outline: UnnamedPack
      do throws(PackError) { outline = try UnnamedPack(outlining: conversion.pack, in: outlineDirectory) } catch {
        throw .pack(error)
      }
      let plan = try plan(of: outline.link, as: format)
      exporter = try Exporter(plan, kernels: kernels, threads: 1, memoryLimit: maxMemory.value, isFed: true)
      report = try start(exporter, notes: conversion.model.notes)
    } catch { throw Failure(error, output: output ?? "") }
    var progress = Progress("quantizing and exporting", total: conversion.sourceByteCount, isQuiet: quiet)
    if !dryRun { try write(exporter, conversion, states, kernels, &progress) }
    tell(report, progress)
  }

  /// The plan of the pack that is not written.
  private func conversionPlan(
    _ states: CalibrationFile?, _ rules: [UInt8]?, _ kernels: KernelSet
  ) throws(Failure) -> ConversionPlan {
    do throws(ConversionError) {
      let plan = try content.plan(model, states: states?.document, target: content.target, recipe: rules)
      guard let target = content.target, let states else { return plan }
      let converter = try converter(of: plan, states, kernels, memoryLimit: maxMemory.value)
      return try plan.with(
        PackArguments.levels(converter, states, isQuiet: quiet).choose(target).encodings)
    } catch { throw Failure(error, output: output ?? "", recipe: content.recipe) }
  }

  private func converter(
    of plan: ConversionPlan, _ states: CalibrationFile?, _ kernels: KernelSet, memoryLimit: Int
  ) throws(ConversionError) -> Converter {
    try Converter(
      plan, kernels: kernels, threads: threads ?? Machine.threads, memoryLimit: memoryLimit,
      statesHeld: states?.heldByteCount ?? 0)
  }

  /// Where the tables are that the export is planned with: beside the output, or with other temporary files.
  private var outlineDirectory: String {
    guard var path = output, !dryRun else { return Machine.temporaryDirectory }
    while path.utf8.count > 1, path.utf8.last == UInt8(ascii: "/") { path.removeLast() }
    return OutputFile.split(path).directory
  }

  private func write(
    _ exporter: Exporter, _ plan: ConversionPlan, _ states: CalibrationFile?, _ kernels: KernelSet,
    _ progress: inout Progress
  ) throws(Failure) {
    guard let output else { return }  // validated
    defer { progress.finish() }
    let writer: ExportWriter
    do throws(ExportError) { writer = try ExportWriter(exporter, to: output, replaces: force) } catch {
      throw Failure(error, output: output)
    }
    var failure: ExportError?
    let outcome: Converter.Outcome
    do throws(ConversionError) {
      let converter = try converter(of: plan, states, kernels, memoryLimit: maxMemory.value - exporter.peak)
      outcome = try Interrupt.lookingOut { () throws(ConversionError) in
        try converter.feed(
          states: states, progress: { progress.update($0) }, isInterrupted: { Interrupt.isRequested }
        ) { (index, chunk) throws(ConversionError) in
          do throws(ExportError) { try writer.take(index, SharedBytes(chunk.stored)) } catch {
            failure = error
            throw .interrupted  // whatever that says: the failure is what is told
          }
        }
      }
    } catch { throw failure.map { Failure($0, output: output) } ?? Failure(error, output: output) }
    guard let rootHash = outcome.rootHash else { preconditionFailure("all chunks were made") }
    do throws(ExportError) { try writer.commit(rootHash: rootHash) } catch { throw Failure(error, output: output) }
  }
}
