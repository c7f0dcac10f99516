import Conversion
import Kernels
import Pack
import Quantization
import Storage
import TestSupport

extension ConversionPlan.Options {
  init(
    experts: String = "int4-g32", rest: String = "keep", _ overrides: [Recipe.Rule] = [],
    solver: any GroupwiseSolver = Solvers.search,
    compress compression: Compression = .none
  ) throws {
    self.init()
    guard let experts = Recipe.Choice(name: experts), let rest = Recipe.Choice(name: rest) else {
      throw TestFailure("no such encoding: \(experts), \(rest)")
    }
    recipe = Recipe(experts: experts, rest: rest, overrides: overrides)
    self.solver = solver
    self.compression = compression
    tool = "ingot test"
  }
}

/// How a conversion is run.
struct Run {
  var threads = 1
  var kernels = KernelSet.best
  var memoryLimit = 1 << 30
  /// Stops after so many chunks.
  var stopAfter = Int.max
}

/// Converts a checkpoint in `directory` to `out.ingot` beside it.
@discardableResult
func convert(
  _ directory: String, _ options: ConversionPlan.Options, _ run: Run = Run()
) throws(ConversionError) -> Converter.Outcome {
  let plan = try ConversionPlan(checkpoint: directory, options: options)
  let converter = try Converter(plan, kernels: run.kernels, threads: run.threads, memoryLimit: run.memoryLimit)
  var asked = 0
  return try converter.write(to: directory + "/out.ingot", progress: { _ in }) {
    asked += 1
    return asked > run.stopAfter
  }
}

/// Writes the checkpoint, converts it and gives the pack's bytes.
func packed(
  _ tiny: TinyCheckpoint, _ options: ConversionPlan.Options, _ run: Run = Run()
) throws -> PackBytes {
  try withTemporaryDirectory { directory in
    try tiny.write(to: directory)
    try convert(directory, options, run)
    return PackBytes(try contents(of: directory + "/out.ingot"))
  }
}

/// Why the conversion is refused; nothing may be left of it.
func refusal(
  _ tiny: TinyCheckpoint, _ options: ConversionPlan.Options, _ run: Run = Run()
) throws -> ConversionError {
  try withTemporaryDirectory { directory in
    try tiny.write(to: directory)
    let before = listing(of: directory)
    do throws(ConversionError) { try convert(directory, options, run) } catch {
      guard listing(of: directory) == before else { throw TestFailure("left behind: \(listing(of: directory))") }
      return error
    }
    throw TestFailure("accepted")
  }
}

/// A checkpoint whose matrices every group size divides.
var wide: TinyCheckpoint {
  var tiny = TinyCheckpoint()
  (tiny.hidden, tiny.width, tiny.denseWidth) = (128, 128, 128)
  return tiny
}
