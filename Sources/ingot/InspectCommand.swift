import ArgumentParser
import Calibration
import Glibc
import Inspection
import JSON
import Kernels
import Models
import Pack
import Safetensors
import Storage
import Tensors

struct InspectCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "inspect",
    abstract: "Show, check and compare packs, safetensors files, checkpoint directories and files of states.",
    discussion: """
      Without options: what the model is, what its parts take, all tensors with layers and experts collapsed.

      Exit codes of --diff: 0 the same, 1 different. Exit code of --check: 4 when anything is broken. JSON is described \
      in Formats/inspect.md.

      EXAMPLES
        ingot inspect mini.ingot
        ingot inspect mini.ingot --check
        ingot inspect mini.ingot --expert 3.17
        ingot inspect LLaDA2.0-mini --diff mini.ingot
        ingot inspect mini.ingot --tensor \(exampleName) --npy head.npy
      """)

  @Argument(help: "A pack, a .safetensors or .gguf file, a directory with a checkpoint, or what `calibrate` wrote.")
  var path: String

  @Flag(help: "List every tensor on a line of its own.")
  var all = false

  @Option(help: ArgumentHelp("Statistics of the values of one tensor.", valueName: "name"))
  var tensor: String?

  @Option(help: ArgumentHelp("The same for the three projections of an expert, e.g. 3.17.", valueName: "layer.expert"))
  var expert: ExpertNumber?

  @Option(help: ArgumentHelp("With --tensor: write its values as float32.", valueName: "out.npy"))
  var npy: String?

  @Flag(name: .shortAndLong, help: "Replace an existing .npy file; of a link, the link itself.")
  var force = false

  @Flag(help: "Read every byte and report every broken rule.")
  var check = false

  @Option(help: ArgumentHelp("Compare with another model: names, shapes, metadata, numbers.", valueName: "other"))
  var diff: String?

  @Flag(help: "Print the result as JSON on stdout.")
  var json = false

  @Flag(help: "Print facts and sizes as Markdown on stdout; `ingot card` writes a whole model card.")
  var markdown = false

  @Option(name: .shortAndLong, help: "Threads that read. (default: the processors this process may use)")
  var threads: Int?

  @Flag(name: .shortAndLong, help: "Say nothing on stderr unless something fails.")
  var quiet = false

  func validate() throws {
    if let threads, !(1...1024).contains(threads) { throw ValidationError("--threads must be 1 to 1024") }
    let modes = [all, tensor != nil, expert != nil, check, diff != nil].count { $0 }
    if modes > 1 { throw ValidationError("use one of --all, --tensor, --expert, --check and --diff") }
    if npy != nil, tensor == nil { throw ValidationError("--npy needs --tensor NAME") }
    if markdown, modes > 0 || json {
      throw ValidationError("--markdown goes with none of --all, --tensor, --expert, --check, --diff and --json")
    }
  }

  mutating func run() throws {
    try HubModel.find(&path, isQuiet: quiet)
    try HubModel.find(&diff, isQuiet: quiet)
    try inspect()
  }

  private func inspect() throws {
    guard let kernels = KernelSet.selected(forced: KernelSet.forcedName) else {
      throw Failure(unknownKernels: KernelSet.forcedName ?? "")
    }
    if let npy {
      var outputs = Outputs(models: [path], force: force, isQuiet: quiet)
      try outputs.require(npy)
    }
    if CalibrationFile.isCalibration(path) { return try inspectStates() }
    if let diff, CalibrationFile.isCalibration(diff) { throw Failure(statesAsModel: diff) }
    let model: InspectedModel
    do throws(InspectionError) {
      if check { return try runCheck(kernels) }
      model = try InspectedModel(path: path)
    } catch { throw Failure(error) }
    do throws(InspectionError) {
      if let diff {
        try runDiff(model, with: diff, kernels)
      } else if tensor != nil || expert != nil {
        try runStatistics(model, kernels)
      } else {
        let report = InspectReport(model)
        if !quiet { Console.notes(model.notes.map(\.text)) }
        if markdown {
          Console.print(report.markdown(name: OutputFile.split(path).name).joined(separator: "\n"))
        } else if json {
          Console.print(report.json)
        } else {
          report.print(all: all)
        }
      }
    } catch { throw Failure(error) }
  }

  private var threadCount: Int { threads ?? Machine.threads }

  // MARK: States

  private func inspectStates() throws(Failure) {
    guard tensor == nil, expert == nil, diff == nil, !all, !markdown else { throw Failure(statesAsModel: path) }
    do throws(StateError) {
      let file = try CalibrationFile(path: path)
      if check { for layer in file.document.layers { _ = try file.layer(layer) } }
      let report = CalibrationReport(file)
      if json { Console.print(report.json) } else { report.print() }
      if check, !quiet { Console.note("every layer is as it was written") }
    } catch { throw Failure(error) }
  }

  // MARK: --check

  private func runCheck(_ kernels: KernelSet) throws(InspectionError) {
    let report: CheckReport
    if ModelFiles.Kind(of: path) == .pack {
      do throws(PackError) {
        let check = try PackCheck(path: path)
        var progress = Progress("checking", total: check.byteCount, isQuiet: quiet)
        defer { progress.finish() }
        report = .pack(path: path, try check.run(threads: threadCount) { progress.update($0) })
      } catch { throw .pack(error) }
    } else {
      var progress: Progress?
      defer { progress?.finish() }
      let found = try CheckpointCheck.run(path: path, threads: threadCount, kernels: kernels) { done, total in
        var current = progress ?? Progress("checking", total: total, isQuiet: quiet)
        current.update(done)
        progress = current
      }
      report = .checkpoint(path: path, found)
    }
    if json { Console.print(report.json) } else { report.print() }
    if !report.isSound { Glibc.exit(ExitStatus.integrity.rawValue) }
  }

  // MARK: --diff

  private func runDiff(_ model: InspectedModel, with path: String, _ kernels: KernelSet) throws(InspectionError) {
    let other = try InspectedModel(path: path)
    var progress: Progress?
    let diff = try ModelDiff(model, other, threads: threadCount, kernels: kernels) { done, total in
      // A weight is two bytes in most sources; what counts is the share.
      var current = progress ?? Progress("comparing", total: 2 * total, isQuiet: quiet)
      current.update(2 * done)
      progress = current
    }
    progress?.finish()
    let report = DiffReport(first: model, second: other, diff: diff)
    if json { Console.print(report.json) } else { report.print() }
    if !diff.isSame { Glibc.exit(ExitStatus.failed.rawValue) }
  }

  // MARK: --tensor, --expert

  private func runStatistics(_ model: InspectedModel, _ kernels: KernelSet) throws(InspectionError) {
    var tensors: [StoredTensor] = []
    if let tensor { tensors.append(try model.tensor(named: tensor)) }
    for id in expert?.tensors ?? [] {
      do throws(InspectionError) { tensors.append(try model.tensor(id)) } catch {
        // What passes through has such a name, and no place in the model.
        guard case .noTensor(let name, _) = error else { throw error }
        tensors.append(try model.tensor(named: name))
      }
    }
    var results: [(tensor: StoredTensor, statistics: TensorStatistics)] = []
    for tensor in tensors {
      var progress = Progress("reading", total: 4 * tensor.shape.elementCount, isQuiet: quiet)
      if let npy {
        defer { progress.finish() }
        try Interrupt.lookingOut { () throws(InspectionError) in
          try NumpyFile.write(
            tensor, of: model, to: npy, replaces: force, kernels: kernels, progress: { progress.update(4 * $0) },
            isInterrupted: { Interrupt.isRequested })
        }
      }
      let statistics = try TensorStatistics(of: tensor, in: model, kernels: kernels) { progress.update(4 * $0) }
      progress.finish()
      results.append((tensor, statistics))
    }
    let report = StatisticsReport(model: model, tensors: results)
    if json { Console.print(report.json) } else { report.print() }
    if let npy, !quiet { Console.note("wrote \(npy)") }
  }
}

/// Layer and number of an expert as typed: `3.17`.
struct ExpertNumber: ExpressibleByArgument {
  let layer: Int
  let expert: Int

  init?(argument: String) {
    let parts = argument.split(separator: ".", omittingEmptySubsequences: false).map { Int($0) }
    guard parts.count == 2, let layer = parts[0], let expert = parts[1], layer >= 0, expert >= 0 else { return nil }
    self.layer = layer
    self.expert = expert
  }

  var tensors: [TensorID] { TensorPart.projections.map { TensorID(.expert, $0, layer: layer, expert: expert) } }
}
