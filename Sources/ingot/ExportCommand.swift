import ArgumentParser
import Conversion
import Export
import Kernels
import Models
import Pack
import Storage
import Tensors
import Text

struct ExportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "export",
    abstract: "Write a pack, or a checkpoint as it is quantized, in the form that another engine reads.",
    discussion: """
      Codes and scales are those of the pack, bit for bit, in another order; nothing is quantized anew. What a format cannot hold \
      is refused by name before anything is written. `ingot export --list` tells what each format holds. Formats: \
      \(ExportFormats.all.map { $0.name }.joined(separator: ", ")).

      A checkpoint is quantized on the way, with the options of `ingot quantize`: the same bytes as from its pack, which is \
      not written.

      EXAMPLES
        ingot export mini.ingot --to compressed-tensors -o mini-w4a16
        ingot export mini.ingot --to gguf -o mini.gguf --dry-run
        ingot export mini.ingot --to safetensors --dtype f32 -o mini-f32
        ingot export LLaDA2.0-mini --experts int4-g32 --to mlx -o mini-mlx
        ingot export --list
      """)

  @Argument(
    help: ArgumentHelp(
      "The pack; or a checkpoint, a directory or the id of a downloaded model of the hub, to be quantized.",
      valueName: "model"))
  var modelName: String?

  @Option(help: ArgumentHelp("The format.", valueName: "format"))
  var to: String?

  @Option(name: .shortAndLong, help: "The directory to write; for gguf without --shard-size a file.")
  var output: String?

  @Flag(name: .shortAndLong, help: "Replace an existing export; of a link, the link itself.")
  var force = false

  @Option(
    help: ArgumentHelp(
      "Type of weights that are no codes of the pack. safetensors: of all that was quantized, bf16 or f32. gguf: of matrices that "
        + "the pack holds plain, bf16, f16, f32 or q8_0, each rounded once. (default: bf16; gguf: as they are)",
      valueName: "type"))
  var dtype: String?

  @Option(
    help: ArgumentHelp(
      "Names and keys in a GGUF: \(GGUFProfile.all.map(\.name).joined(separator: ", ")). "
        + "(default: llada2, for Ling bailingmoe2)",
      valueName: "profile"))
  var profile: String?

  @Option(
    help: ArgumentHelp("Most bytes of tensors in a file. (default: 5GB; gguf: all in one file)", valueName: "size"))
  var shardSize: ByteCount?

  @Option(help: ArgumentHelp("Refuse what so many devices could not share.", valueName: "devices"))
  var tp: Int?

  @OptionGroup(title: "Quantizing a checkpoint on the way") var content: PackArguments

  @Flag(help: "Say what would be written, exact to the byte, and write nothing.")
  var dryRun = false

  @Flag(help: "List the formats: who reads them, what they hold, what they refuse.")
  var list = false

  @Flag(help: "Print the result as JSON on stdout.")
  var json = false

  @Option(name: .shortAndLong, help: "Threads that encode. (default: the processors this process may use)")
  var threads: Int?

  @Option(help: ArgumentHelp("Most anonymous memory to use.", valueName: "size"))
  var maxMemory = ByteCount(argument: "1GiB")!  // a valid literal

  @Flag(name: .shortAndLong, help: "Say nothing on stderr unless something fails.")
  var quiet = false

  func validate() throws {
    if let threads, !(1...1024).contains(threads) { throw ValidationError("--threads must be 1 to 1024") }
    if let tp, !(1...1024).contains(tp) { throw ValidationError("--tp must be 1 to 1024") }
    guard !list else { return }
    guard modelName != nil else { throw ValidationError("say which pack to export, or which checkpoint") }
    guard let to else { throw ValidationError("say the format with --to; `ingot export --list` tells which there are") }
    guard let format = ExportFormats.named(to) else {
      let names = ExportFormats.all.map { $0.name }.joined(separator: ", ")
      throw ValidationError("there is no format `\(to)`; known are \(names)")
    }
    if output == nil, !dryRun { throw ValidationError("say where to write with -o OUT, or use --dry-run") }
    let given: [ExportOptions.Key: Bool] = [
      .dtype: dtype != nil, .profile: profile != nil, .shardSize: shardSize != nil, .tensorParallel: tp != nil,
    ]
    for key in ExportOptions.Key.allCases where given[key] == true && !format.options.contains(key) {
      throw ValidationError("--\(key.rawValue) means nothing to `\(to)`: leave it out")
    }
    if let dtype, !format.dtypes.contains(where: { $0.rawValue == dtype }) {
      let known = format.dtypes.map(\.rawValue).joined(separator: ", ")
      throw ValidationError("--dtype of `\(to)` must be one of \(known)")
    }
    if content.compression != .none {
      throw ValidationError("no pack is written that could be compressed: leave out --compress, or --preset archive")
    }
    if content.target != nil, content.calibration == nil {
      throw ValidationError("--target needs states: --calibration, from `ingot calibrate`")
    }
    if content.target != nil, content.experts != nil {
      throw ValidationError("--target chooses what --experts would say: leave one of them out")
    }
    if content.target == nil, content.servable != nil {
      throw ValidationError("--servable restricts what a target may choose: give --target")
    }
    if let profile, GGUFProfile.named(profile) == nil {
      let names = GGUFProfile.all.map(\.name).joined(separator: ", ")
      throw ValidationError("there is no profile `\(profile)`; known are \(names)")
    }
  }

  mutating func run() throws {
    guard !list else { return ExportList.print(asJSON: json) }
    let kernels = try KernelSet.chosen()
    try HubModel.find(&modelName, isQuiet: quiet)
    guard let format = to.flatMap(ExportFormats.named) else { return }  // validated
    let isCheckpoint = Machine.isDirectory(model)
    guard Machine.exists(model) else { throw Failure(noModel: model) }
    guard isCheckpoint || !model.hasSuffix(".safetensors") else { throw Failure(exportOfFile: model) }
    if !isCheckpoint, let option = content.given ?? content.calibration.map({ _ in "--calibration" }) {
      throw Failure(option, meansNothingTo: model)
    }
    if let output, !dryRun {
      var outputs = Outputs(
        models: [model], files: [content.recipe, content.calibration], force: force, isQuiet: quiet)
      if format.isDirectory(options) {
        try outputs.requireDirectory(output, holding: ExportPlan.manifestName)
      } else {
        try outputs.require(output)
      }
    }
    guard !isCheckpoint else { return try exportCheckpoint(format, kernels) }
    do throws(ExportError) {
      let plan = try plan(of: model, as: format)
      let exporter = try Exporter(
        plan, kernels: kernels, threads: threads ?? Machine.threads, memoryLimit: maxMemory.value)
      let report = try start(exporter)
      var progress = Progress(
        dryRun ? "looking" : "exporting", total: exporter.sourceByteCount, isQuiet: quiet)
      try write(exporter, &progress)
      tell(report, progress)
    } catch { throw Failure(error, output: output ?? "") }
  }

  private func write(_ exporter: Exporter, _ progress: inout Progress) throws(ExportError) {
    defer { progress.finish() }
    try Interrupt.lookingOut { () throws(ExportError) in
      if let output, !dryRun {
        try exporter.write(
          to: output, replaces: force, progress: { progress.update($0) }, isInterrupted: { Interrupt.isRequested })
      } else {
        try exporter.look(progress: { progress.update($0) }, isInterrupted: { Interrupt.isRequested })
      }
    }
  }

  var model: String { modelName ?? "" }

  /// - Parameter path: of the pack.
  func plan(of path: String, as format: any ExportFormat.Type) throws(ExportError) -> ExportPlan {
    try ExportPlan(try ExportSource(path: path, outputName: name, options: options), as: format)
  }

  private var options: ExportOptions {
    var options = ExportOptions()
    options.dtype = dtype.flatMap(ExportOptions.ElementType.init)
    options.profile = profile.flatMap(GGUFProfile.named)
    options.shardByteCount = shardSize?.value
    options.tensorParallel = tp
    options.tool = "ingot \(toolVersion)"
    return options
  }

  /// The last part of the output's name.
  private var name: String {
    let parts = (output ?? "model").split(separator: "/")
    return parts.last.map(String.init) ?? "model"
  }

  /// Says what will be written, and looks whether there is room for it.
  ///
  /// - Parameter converter: of a checkpoint that is exported as it is quantized.
  func start(_ exporter: Exporter, converter: Converter? = nil) throws(ExportError) -> ExportReport {
    let report = ExportReport(exporter, model: model, output: dryRun ? nil : output, converter: converter)
    if !quiet { report.printStart() }
    if let output, !dryRun, let free = OutputFile.freeBytes(beside: output), free < exporter.plan.byteCount {
      throw .diskSpace(needed: exporter.plan.byteCount, free: free, path: output)
    }
    return report
  }

  /// Says what was written.
  func tell(_ report: ExportReport, _ progress: Progress) {
    if !quiet { report.printEnd(seconds: progress.seconds) }
    if json {
      Console.print(report.json(seconds: progress.seconds, peakAnonymous: progress.peakAnonymous))
    } else if let output, !dryRun {
      Console.data(FileName.bytes(of: output) + [UInt8(ascii: "\n")])
    }
  }
}
