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
    let (conversion, choice) = try conversionPlan(states, rules, kernels)
    try PackArguments.requireTokenizer(conversion, of: model, isQuiet: quiet)
    let exporter = try exporter(of: conversion, as: format, kernels)
    let converter: Converter
    let limit = maxMemory.value - exporter.peakBeside
    do throws(ConversionError) {
      converter = try self.converter(of: conversion, states, kernels, memoryLimit: limit)
    } catch .memory(let needed, _) {
      throw Failure(
        ConversionError.memory(needed: needed + exporter.peakBeside, limit: maxMemory.value), output: output ?? "")
    } catch { throw Failure(error, output: output ?? "") }
    let report: ExportReport
    do throws(ExportError) { report = try start(exporter, converter: converter) } catch {
      throw Failure(error, output: output ?? "")
    }
    let quantizing = QuantizeReport(converter, source: model, output: output, choice)
    if !quiet { quantizing.printRecipe() }
    var progress = Progress("quantizing and exporting", total: conversion.sourceByteCount, isQuiet: quiet)
    let outcome = dryRun ? nil : try write(exporter, converter, states, &progress)
    tell(report, progress)
    if !quiet, let outcome { quantizing.printQuality(outcome) }
  }

  private func exporter(
    of plan: ConversionPlan, as format: any ExportFormat.Type, _ kernels: KernelSet
  ) throws(Failure) -> Exporter {
    do throws(ExportError) {
      let outline: UnnamedPack
      do throws(PackError) { outline = try UnnamedPack(outlining: plan.pack, in: outlineDirectory) } catch {
        throw .pack(error)
      }
      return try Exporter(
        self.plan(of: outline.link, as: format), kernels: kernels, threads: 1, memoryLimit: maxMemory.value, isFed: true
      )
    } catch { throw Failure(error, output: output ?? "") }
  }

  /// The plan of the pack that is not written, and what a target chose.
  private func conversionPlan(
    _ states: CalibrationFile?, _ rules: [UInt8]?, _ kernels: KernelSet
  ) throws(Failure) -> (ConversionPlan, PrecisionChoice?) {
    do throws(ConversionError) {
      let plan = try content.plan(model, states: states?.document, target: content.target, recipe: rules)
      guard let target = content.target, let states else { return (plan, nil) }
      let converter = try converter(of: plan, states, kernels, memoryLimit: maxMemory.value)
      let choice = try PackArguments.levels(converter, states, isQuiet: quiet).choose(target)
      return (try plan.with(choice.encodings), choice)
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
    _ exporter: Exporter, _ converter: Converter, _ states: CalibrationFile?, _ progress: inout Progress
  ) throws(Failure) -> Converter.Outcome? {
    guard let output else { return nil }  // validated
    defer { progress.finish() }
    var failure: ExportError?
    func exporting(_ work: () throws(ExportError) -> Void) throws(ConversionError) {
      do throws(ExportError) { try work() } catch {
        failure = error
        throw .interrupted  // whatever that says: the failure is what is told
      }
    }
    do throws(ConversionError) {
      return try Interrupt.lookingOut { () throws(ConversionError) in
        var writer: ExportWriter?
        try exporting { () throws(ExportError) in writer = try ExportWriter(exporter, to: output, replaces: force) }
        let outcome = try converter.feed(
          states: states, progress: { progress.update($0) }, isInterrupted: { Interrupt.isRequested }
        ) { (index, chunk) throws(ConversionError) in
          try exporting { () throws(ExportError) in try writer?.take(index, SharedBytes(chunk.stored)) }
        }
        guard let rootHash = outcome.rootHash else { preconditionFailure("all chunks were made") }
        try exporting { () throws(ExportError) in try writer?.commit(rootHash: rootHash) }
        return outcome
      }
    } catch { throw failure.map { Failure($0, output: output) } ?? Failure(error, output: output) }
  }
}
