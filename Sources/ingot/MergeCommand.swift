import ArgumentParser
import Conversion
import JSON
import Pack
import Storage
import Text

struct MergeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "merge",
    abstract: "Make the pack of a plan from its parts.",
    discussion: """
      Every chunk is compared with its hash while it is copied; the pack is the same to the bit for any number of parts, as \
      `ingot quantize` would have made it at once. Of the checkpoint only config.json and the other small files are read. The \
      parts stay.

      EXAMPLES
        ingot merge --plan plan.json --parts-dir parts -o flash.ingot
      """)

  @Argument(
    help: ArgumentHelp("The checkpoint, if it lies elsewhere than the plan says.", valueName: "checkpoint"))
  var checkpointName: String?

  @Option(help: ArgumentHelp("The plan.", valueName: "file"))
  var plan: String

  @Option(help: ArgumentHelp("Where the parts are.", valueName: "directory"))
  var partsDir: String

  @Option(name: .shortAndLong, help: "The pack to write.")
  var output: String

  @Flag(name: .shortAndLong, help: "Replace an existing file; of a link, the link itself.")
  var force = false

  @Option(name: .shortAndLong, help: "Threads that read. (default: the processors this process may use, at most 8)")
  var threads: Int?

  @Flag(help: "Print the result as JSON on stdout.")
  var json = false

  @Flag(name: .shortAndLong, help: "Say nothing on stderr unless something fails.")
  var quiet = false

  func validate() throws {
    if let threads, !(1...64).contains(threads) { throw ValidationError("--threads must be 1 to 64") }
  }

  mutating func run() throws {
    let named = NamedPlan(path: plan, partsDirectory: partsDir)
    let document = try named.read()
    var name: String? = checkpointName ?? document.checkpoint
    try HubModel.find(&name, isQuiet: quiet)
    let directory = name ?? ""
    try PackArguments.requireDirectory(directory)
    var outputs = Outputs(
      models: [directory], files: [plan] + document.parts.indices.map { PartFile.path(of: $0, in: partsDir) },
      force: force, isQuiet: quiet)
    try outputs.require(output)
    var progress: Progress?
    let outcome: Converter.Outcome
    let start = Clock.seconds
    do throws(ConversionError) {
      let conversion = try document.conversion(in: directory, path: plan, for: nil)
      outcome = try Interrupt.lookingOut { () throws(ConversionError) in
        try conversion.merge(
          document, from: partsDir, to: output, replaces: force, threads: threads ?? min(8, Machine.threads),
          progress: { done, total in
            if progress == nil { progress = Progress("merging", total: total, isQuiet: quiet) }
            progress?.update(done)
          }, isInterrupted: { Interrupt.isRequested })
      }
    } catch {
      progress?.finish()
      throw named.failure(error, output: output)
    }
    progress?.finish()
    tell(outcome, document, seconds: Clock.seconds - start)
  }

  private func tell(_ outcome: Converter.Outcome, _ plan: PartPlan, seconds: Double) {
    if !quiet {
      Console.note(
        "wrote \(Format.bytes(outcome.byteCount)) (\(Format.count(outcome.byteCount)) bytes) of \(plan.parts.count) parts in "
          + "\(Format.fixed(seconds, 1)) s")
      Console.note("next: ingot inspect \(output)")
    }
    guard json else { return Console.data(FileName.bytes(of: output) + [UInt8(ascii: "\n")]) }
    // Schema `ingot.merge/1`: `Formats/plan.md`, section 7.
    Console.print(
      [
        "schema": "ingot.merge/1", "plan": .string(XXH3.text(plan.hash)), "parts": JSONValue(plan.parts.count),
        "output": .string(output), "output_bytes": JSONValue(outcome.byteCount),
        "root_hash": outcome.rootHash.map { .string(XXH3.text($0)) } ?? .null, "seconds": JSONValue(seconds),
      ] as JSONValue)
  }
}
