import ArgumentParser
import Export
import Kernels
import Storage
import Tensors
import Text

struct ExportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "export",
    abstract: "Write a pack in the form that another engine reads.",
    discussion: """
      Codes and scales are those of the pack, bit for bit, in another order; nothing is quantized anew. What a format cannot hold \
      is refused by name before anything is written. `ingot export --list` tells what each format holds. Formats: \
      \(ExportFormats.all.map { $0.name }.joined(separator: ", ")).

      EXAMPLES
        ingot export mini.ingot --to compressed-tensors -o mini-w4a16
        ingot export mini.ingot --to gguf -o mini.gguf --dry-run
        ingot export mini.ingot --to safetensors --dtype f32 -o mini-f32
        ingot export --list
      """)

  @Argument(help: "The pack.")
  var pack: String?

  @Option(help: ArgumentHelp("The format.", valueName: "format"))
  var to: String?

  @Option(name: .shortAndLong, help: "The directory to write; for gguf without --shard-size a file.")
  var output: String?

  @Flag(name: .shortAndLong, help: "Replace an existing export; of a link, the link itself.")
  var force = false

  @Option(help: ArgumentHelp("Type of decoded weights: bf16 or f32. (default: bf16)", valueName: "type"))
  var dtype: String?

  @Option(
    help: ArgumentHelp(
      "Names and keys in a GGUF: \(GGUFProfile.all.map(\.name).joined(separator: ", ")). "
        + "(default: \(GGUFProfile.standard.name))",
      valueName: "profile"))
  var profile: String?

  @Option(
    help: ArgumentHelp("Most bytes of tensors in a file. (default: 5GB; gguf: all in one file)", valueName: "size"))
  var shardSize: ByteCount?

  @Option(help: ArgumentHelp("Refuse what so many devices could not share.", valueName: "devices"))
  var tp: Int?

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
    guard pack != nil else { throw ValidationError("say which pack to export") }
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
    if let dtype, !["bf16", "f32"].contains(dtype) { throw ValidationError("--dtype must be bf16 or f32") }
    if let profile, GGUFProfile.named(profile) == nil {
      let names = GGUFProfile.all.map(\.name).joined(separator: ", ")
      throw ValidationError("there is no profile `\(profile)`; known are \(names)")
    }
  }

  func run() throws {
    guard !list else { return ExportList.print(asJSON: json) }
    guard let kernels = KernelSet.selected(forced: KernelSet.forcedName) else {
      throw Failure(unknownKernels: KernelSet.forcedName ?? "")
    }
    guard let pack, let format = to.flatMap(ExportFormats.named) else { return }  // validated
    try requirePack(pack)
    let options = options
    if let output, !dryRun {
      var outputs = Outputs(models: [pack], force: force, isQuiet: quiet)
      if format.isDirectory(options) {
        try outputs.requireDirectory(output, holding: ExportPlan.manifestName)
      } else {
        try outputs.require(output)
      }
    }
    do throws(ExportError) {
      let source = try ExportSource(path: pack, outputName: name, options: options)
      let plan = try ExportPlan(source, as: format)
      let exporter = try Exporter(
        plan, kernels: kernels, threads: threads ?? Machine.threads, memoryLimit: maxMemory.value)
      try export(exporter)
    } catch { throw Failure(error, output: output ?? "") }
  }

  private func requirePack(_ path: String) throws(Failure) {
    guard Machine.exists(path) else { throw Failure(noModel: path) }
    guard !Machine.isDirectory(path), !path.hasSuffix(".safetensors") else { throw Failure(exportOfCheckpoint: path) }
  }

  private var options: ExportOptions {
    var options = ExportOptions()
    if dtype == "f32" { options.dtype = .f32 }
    options.profile = profile.flatMap(GGUFProfile.named) ?? options.profile
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

  private func export(_ exporter: Exporter) throws(ExportError) {
    let report = ExportReport(exporter, pack: pack ?? "", output: dryRun ? nil : output)
    if !quiet { report.printStart() }
    if let output, !dryRun, let free = OutputFile.freeBytes(beside: output), free < exporter.plan.byteCount {
      throw .diskSpace(needed: exporter.plan.byteCount, free: free, path: output)
    }
    var progress = Progress("exporting", total: exporter.sourceByteCount, isQuiet: quiet)
    if let output, !dryRun {
      defer { progress.finish() }
      try Interrupt.lookingOut { () throws(ExportError) in
        try exporter.write(
          to: output, replaces: force, progress: { progress.update($0) }, isInterrupted: { Interrupt.isRequested })
      }
    }
    if !quiet { report.printEnd(seconds: progress.seconds) }
    if json {
      Console.print(report.json(seconds: progress.seconds, peakAnonymous: progress.peakAnonymous))
    } else if let output, !dryRun {
      Console.data(FileName.bytes(of: output) + [UInt8(ascii: "\n")])
    }
  }
}
