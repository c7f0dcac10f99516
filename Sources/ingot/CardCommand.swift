import ArgumentParser
import Drift
import Inspection
import JSON
import Models
import Pack
import Storage
import Text

struct CardCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "card",
    abstract: "Write a model card for a pack.",
    discussion: """
      Markdown with the front matter that Hugging Face reads: sizes, recipe, drift, provenance, how to use it. The drift is that of the \
      report in the pack (`ingot verify --attach`) or of --drift.

      EXAMPLES
        ingot card mini.ingot --base-model inclusionAI/LLaDA2.0-mini --license apache-2.0 -o README.md
        ingot verify mini.ingot --reference LLaDA2.0-mini --json > drift.json; ingot card mini.ingot --drift drift.json
      """)

  @Argument(help: "The pack.")
  var pack: String

  @Option(help: ArgumentHelp("What `ingot verify --json` said of this pack.", valueName: "report.json"))
  var drift: String?

  @Option(help: ArgumentHelp("The model that was quantized, by its id on the hub.", valueName: "owner/name"))
  var baseModel: String?

  @Option(help: ArgumentHelp("The licence, as the hub calls it.", valueName: "id"))
  var license: String?

  @Option(name: .shortAndLong, help: ArgumentHelp("The file to write. (default: stdout)", valueName: "README.md"))
  var output: String?

  @Flag(name: .shortAndLong, help: "Replace an existing file; of a link, the link itself.")
  var force = false

  @Flag(name: .shortAndLong, help: "Say nothing on stderr unless something fails.")
  var quiet = false

  func validate() throws {
    if let baseModel, HubID(baseModel)?.revision != nil || HubID(baseModel) == nil {
      throw ValidationError("--base-model is the id of a model on the hub, OWNER/NAME")
    }
    if let license, !HubID.isWord(license) {
      throw ValidationError("--license is an id of the hub's, such as apache-2.0 or other")
    }
  }

  func run() throws {
    guard Machine.exists(pack) else { throw Failure(noModel: pack) }
    guard ModelFiles.Kind(of: pack) == .pack else { throw Failure(cardOfCheckpoint: pack) }
    if let output {
      var outputs = Outputs(models: [pack], files: [drift], force: force, isQuiet: quiet)
      try outputs.require(output)
    }
    let model: InspectedModel
    do throws(InspectionError) { model = try InspectedModel(path: pack) } catch { throw Failure(error) }
    let card = ModelCard(
      report: InspectReport(model), drift: try report(about: model), name: OutputFile.split(pack).name,
      baseModel: baseModel, license: license)
    let text = card.lines.joined(separator: "\n")
    guard let output else { return Console.print(text) }
    let bytes = Array((text + "\n").utf8)
    do throws(FileError) {
      let file = try OutputFile(path: output, replaces: force)
      try unsafe file.write(bytes.span.bytes, at: 0)
      try file.commit()
    } catch { throw Failure(error) }
  }

  /// The report that was named, or the one in the pack; one about another file is refused.
  private func report(about model: InspectedModel) throws(Failure) -> DriftReport? {
    let reading: (report: DriftReport?, problem: String?, leftOut: [JSONTypeError])
    let source: String
    if let drift {
      source = Shown.input(drift)
      let bytes = try TextInput.contents(of: drift)
      do throws(JSONError) { reading = DriftReport.reading(try unsafe JSONParser.parse(bytes.span.bytes)) } catch {
        throw Failure(driftReport: "\(error.reason), at byte \(error.byteOffset)", of: source)
      }
    } else {
      guard let attached = model.report else { return nil }
      source = "the pack"
      reading = attached.reading
    }
    guard let report = reading.report else { throw Failure(driftReport: reading.problem ?? "it is broken", of: source) }
    guard let hash = model.headerWithoutReport?.rootHash, report.candidate.hash == XXH3.text(hash) else {
      throw Failure(
        driftReport: "it is about another file, \(Shown.text(report.candidate.hash, limit: 20))", of: source)
    }
    return report
  }
}
