import Kernels
import Pack
import Safetensors
import Synchronization
package import Storage
import Tensors

/// The weights of a checkpoint or a pack: used where they lie, mapped; compressed chunks are unpacked, those of experts into a cache
/// with a byte budget.
package final class StoredWeights: WeightSource {
  package let store: ModelStore
  /// By layer and expert, the projections.
  private let experts: [[[StoredTensor]]]
  private let cache: ContentCache
  /// Experts are asked for one after the other, so that one context does for all.
  private let codec = Mutex(ChunkCodec())
  private let counted = Mutex(WeightCounters())
  /// By layer and expert, those that are used where they lie, once they were looked up: that takes longer than their products with
  /// one token.
  private let inPlace: Mutex<[[ExpertWeights?]]>
  private let foresight: Foresight
  /// Whether each chunk is compared with its hashes before its first use.
  private let checksChunks: Bool
  private let checked = Mutex<Set<Int>>([])

  /// Opens a checkpoint directory or a pack.
  ///
  /// - Parameters:
  ///   - cacheBudget: bytes of unpacked experts to keep; of those used where they lie, to read what memory did not keep.
  ///   - checksChunks: whether each chunk of a pack is compared with its hashes before its first use; without, ``PackCheck`` is who
  ///     does that. A checkpoint has no hashes.
  /// - Throws: ``ModelError``.
  package convenience init(
    path: String, cacheBudget: Int = 0, checksChunks: Bool = false
  ) throws(ModelError) {
    self.init(try ModelStore(path: path), cacheBudget: cacheBudget, checksChunks: checksChunks)
  }

  package init(_ store: ModelStore, cacheBudget: Int = 0, checksChunks: Bool = false) {
    self.store = store
    self.checksChunks = checksChunks
    var experts = Array(repeating: [[StoredTensor]](), count: store.configuration.layerCount)
    for item in store.items {
      guard item.isExpert, let layer = item.id.layer else { continue }
      experts[layer].append(item.tensors.compactMap { store.tensor($0.id) })
    }
    self.experts = experts
    cache = ContentCache(budget: cacheBudget)
    foresight = Foresight(store, experts: experts, memory: cacheBudget)
    inPlace = Mutex(experts.map { $0.map { _ in nil } })
  }

  package var configuration: ModelConfiguration { store.configuration }
  package var architecture: any Architecture.Type { store.architecture }
  package var items: [ModelItem] { store.items }
  package var path: String { store.path }
  package var notes: [SourceNote] { store.notes }
  package var counters: WeightCounters { counted.withLock { $0 } }
  package func hasTensor(_ id: TensorID) -> Bool { store.tensor(id) != nil }
  package func file(named name: String) throws(ModelError) -> [UInt8]? { try store.files.file(named: name) }
  package func requireUnchanged() throws(ModelError) { try store.files.requireUnchanged() }

  package func matrix(_ id: TensorID) throws(ModelError) -> Matrix {
    guard let tensor = store.tensor(id) else { throw .missingTensor(store.name(of: id), directory: path) }
    // Whoever asks keeps it: it would be in the cache beside.
    return try matrix(tensor) { _, unpack throws(ModelError) in try unpack() }
  }

  package func expert(layer: Int, expert: Int) throws(ModelError) -> ExpertWeights {
    if let known = inPlace.withLock({ $0[layer][expert] }) {
      let copy = foresight.take(layer: layer, expert: expert)
      count(known, unpacked: false, isInPlace: true, isEvicted: copy != nil)
      return copy ?? known
    }
    // The projections lie in one chunk; a cache too small for it shall not have it unpacked three times.
    var held: [ContentCache.Key: SharedBytes] = [:]
    var unpacked = 0
    var matrices: [Matrix] = []
    for tensor in experts[layer][expert] {
      matrices.append(
        try matrix(tensor) { key, unpack throws(ModelError) in
          if let content = held[key] ?? cache.content(of: key) {
            held[key] = content
            return content
          }
          let content = try unpack()
          if content.isOwned {
            unpacked += 1
            cache.insert(content, for: key)
          }
          held[key] = content
          return content
        })
    }
    let weights = ExpertWeights(gate: matrices[0], up: matrices[1], down: matrices[2])
    if weights.isInPlace { inPlace.withLock { $0[layer][expert] = weights } }
    count(weights, unpacked: unpacked > 0, isInPlace: weights.isInPlace)
    return weights
  }

  private func count(_ weights: ExpertWeights, unpacked: Bool, isInPlace: Bool, isEvicted: Bool = false) {
    counted.withLock {
      $0.experts += 1
      if !unpacked { $0.hits += 1 }
      if isInPlace { $0.inPlace += 1 }
      if isEvicted { $0.evicted += 1 }
      $0.bytesRead += weights.byteCount
    }
  }

  package func willNeed(layer: Int, experts indices: [Int]) {
    foresight.use(layer: layer, experts: indices) { layer, expert in
      // What is read again would not be compared with its hashes again.
      checksChunks ? nil : inPlace.withLock { $0[layer][expert] }
    }
  }

  package func places(of item: ModelItem) -> [SharedBytes] {
    store.files.places(of: item.tensors.compactMap { store.tensor($0.id) })
  }

  package func expertReader(memory: Int, threads: Int) -> ExpertReader? {
    guard case .checkpoint(let checkpoint) = store.files else { return nil }
    return ExpertReader(checkpoint, experts, memory: memory, computing: threads) { [self] in
      count($0, unpacked: false, isInPlace: true)
    }
  }

  /// - Parameter content: gives what has a key; what it is handed makes that.
  private func matrix(
    _ tensor: StoredTensor,
    _ content: (ContentCache.Key, () throws(ModelError) -> SharedBytes) throws(ModelError) -> SharedBytes
  ) throws(ModelError) -> Matrix {
    switch (store.files, tensor.place) {
    case (.checkpoint(let checkpoint), .bytes(let file, let range)):
      return Matrix(tensor, SharedBytes(checkpoint.files[file].file, range), 0..<range.count)
    case (.checkpoint(let checkpoint), .fp8(let file, let range, let scales)):
      let numbers = try content(.matrix(file: file, offset: range.lowerBound)) { () throws(ModelError) in
        var numbers = AlignedBuffer(byteCount: 2 * range.count)
        scales.decode(SharedBytes(checkpoint.files[file].file, range).bytes, into: &numbers)
        return SharedBytes(numbers)
      }
      return Matrix(tensor, numbers, 0..<2 * range.count)
    case (.checkpoint, .packed(let file, let codes)):
      let rows = 0..<tensor.shape.rows
      guard let encoding = tensor.type.encoding else { preconditionFailure("the store checked its types") }
      let content = try content(.matrix(file: file, offset: codes.codeRange(rows).lowerBound)) {
        () throws(ModelError) in
        guard let format = encoding.dtype.flatMap({ FloatFormat($0) }) else { return try codes.planes(rows).content }
        var numbers = AlignedBuffer(byteCount: format.byteCount * tensor.shape.elementCount)
        codes.write(rows, as: format, into: &numbers)
        return SharedBytes(numbers)
      }
      guard encoding.isGrouped else { return Matrix(tensor, content, 0..<content.byteCount) }
      let end = encoding.codeByteCount(elements: tensor.shape.elementCount)
      return Matrix(
        name: tensor.name, encoding: encoding, shape: tensor.shape,
        blocks: [.init(rows: rows, content: content, codes: 0..<end, scales: end..<content.byteCount)])
    case (.pack(let pack), .chunks(let record)):
      var blocks: [Matrix.Block] = []
      var encoding = Encoding.f32
      for position in 0..<record.chunkCount {
        let chunk = record.firstChunk + position
        let planes: [Range<Int>]
        do throws(PackError) { (encoding, planes) = try pack.planes(of: record, chunk: position) } catch {
          throw .pack(error)
        }
        blocks.append(
          Matrix.Block(
            rows: record.rows(inChunk: position),
            content: try content(.chunk(chunk)) { () throws(ModelError) in
              do throws(PackError) { return try self.content(ofChunk: chunk, of: pack) } catch { throw .pack(error) }
            },
            codes: planes[0], scales: planes.count > 1 ? planes[1] : 0..<0))
      }
      return Matrix(name: tensor.name, encoding: encoding, shape: tensor.shape, blocks: blocks)
    default: preconditionFailure("a tensor of another model")
    }
  }

  private func content(ofChunk chunk: Int, of pack: PackFile) throws(PackError) -> SharedBytes {
    try codec.withLock { codec throws(PackError) in
      let isUnchecked = checksChunks && !checked.withLock { $0.contains(chunk) }
      let content = try pack.content(ofChunk: chunk, codec: codec, verified: isUnchecked)
      // Not before: a damaged chunk is refused each time.
      if isUnchecked { checked.withLock { _ = $0.insert(chunk) } }
      return content
    }
  }
}
