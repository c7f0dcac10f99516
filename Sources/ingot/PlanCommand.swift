import ArgumentParser
import Calibration
import Conversion
import JSON
import Kernels
import Pack
import Quantization
import Storage
import Text

struct PlanCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "plan",
    abstract: "Share the work of `quantize` out, for many machines.",
    discussion: """
      Reads headers only, unless a target is given, which takes one look at all experts. Each part is then made by \
      `ingot quantize --plan`, anywhere and in any order, with those files of weights that the plan names for it; `ingot \
      status` tells what is there, and `ingot merge` makes the pack, the same to the bit as `ingot quantize` would make at \
      once. Formats/plan.md describes the file; Tools/cluster runs parts on clusters.

      EXAMPLES
        ingot plan LLaDA2.0-flash --parts 64 -o plan.json
        ingot quantize --plan plan.json --part 0 --parts-dir parts
        ingot status --plan plan.json --parts-dir parts
        ingot merge --plan plan.json --parts-dir parts -o flash.ingot
      """)

  @Argument(
    help: "The checkpoint: a directory with config.json and safetensors, or the id of a downloaded model of the hub.")
  var checkpoint: String

  @Option(name: .shortAndLong, help: "The plan to write.")
  var output: String

  @Option(help: "Parts to share the work out to.")
  var parts: Int

  @Flag(name: .shortAndLong, help: "Replace an existing file; of a link, the link itself.")
  var force = false

  @OptionGroup var content: PackArguments

  @Option(name: .shortAndLong, help: "Threads for a target. (default: the processors this process may use)")
  var threads: Int?

  @Option(help: ArgumentHelp("Most anonymous memory to use for a target.", valueName: "size"))
  var maxMemory = ByteCount(argument: "1GiB")!  // a valid literal

  @Flag(name: .shortAndLong, help: "Say nothing on stderr unless something fails.")
  var quiet = false

  func validate() throws {
    if let threads, !(1...1024).contains(threads) { throw ValidationError("--threads must be 1 to 1024") }
    if !(1...1_000_000).contains(parts) { throw ValidationError("--parts must be 1 to 1000000") }
    if content.target != nil {
      if content.calibration == nil { throw ValidationError("--target needs states: --calibration FILE") }
      if content.experts != nil {
        throw ValidationError("--target chooses what --experts would say: leave one of them out")
      }
    } else if content.servable != nil {
      throw ValidationError("--servable restricts what a target may choose: give --target")
    }
  }

  mutating func run() throws {
    let kernels = try KernelSet.chosen()
    var directory = checkpoint
    try HubModel.find(&directory, isQuiet: quiet)
    try PackArguments.requireDirectory(directory)
    let rules = try content.rules()
    var outputs = Outputs(
      models: [directory], files: [content.recipe, content.calibration], force: force, isQuiet: quiet)
    try outputs.require(output)
    let file = try content.statesFile(of: directory)
    if let named = content.solver?.solver as? any CalibratedSolver, file == nil {
      throw Failure(solverNeedsStates: named.name)
    }
    var conversion: ConversionPlan
    let plan: PartPlan
    do throws(ConversionError) {
      conversion = try content.plan(directory, states: file?.document, target: content.target, recipe: rules)
    } catch { throw Failure(error, output: output, recipe: content.recipe) }
    try PackArguments.requireTokenizer(conversion, of: directory, isQuiet: quiet)
    do throws(ConversionError) {
      var choice: PrecisionChoice?
      if let target = content.target, let file {
        let converter = try Converter(
          conversion, kernels: kernels, threads: threads ?? Machine.threads, memoryLimit: maxMemory.value)
        let found = try PackArguments.levels(converter, file, isQuiet: quiet).choose(target)
        conversion = try conversion.with(found.encodings)
        choice = found
      }
      plan = try PartPlan(
        conversion, checkpoint: checkpoint, states: content.states(file), choice: choice, parts: parts)
    } catch { throw Failure(error, output: output, recipe: content.recipe) }
    do throws(FileError) {
      let file = try OutputFile(path: output, replaces: force)
      try file.write(Array(plan.json.text().utf8 + [UInt8(ascii: "\n")]).bytes, at: 0)
      try file.commit()
    } catch { throw Failure(error) }
    if !quiet { tell(plan) }
    Console.data(FileName.bytes(of: output) + [UInt8(ascii: "\n")])
  }

  private func tell(_ plan: PartPlan) {
    func most(_ of: (PartPlan.Part) -> Double) -> Double { plan.parts.map(of).max() ?? 0 }
    let seconds = plan.parts.reduce(0) { $0 + $1.coreSeconds }
    for line in Format.table([
      [
        "pack",
        "\(Format.bytes(plan.result.bytes))\(content.compression == .none ? "" : " at most"), \(Format.count(plan.result.chunks)) chunks",
      ],
      ["parts", "\(plan.parts.count), each at most:"],
      [
        "  weights",
        "\(Format.bytes(Int(most { Double($0.sourceBytes) }))) read, of \(Int(most { Double($0.shards.count) })) files",
      ],
      ["  disk", Format.bytes(Int(most { Double($0.outputBytes) }))],
      ["  memory", "\(Format.bytes(plan.parts[0].memoryBytes)) with four threads"],
      [
        "  time",
        "about \(Format.duration(most(\.coreSeconds))) on one core; all parts about \(Format.duration(seconds))",
      ],
    ]) { Console.note(line) }
    Console.note("next: \(NamedPlan(path: output, partsDirectory: "PARTS").command(of: 0))")
  }
}

extension PackArguments {
  /// The states of a file, as a plan names them.
  func states(_ file: CalibrationFile?) -> PartPlan.States? {
    guard let file, let calibration else { return nil }
    return PartPlan.States(path: calibration, file)
  }
}
