import Safetensors
import Storage
import Tensors

/// All experts of a checkpoint, once, layer by layer, read past the page cache into buffers that go round.
///
/// Filling the page cache takes half a second of processor time for each gigabyte, and as long again to empty it, while the
/// products of the run want all processors.
package final class ExpertReader {
  /// Threads that wait for the disk.
  private static let threads = 2
  /// Bytes of experts that are multiplied at a time.
  private static let heldByteCount = 64 << 20

  /// By layer, the experts in the order of the files.
  private let order: [[Int]]
  /// Experts that are held at a time.
  let heldCount: Int
  private let results: OrderedResults<ExpertWeights, ModelError>
  private let count: (ExpertWeights) -> Void

  /// - Parameters:
  ///   - experts: by layer and expert, the projections.
  ///   - memory: bytes for buffers.
  ///   - computing: threads that multiply, which take whole experts.
  ///   - count: called with those that are used.
  /// - Returns: nil where the memory is too little or a file system has no such access.
  init?(
    _ checkpoint: Checkpoint, _ experts: [[[StoredTensor]]], memory: Int, computing: Int,
    count: @escaping (ExpertWeights) -> Void
  ) {
    self.count = count
    guard experts.joined().joined().allSatisfy({ $0.bytes != nil }) else { return nil }
    guard let largest = experts.joined().joined().compactMap(\.byteCount).max() else { return nil }
    let buffers = BufferPool(capacity: ReadOnlyFile.bufferByteCount(largest))
    let hasFP8 = experts.joined().joined().contains { $0.bytes?.scales != nil }
    let numbers = BufferPool(capacity: hasFP8 ? 2 * largest : 0)
    let expertByteCount = TensorPart.projections.count * (buffers.capacity + numbers.capacity)
    heldCount = max(2 * computing, min(Self.heldByteCount, memory / 4) / expertByteCount)
    let window = memory / expertByteCount - heldCount
    guard window >= 2 * Self.threads else { return nil }
    let files = checkpoint.files.map { ReadOnlyFile($0.file) }
    guard files.allSatisfy(\.passesCache) else { return nil }
    // By name, expert 10 comes before expert 2.
    func place(_ projections: [StoredTensor]) -> (Int, Int) {
      projections[0].bytes.map { ($0.file, $0.range.lowerBound) } ?? (0, 0)
    }
    order = experts.map { layer in layer.indices.sorted { place(layer[$0]) < place(layer[$1]) } }
    let all = order.enumerated().flatMap { layer, experts in experts.map { (layer, $0) } }
    results = OrderedResults(
      count: all.count, threads: Self.threads, window: window, makeWorkspace: {},
      work: { _, index in
        let (layer, expert) = all[index]
        var matrices: [Matrix] = []
        do throws(FileError) {
          for tensor in experts[layer][expert] {
            guard let (file, range, scales) = tensor.bytes else { continue }
            let (content, place) = try files[file].held(range, buffers)
            guard let scales else {
              matrices.append(Matrix(tensor, content, place))
              continue
            }
            var decoded = numbers.take(byteCount: 2 * range.count)
            scales.decode(content.bytes.extracting(place), into: &decoded)
            matrices.append(Matrix(tensor, SharedBytes(decoded), 0..<2 * range.count))
          }
        } catch { return .failure(.source(SafetensorsError(error))) }
        return .success(ExpertWeights(gate: matrices[0], up: matrices[1], down: matrices[2]))
      })
  }

  /// The experts of a layer in the order in which ``next(isUsed:)`` gives them.
  package func order(layer: Int) -> [Int] { order[layer] }

  /// The next expert.
  ///
  /// - Parameter isUsed: whether anything is multiplied with it.
  /// - Throws: ``ModelError/source(_:)`` when reading fails.
  /// - Precondition: asked once for each expert.
  package func next(isUsed: Bool) throws(ModelError) -> ExpertWeights {
    let weights = try results.next().get()
    if isUsed { count(weights) }
    return weights
  }
}

extension Matrix {
  /// A matrix of a checkpoint.
  ///
  /// - Parameter place: of the elements in the content.
  init(_ tensor: StoredTensor, _ content: SharedBytes, _ place: Range<Int>) {
    guard let encoding = tensor.type.encoding else { preconditionFailure("the store checked its types") }
    self.init(
      name: tensor.name, encoding: encoding, shape: tensor.shape,
      blocks: [Block(rows: 0..<tensor.shape.rows, content: content, codes: place, scales: 0..<0)])
  }
}
