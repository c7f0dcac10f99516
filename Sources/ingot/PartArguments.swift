import ArgumentParser
import Glibc

/// Which part of which plan is made.
struct PartArguments: ParsableArguments {
  @Option(help: ArgumentHelp("Make one part of this plan, which `ingot plan` wrote, and no pack.", valueName: "file"))
  var plan: String?

  @Option(
    name: .customLong("part"),
    help: ArgumentHelp("Which part, from 0. (default: SLURM_ARRAY_TASK_ID of the environment)", valueName: "number"))
  var number: Int?

  @Option(
    help: ArgumentHelp("Where files of parts go; it is made if it is not there.", valueName: "directory"))
  var partsDir: String?

  /// An option that means nothing without a plan.
  var idleOption: String? { number != nil ? "--part" : partsDir != nil ? "--parts-dir" : nil }

  /// The number that is given, or the one that Slurm gives each job of an array.
  var chosenNumber: Int? {
    if let number { return number }
    guard let text = unsafe getenv("SLURM_ARRAY_TASK_ID") else { return nil }
    return Int(unsafe String(cString: text))
  }
}
