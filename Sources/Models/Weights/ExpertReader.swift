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
  ///   - sources: by layer and expert, the projections.
  ///   - memory: bytes for buffers.
  ///   - computing: threads that multiply, which take whole experts.
  ///   - count: called with those that are used.
  /// - Returns: nil where the memory is too little or a file system has no such access.
  init?(
    _ model: CheckpointModel, _ sources: [[[CheckpointModel.Source]]], memory: Int, computing: Int,
    count: @escaping (ExpertWeights) -> Void
  ) {
    self.count = count
    let sizes = sources.joined().joined().map(\.byteRange.count)
    guard let largest = sizes.max() else { return nil }
    let buffers = BufferPool(capacity: DirectFile.bufferByteCount(largest))
    let expertByteCount = TensorPart.projections.count * buffers.capacity
    heldCount = max(2 * computing, min(Self.heldByteCount, memory / 4) / expertByteCount)
    let window = memory / expertByteCount - heldCount
    guard window >= 2 * Self.threads else { return nil }
    var direct: [DirectFile] = []
    for file in model.checkpoint.files {
      guard let opened = file.file.direct() else { return nil }
      direct.append(opened)
    }
    // By name, expert 10 comes before expert 2.
    order = sources.map { layer in
      layer.indices.sorted { a, b in
        (layer[a][0].file, layer[a][0].byteRange.lowerBound) < (layer[b][0].file, layer[b][0].byteRange.lowerBound)
      }
    }
    let all = order.enumerated().flatMap { layer, experts in experts.map { (layer, $0) } }
    results = OrderedResults(
      count: all.count, threads: Self.threads, window: window, makeWorkspace: {},
      work: { [direct] _, index in
        let (layer, expert) = all[index]
        var matrices: [Matrix] = []
        for source in sources[layer][expert] {
          do throws(FileError) {
            matrices.append(try Self.matrix(source, model, direct[source.file], buffers))
          } catch { return .failure(.source(SafetensorsError(error))) }
        }
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

  /// From the page cache where it holds the bytes.
  private static func matrix(
    _ source: CheckpointModel.Source, _ model: CheckpointModel, _ direct: DirectFile, _ buffers: BufferPool
  ) throws(FileError) -> Matrix {
    let file = model.checkpoint.files[source.file].file
    guard !file.isResident(source.byteRange) else {
      return Matrix(source, HeldBytes(file, source.byteRange), 0..<source.byteRange.count)
    }
    var buffer = buffers.take()
    let place = try direct.read(source.byteRange, into: &buffer)
    return Matrix(source, HeldBytes(buffer), place)
  }
}

extension Matrix {
  /// - Parameter place: of the elements in the content.
  init(_ source: CheckpointModel.Source, _ content: HeldBytes, _ place: Range<Int>) {
    guard let encoding = Encoding(keeping: source.dtype) else { preconditionFailure("the model checked its types") }
    let shape = source.tensor.shape
    self.init(
      name: source.tensor.name, encoding: encoding, shape: shape,
      blocks: [Block(rows: 0..<shape.rows, content: content, codes: place, scales: 0..<0)])
  }
}
