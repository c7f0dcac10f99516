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

struct CalibrateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "calibrate",
    abstract: "Keep what the experts are fed while a model denoises, for `quantize --calibration`.",
    discussion: """
      One full-precision pass over texts as diffusion decodes from them: blocks with a quarter, half, three quarters and \
      all of their positions masked, and the finished text. What matters most is the mix: give files of every domain \
      and language that the model will be used for, in equal parts, as questions and answers in the chat template that it \
      was trained with where there are such. Half of the tokens from each of two domains keep nearly all that each would \
      gain alone; a domain that is left out loses most of it. The file is described in Formats/calibration.md.

      EXAMPLES
        ingot calibrate LLaDA2.0-mini -o mini.calibration --prompts chats.jsonl --text code.txt
        ingot inspect mini.calibration
        ingot quantize LLaDA2.0-mini --calibration mini.calibration -o mini.ingot
      """)

  @Argument(
    help: "The checkpoint: a directory with config.json and safetensors, or the id of a downloaded model of the hub.")
  var checkpoint: String

  @Option(name: .shortAndLong, help: "The file to write.")
  var output: String

  @Flag(name: .shortAndLong, help: "Replace an existing file; of a link, the link itself.")
  var force = false

  @OptionGroup var data: CalibrationArguments

  @Option(name: .shortAndLong, help: "Threads that compute. (default: the processors this process may use)")
  var threads: Int?

  @Option(help: ArgumentHelp("Most anonymous memory to use.", valueName: "size"))
  var maxMemory = ByteCount(argument: "2GiB")!  // a valid literal

  @Flag(name: .shortAndLong, help: "Say nothing on stderr unless something fails.")
  var quiet = false

  func validate() throws {
    if let threads, !(1...1024).contains(threads) { throw ValidationError("--threads must be 1 to 1024") }
    if !data.hasData {
      throw ValidationError("name data: --prompts FILE or --text FILE, both several times; or --generate")
    }
  }

  mutating func run() throws {
    try HubModel.find(&checkpoint, isQuiet: quiet)
    try calibrate()
  }

  private func calibrate() throws {
    guard let kernels = KernelSet.selected(forced: KernelSet.forcedName) else {
      throw Failure(unknownKernels: KernelSet.forcedName ?? "")
    }
    guard Machine.exists(checkpoint) else { throw Failure(noModel: checkpoint) }
    guard Machine.isDirectory(checkpoint) else { throw Failure(notCheckpoint: checkpoint) }
    var outputs = Outputs(
      models: [checkpoint], files: data.prompts + data.text + [data.generator], force: force, isQuiet: quiet)
    try outputs.require(output)
    let compute = Compute(kernels: kernels, threads: threads ?? Machine.threads)
    let progress = StageProgress(isQuiet: quiet)
    let input = try CalibrationInput(
      data, checkpoint: checkpoint, compute: compute, maxMemory: maxMemory.value, progress)
    if !quiet { Console.notes(input.model.promptRemarks + input.notes) }
    try CalibrationMemory.require(
      StatePass.workingByteCount(input.copies, input.model.configuration), limit: maxMemory.value)
    let needed = CalibrationWriter.byteCount(input.document)
    if let free = OutputFile.freeBytes(beside: output), free < needed {
      throw Failure(.diskSpace(needed: needed, free: free, path: output))
    }
    do throws(StateError) {
      let writer: CalibrationWriter
      do throws(SafetensorsError) {
        writer = try CalibrationWriter(input.document, input.copies, to: output, replaces: force)
      } catch { throw .file(error) }
      try input.write(writer, progress)
      do throws(SafetensorsError) { try writer.finish() } catch { throw .file(error) }
      let coverage = try CalibrationFile(path: output).coverage()
      progress.finish()
      if !quiet {
        Console.notes(compute.remarks)
        for line in CalibrationReport.end(input.document, coverage, byteCount: needed) { Console.note(line) }
        Console.note("next: ingot quantize \(checkpoint) --calibration \(output) -o OUT.ingot")
      }
    } catch { throw Failure(error) }
    Console.data(FileName.bytes(of: output) + [UInt8(ascii: "\n")])
  }
}

extension CalibrationInput {
  /// Runs the pass and hands its states to a writer; finishing it is left to the caller.
  func write(_ writer: CalibrationWriter, _ progress: StageProgress) throws(StateError) {
    var failure: SafetensorsError?
    do throws(StateError) {
      try StatePass(model.model, copies).run(
        add: { rows in
          do throws(SafetensorsError) { try writer.add(rows) } catch {
            failure = error
            return false
          }
          return true
        },
        finished: { _ in
          writer.finishLayer()
          return true
        },
        progress: {
          progress.update("calibrating", $0)
          return !Interrupt.isRequested
        })
    } catch { throw failure.map { .file($0) } ?? error }
    do throws(ModelError) { try model.weights.requireUnchanged() } catch { throw .model(error) }
  }
}

/// Memory of a pass, beside what it must leave to the program: tables of the checkpoint, tokenizer, libraries.
enum CalibrationMemory {
  static func require(_ working: Int, limit: Int) throws(Failure) {
    let needed = working + max(ResidentMemory.anonymous, 24 << 20)
    guard needed <= limit else { throw Failure(calibrationNeeds: needed, limit: limit) }
  }
}
