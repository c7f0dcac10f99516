import Calibration
import Kernels
import Pack
import Quantization

/// What is known of an encoded chunk beside its bytes: enough to check them, to place them in a pack, and to tell how well each tensor
/// was encoded (`Formats/plan.md`, section 4).
package struct ChunkReceipt: Codable, Sendable, Equatable {
  /// Sums of one tensor in the chunk (`Formats/encodings.md`, section 10), and what the calibrated solver says of it.
  package struct Tensor: Codable, Sendable, Equatable {
    let squaredError: Double
    let squaredWeight: Double
    let saturated: Int
    let clamped: Int
    let elements: Int
    let solution: Solution?
  }

  /// As `Formats/pack.md` has it, section 7.2.
  package struct Solution: Codable, Sendable, Equatable {
    let tokens: Int
    let shrink: Float
    let damping: Float
    let attempts: Int
    let outcome: Int
    let outputError: Float
  }

  /// Where the stored bytes begin in their file.
  package let offset: Int
  package let storedBytes: Int
  package let contentBytes: Int
  package let tailOffset: Int
  package let isCompressed: Bool
  package let storedXxh3: String
  package let contentXxh3: String
  /// In the order of the chunk.
  package let tensors: [Tensor]

  var codec: ChunkRecord.Codec { isCompressed ? .zstd : .raw }
  package var byteRange: Range<Int> { offset..<offset + storedBytes }
  var storedHash: UInt64 { XXH3.parse(storedXxh3) ?? 0 }
  var contentHash: UInt64 { XXH3.parse(contentXxh3) ?? 0 }

  init(_ result: Converter.EncodedResult, offset: Int) {
    let chunk = result.chunk
    self.offset = offset
    storedBytes = chunk.storedLength
    contentBytes = chunk.contentLength
    tailOffset = chunk.tailOffset
    isCompressed = chunk.codec == .zstd
    storedXxh3 = XXH3.text(chunk.storedHash)
    contentXxh3 = XXH3.text(chunk.contentHash)
    tensors = result.statistics.enumerated().map { index, sums in
      Tensor(
        squaredError: sums.squaredError, squaredWeight: sums.squaredWeight, saturated: sums.saturated,
        clamped: sums.clampedGroups, elements: sums.count,
        solution: index < result.solutions.count ? result.solutions[index].map(Solution.init) : nil)
    }
  }

  /// Whether the numbers could be those of a chunk at all, so that later sums neither overflow nor leave a file.
  var isSane: Bool {
    let counts =
      [offset, storedBytes, contentBytes, tailOffset] + tensors.flatMap { [$0.saturated, $0.clamped, $0.elements] }
    return counts.allSatisfy { (0...PackLimits.maximumElements).contains($0) } && storedBytes > 0
      && storedBytes <= PackLimits.maximumContent && contentBytes <= PackLimits.maximumContent
      && XXH3.parse(storedXxh3) != nil && XXH3.parse(contentXxh3) != nil
      && tensors.allSatisfy { $0.solution.map { $0.matrix != nil } ?? true }
  }

  /// Whether it is a receipt of this chunk, as far as that can be told without its bytes.
  func isOf(_ chunk: PackPlan.Chunk) -> Bool {
    isSane && tensors.count == chunk.tensors.count && contentBytes == chunk.layout.byteCount
      && tailOffset == chunk.layout.tailOffset
      && (isCompressed ? storedBytes < contentBytes : storedBytes == contentBytes && storedXxh3 == contentXxh3)
  }

  var statistics: [QuantizationStatistics] {
    tensors.map { tensor in
      var sums = QuantizationSums()
      (sums.squaredError, sums.squaredWeight) = (tensor.squaredError, tensor.squaredWeight)
      (sums.saturated, sums.clamped) = (tensor.saturated, tensor.clamped)
      return QuantizationStatistics(sums, count: tensor.elements)
    }
  }

  var solutions: [SolutionRecord.Matrix?] { tensors.map { $0.solution?.matrix } }
}

extension ChunkReceipt.Solution {
  init(_ matrix: SolutionRecord.Matrix) {
    tokens = Int(matrix.tokens)
    (shrink, damping, outputError) = (matrix.shrink, matrix.damping, matrix.outputError)
    attempts = Int(matrix.attempts)
    outcome = Int(matrix.outcome.rawValue)
  }

  /// Nil for numbers that no solver says.
  var matrix: SolutionRecord.Matrix? {
    guard let tokens = Int32(exactly: tokens), let attempts = UInt8(exactly: attempts),
      let outcome = UInt8(exactly: outcome).flatMap(SolutionRecord.Outcome.init(rawValue:))
    else { return nil }
    var matrix = SolutionRecord.Matrix()
    (matrix.tokens, matrix.attempts, matrix.outcome) = (tokens, attempts, outcome)
    (matrix.shrink, matrix.damping, matrix.outputError) = (shrink, damping, outputError)
    return matrix
  }
}
