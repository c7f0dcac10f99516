import ArgumentParser
import Calibration
import Conversion
import Inspection
import Kernels
import Models
import Safetensors
import Storage
import Tensors

// States to quantize with, and what they say of a target.

extension QuantizeCommand {
  /// States that are made on the way; nil where experts are to be solved without.
  func madeStates(_ kernels: KernelSet, _ progress: StageProgress) throws(Failure) -> (any StateSource)? {
    guard data.hasData else { return nil }
    let input = try CalibrationInput(
      data, checkpoint: checkpoint, companions: companions, asNumbers: content.requantize,
      compute: Compute(kernels: kernels, threads: threads ?? Machine.threads),
      maxMemory: maxMemory.value, progress)
    if !quiet { Console.notes(input.model.promptRemarks + input.notes) }
    // For a target states are needed twice: they wait in a file that never has a name.
    if wanted != nil { return try spooled(input, progress) }
    return LiveStates(input.document, input.model.model, input.copies) {
      progress.update("calibrating", $0)
      return !Interrupt.isRequested
    }
  }

  /// Beside the output, where there must be room, or with other temporary files.
  var spoolDirectory: String { output.map { OutputFile.split($0).directory } ?? Machine.temporaryDirectory }

  private func spooled(_ input: CalibrationInput, _ progress: StageProgress) throws(Failure) -> CalibrationFile {
    try CalibrationMemory.require(
      StatePass.workingByteCount(input.copies, input.model.configuration), limit: maxMemory.value)
    do throws(StateError) {
      let writer: CalibrationWriter
      let place: OutputFile
      do throws(FileError) { place = try OutputFile(withoutNameIn: spoolDirectory) } catch {
        throw .file(SafetensorsError(error))
      }
      do throws(SafetensorsError) {
        writer = try CalibrationWriter(input.document, input.copies, to: place)
      } catch { throw .file(error) }
      try input.write(writer, progress)
      return try writer.finishUnnamed()
    } catch { throw Failure(error) }
  }

  /// Bytes that states take; where they were made or drift is checked here, models are open, too.
  func statesHeld(_ states: (any StateSource)?) -> Int {
    (states?.heldByteCount ?? 0) + (data.hasData || targetKL != nil ? ResidentMemory.anonymous : 0)
  }
}

extension PrecisionTarget: ExpressibleByArgument {
  package init?(argument: String) {
    if argument.lowercased().hasSuffix("bpw") {
      guard let bits = Double(argument.dropLast(3)), bits > 0, bits <= 16 else { return nil }
      self = .bitsPerWeight(bits)
    } else {
      guard let size = ByteCount(argument: argument) else { return nil }
      self = .bytes(size.value)
    }
  }

  package static var allValueStrings: [String] { [] }
}
