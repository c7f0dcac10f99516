import ArgumentParser
import Glibc
import Kernels
import Storage

@main
struct Ingot: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ingot",
    abstract: "Quantizes language models with experts (LLaDA2, SDAR, Ling) into one self-verifying file.",
    discussion: """
      A checkpoint is named by its directory or, where `hf download` fetched it, by its id on the hub, OWNER/NAME or \
      OWNER/NAME@REVISION; a directory of that name has priority. HF_HUB_CACHE, HF_HOME and XDG_CACHE_HOME say where such \
      downloads lie.

      `ingot help` also tells of: \(HelpTopic.names.joined(separator: ", ")).

      EXIT CODES
      \(HelpTopic.exitCodes.lines.map { "  \($0)" }.joined(separator: "\n"))
      """,
    version: VersionReport.text,
    subcommands: [
      QuantizeCommand.self, CalibrateCommand.self, InspectCommand.self, RunCommand.self, ScoreCommand.self,
      VerifyCommand.self, ExportCommand.self, CardCommand.self, PlanCommand.self, StatusCommand.self, MergeCommand.self,
    ])

  @Flag(help: "With --version: also kernels and threads.")
  var verbose = false

  private static var subcommandNames: [String] {
    configuration.subcommands.compactMap { $0.configuration.commandName }
  }

  /// Refuses a word in the place of a command that is none.
  private static func requireCommand(_ word: String?) throws(Failure) {
    guard let word, !word.hasPrefix("-"), word != "help", !subcommandNames.contains(word) else { return }
    throw Failure(noCommand: word, commands: subcommandNames)
  }

  static func main() {
    SystemNotices.install()
    Interrupt.install()
    Machine.raiseDescriptorLimit()
    do {
      // Not what Swift makes of them: it repairs words that are no UTF-8, and then a file is not found by its name.
      let arguments = SystemCall.arguments
      try requireCommand(arguments.first)
      if try !HelpTopic.answers(arguments, commands: subcommandNames) {
        var command = try parseAsRoot(arguments)
        try command.run()
      }
    } catch let failure as Failure {
      Console.report(failure)
      Glibc.exit(failure.code.rawValue)
    } catch {
      exit(withError: error)
    }
  }
}

/// Stands in every pack's provenance.
let toolVersion = "0.1.0"
