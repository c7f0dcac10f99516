package import Kernels
import Storage
package import Tensors

/// Chooses codes and scales. One file and one line in ``Solvers`` make a solver.
package protocol Solver: Sendable {
  /// As recipes and the command line name it.
  var name: String { get }
  /// A line of help.
  var summary: String { get }
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

/// Looks at a whole matrix and at the second moments of its inputs, so that it solves only experts of which there are states.
package protocol CalibratedSolver: Solver {
  /// Solves a matrix. Nothing may depend on the threads.
  ///
  /// - Parameters:
  ///   - weights: (rows, columns), a whole number of the encoding's groups in a row.
  ///   - encoding: one with codes.
  ///   - moments: of the matrix's inputs.
  func solve(
    _ weights: Span<Float>, rows: Int, as encoding: Encoding, moments: ConditionedMoments, threads: Int
  ) throws(CalibrationError) -> CalibratedMatrix

  /// Solves only as far as it takes to estimate what an encoding loses; parameters as above.
  ///
  /// - Parameter hasCodes: whether codes are wanted, or scales alone.
  func draft(
    _ weights: Span<Float>, rows: Int, as encoding: Encoding, moments: ConditionedMoments, hasCodes: Bool
  ) throws(CalibrationError) -> MatrixDraft
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

/// The only lists of solvers: a new one is a line here.
package enum Solvers {
  package static let groupwise: [any GroupwiseSolver] = [search, absmax, searchPositive]
  package static let calibrated: [any CalibratedSolver] = [GPTQSolver()]
  package static var all: [any Solver] { groupwise.map { $0 } + calibrated.map { $0 } }

  package static let absmax: any GroupwiseSolver = GroupSolver(
    name: "absmax", summary: "the largest magnitude gets the largest code", rule: .absmax)
  package static let search: any GroupwiseSolver = GroupSolver(
    name: "search", summary: "least squared error among candidates", rule: .search)

  package static let searchPositive: any GroupwiseSolver = GroupSolver(
    name: "search-positive", summary: "search with positive scales alone, as minnow needs them", rule: .searchPositive
  )

  /// What is taken where nothing else is asked for.
  package static var standard: any GroupwiseSolver { search }
  /// The same for experts of which there are states.
  package static var standardCalibrated: any CalibratedSolver { calibrated[0] }

  package static func named(_ name: String) -> (any Solver)? { all.first { $0.name == name } }
}
