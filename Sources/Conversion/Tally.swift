import Calibration
import Pack
import Quantization

/// What chunks come to together. They are added in the order of the pack, so that sums have the same bits however the work was divided.
struct Tally {
  private let plan: PackPlan
  /// By tensor of the pack plan; plain ones have no error.
  private(set) var statistics: [QuantizationStatistics]
  /// What the calibrated solver says; nil where it has no part.
  private(set) var solutions: SolutionRecord?
  /// Stored bytes of all routed experts.
  private(set) var expertByteCount = 0

  init(_ plan: ConversionPlan) {
    self.plan = plan.pack
    statistics = plan.pack.tensors.map { _ in QuantizationStatistics() }
    solutions = plan.options.calibration.map { SolutionRecord($0.sizes) }
  }

  /// The hash of the states of all layers.
  mutating func setStates(_ hash: UInt64) { solutions?.statesHash = hash }

  mutating func add(
    _ index: Int, storedLength: Int, _ parts: [QuantizationStatistics], _ matrices: [SolutionRecord.Matrix?]
  ) {
    let chunk = plan.chunks[index]
    if chunk.kind == .expert { expertByteCount += storedLength }
    for (tensor, part) in zip(chunk.tensors, parts) { statistics[tensor] += part }
    for (projection, matrix) in matrices.enumerated() {
      if let matrix { solutions?[layer: chunk.layer, expert: chunk.expert, projection: projection] = matrix }
    }
  }

  mutating func add(_ index: Int, _ result: Converter.EncodedResult) {
    add(index, storedLength: result.chunk.storedLength, result.statistics, result.solutions)
  }

  mutating func add(_ index: Int, _ receipt: ChunkReceipt) {
    add(index, storedLength: receipt.storedBytes, receipt.statistics, receipt.solutions)
  }

  var errors: [PackAssembler.TensorErrors] {
    statistics.map { .init(relativeRMSE: $0.relativeRMSE, saturatedShare: $0.saturatedShare) }
  }

  /// The embedded files of which the plan knows only name and length.
  var files: [PackPlan.File] { solutions.map { [.init(name: SolutionRecord.fileName, bytes: $0.bytes)] } ?? [] }

  /// What the pack came to, finished.
  func outcome(_ header: PackHeader, isWritten: Bool = true) -> Converter.Outcome {
    Converter.Outcome(
      byteCount: header.fileLength, expertByteCount: expertByteCount, rootHash: isWritten ? header.rootHash : nil,
      statistics: statistics, solutions: solutions)
  }
}
