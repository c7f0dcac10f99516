package import Kernels
package import Storage
import Tensors

/// Weights as engines multiply with them that decode to bf16: each number that codes and scale stand for is rounded once, to the nearest
/// bf16, ties to even. Weights without codes stay as they are.
package final class RoundedWeights: WeightSource {
  private let base: any WeightSource
  private let kernels: KernelSet
  private let cache: ContentCache

  /// - Parameter cacheBudget: bytes of rounded experts to keep.
  package init(_ base: any WeightSource, kernels: KernelSet, cacheBudget: Int) {
    self.base = base
    self.kernels = kernels
    cache = ContentCache(budget: cacheBudget)
  }

  package var configuration: ModelConfiguration { base.configuration }
  package var architecture: any Architecture.Type { base.architecture }
  package var items: [ModelItem] { base.items }
  package var path: String { base.path }
  package var notes: [SourceNote] { base.notes }
  package var counters: WeightCounters { base.counters }
  package var arithmetic: WeightArithmetic { .bf16Weights }
  package func hasTensor(_ id: TensorID) -> Bool { base.hasTensor(id) }
  package func willNeed(layer: Int, experts: [Int]) { base.willNeed(layer: layer, experts: experts) }
  package func places(of item: ModelItem) -> [SharedBytes] { base.places(of: item) }
  package func file(named name: String) throws(ModelError) -> [UInt8]? { try base.file(named: name) }
  package func requireUnchanged() throws(ModelError) { try base.requireUnchanged() }

  package func matrix(_ id: TensorID) throws(ModelError) -> Matrix {
    let matrix = try base.matrix(id)
    return matrix.encoding.isGrouped ? Matrix(rounded: matrix, rounded(matrix)) : matrix
  }

  package func expert(layer: Int, expert: Int) throws(ModelError) -> ExpertWeights {
    let stored = try base.expert(layer: layer, expert: expert)
    func known(_ matrix: Matrix, _ part: TensorPart) -> Matrix {
      guard matrix.encoding.isGrouped else { return matrix }
      let key = ContentCache.Key.rounded(layer: layer, expert: expert, part)
      let content = cache.content(of: key) ?? rounded(matrix)
      cache.insert(content, for: key)
      return Matrix(rounded: matrix, content)
    }
    return ExpertWeights(
      gate: known(stored.gate, .gate), up: known(stored.up, .up), down: known(stored.down, .down))
  }

  private func rounded(_ matrix: Matrix) -> SharedBytes {
    guard case .codes(let format) = WeightFormat(matrix.encoding) else { preconditionFailure("a matrix of codes") }
    var buffer = AlignedBuffer(byteCount: 2 * matrix.rows * matrix.columns)
    for block in matrix.blocks {
      var values = [Float](repeating: 0, count: block.rows.count * matrix.columns)
      var span = values.mutableSpan
      let bytes = block.content.bytes
      kernels.decode(
        codes: bytes.extracting(block.codes), scales: bytes.extracting(block.scales), as: format,
        columns: matrix.columns, into: &span)
      var target = buffer.mutableBytes
      let start = 2 * block.rows.lowerBound * matrix.columns
      for index in values.indices {
        target.storeBytes(
          of: BFloat16.narrow(values[index]).littleEndian, toByteOffset: start + 2 * index, as: UInt16.self)
      }
    }
    return SharedBytes(buffer)
  }
}

/// What the weights of a model are multiplied as.
package enum WeightArithmetic: String, Sendable, CaseIterable {
  /// The numbers that codes and scales stand for.
  case fp32
  /// These rounded to bf16, as the kernels of engines do.
  case bf16Weights = "bf16-weights"
}

extension Matrix {
  /// - Parameter content: all numbers as bf16.
  fileprivate init(rounded matrix: Matrix, _ content: SharedBytes) {
    self.init(
      name: matrix.name, encoding: .bf16, shape: Shape(rows: matrix.rows, columns: matrix.columns),
      blocks: [Block(rows: 0..<matrix.rows, content: content, codes: 0..<content.byteCount, scales: 0..<0)])
  }
}
