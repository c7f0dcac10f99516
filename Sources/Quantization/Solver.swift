package import Kernels
import Storage
package import Tensors

/// Chooses codes and scales. One file and one line in ``Solvers/all`` make a solver.
package protocol Solver: Sendable {
  /// As recipes and the command line name it.
  var name: String { get }
  /// A line of help.
  var summary: String { get }
  /// What it must know beside the weights.
  var needs: SolverNeeds { get }
}

/// Looks at each group by itself, so that a matrix may come in pieces.
package protocol GroupwiseSolver: Solver {
  /// Encodes `weights`.
  ///
  /// - Parameters:
  ///   - codes: (`weights.encoding.codeByteCount`), overwritten.
  ///   - scales: (`weights.encoding.scaleByteCount`), overwritten.
  ///   - statistics: of the elements before, which go on group by group.
  /// - Throws: see ``Quantizer``; codes, scales and statistics are then unspecified.
  @_lifetime(codes: copy codes)
  @_lifetime(scales: copy scales)
  func encode(
    _ weights: SourceWeights, kernels: KernelSet, codes: inout MutableRawSpan, scales: inout MutableRawSpan,
    adding statistics: inout QuantizationStatistics
  ) throws(QuantizationError)
}

/// What a solver must know beside the weights of a matrix.
package enum SolverNeeds: Sendable {
  /// Nothing: it is a ``GroupwiseSolver``.
  case nothing
  /// The second moments of the matrix's inputs, and the whole matrix at once: ``GPTQ``.
  case inputMoments
}

/// Numbers of a checkpoint to be encoded: a matrix, or a part of it that ``Encoding/unitElementCount(columns:)`` divides.
package struct SourceWeights: ~Escapable {
  /// Little-endian, at any alignment.
  package let bytes: RawSpan
  package let format: FloatFormat
  /// Columns of a row.
  package let columns: Int
  package let encoding: Encoding

  @_lifetime(copy bytes)
  init(_ bytes: RawSpan, format: FloatFormat, columns: Int, encoding: Encoding) {
    self.bytes = bytes
    self.format = format
    self.columns = columns
    self.encoding = encoding
  }

  package var count: Int { bytes.byteCount / format.byteCount }
}

/// The only list of solvers: a new one is a line here.
package enum Solvers {
  package static let all: [any Solver] = groupwise + [gptq]
  package static let groupwise: [any GroupwiseSolver] = [search, absmax]

  package static let gptq: any Solver = CalibratedSolver()
  package static let absmax: any GroupwiseSolver = GroupSolver(
    name: "absmax", summary: "the largest magnitude gets the largest code", rule: .absmax)
  package static let search: any GroupwiseSolver = GroupSolver(
    name: "search", summary: "least squared error among candidates", rule: .search)

  /// What is taken where nothing else is asked for.
  package static var standard: any GroupwiseSolver { search }

  package static func named(_ name: String) -> (any Solver)? { all.first { $0.name == name } }
}
