import ArgumentParser
import Quantization

/// A solver as an argument.
struct SolverName: ExpressibleByArgument {
  let solver: any Solver

  init?(argument: String) {
    guard let solver = Solvers.named(argument) else { return nil }
    self.solver = solver
  }

  var defaultValueDescription: String { solver.name }
  static var allValueStrings: [String] { Solvers.all.map(\.name) }
}
